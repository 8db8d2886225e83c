"""Payloads in compressed streams and archives: every one that a scanner called clean."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zlib

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.streams import call

from torchkeep.scan.verdict import Verdict

BAD = call("os", "system")
GOOD = pickle.dumps({"a": [1.5] * 20})
LZMA1 = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 0, "lp": 2, "pb": 1}]
PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma alone": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lzma alone, other properties": lambda d: lzma.compress(d, lzma.FORMAT_ALONE, filters=LZMA1),
    "zlib": zlib.compress,
    "zlib, fast": lambda data: zlib.compress(data, 1),
    "zlib, best": lambda data: zlib.compress(data, 9),
    "zlib, stored": lambda data: zlib.compress(data, 0),
}
packers = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)


@packers
def test_a_payload_in_a_stream(pack):
    for file in ("model.pkl.gz", "model.bin", "weights"):
        assert verdict(pack(BAD), file) is Verdict.DANGEROUS
    assert verdict(pack(GOOD), "model.joblib") is Verdict.CLEAN


@packers
def test_a_payload_behind_a_stream(pack):
    assert verdict(pack(GOOD) + pack(BAD)) in FLAGGED  # many tools read both as one
    assert verdict(pack(GOOD) + BAD) in FLAGGED
    assert verdict(pack(GOOD) + b"garbage") in FLAGGED


@packers
def test_a_payload_before_the_break(pack):
    packed = pack(BAD + b"\0" * 100_000 + bytes(range(256)) * 50)
    assert verdict(packed[:-40]) in FLAGGED


@packers
def test_within_each_other(pack):
    assert verdict(pack(gzip.compress(pack(BAD)))) is Verdict.DANGEROUS
    deep = BAD
    for _ in range(7):
        deep = pack(deep)
    assert verdict(deep) is Verdict.NOT_SCANNED  # and never clean


def test_padding_of_zeros_is_usual():
    assert verdict(gzip.compress(GOOD) + bytes(512)) is Verdict.CLEAN


def test_bombs():
    bomb = zlib.compress(bytes(200 << 20), 9)
    assert 33 in rules(bomb)
    assert verdict(gzip.compress(bomb)) in FLAGGED


@pytest.mark.parametrize("magic", [b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c"])
def test_what_is_not_unpacked_is_not_clean(magic):
    assert verdict(magic + bytes(64)) is Verdict.NOT_SCANNED


@pytest.mark.parametrize("start", ["x^2 + y^2 = 1\n", "]\nfoo", "BZ", "x\x01"])
def test_texts_that_start_like_a_stream(start):
    assert verdict(f"{start} and some prose about it.\n".encode(), "README") is not Verdict.CLEAN


def tar(members, *, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


FORMATS = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("format", FORMATS)
def test_a_payload_in_a_tar(format):
    assert verdict(tar([("a", GOOD), ("b/c", BAD)], format=format)) is Verdict.DANGEROUS
    assert verdict(tar([("a", GOOD), ("b/c", GOOD)], format=format)) is Verdict.CLEAN
    assert verdict(gzip.compress(tar([("a.pkl", BAD)], format=format))) is Verdict.DANGEROUS
    assert verdict(tar([("in.tar", tar([("a", BAD)]))], format=format)) is Verdict.DANGEROUS


def test_long_names_are_what_they_are():
    for kind in FORMATS[:2]:
        report = look(tar([("d" * 150 + "/ü.pkl", BAD)], format=kind))
        assert report.issues[0].member == "d" * 150 + "/ü.pkl"


def entry(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


OUT = [
    entry("../a"), entry("/etc/x"), entry("a/../../b"), entry("C:/x"), entry("..\\a"),
    entry("s", tarfile.SYMTYPE, "/etc"), entry("s", tarfile.SYMTYPE, "../x"),
    entry("d/s", tarfile.SYMTYPE, "../../x"), entry("h", tarfile.LNKTYPE, "../x"),
]  # fmt: skip


@pytest.mark.parametrize("member", OUT, ids=lambda member: f"{member.name}>{member.linkname}")
def test_names_that_lead_out(member):
    assert rules(tar([(member, b"")])) >= {36}


def test_links_that_stay_within_are_usual():
    assert (
        verdict(tar([("a", GOOD), (entry("d/s", tarfile.SYMTYPE, "../a"), b"")])) is Verdict.CLEAN
    )


def test_odd_archives():
    assert verdict(tar([("a", GOOD), ("a", BAD)])) is Verdict.DANGEROUS
    assert verdict(tar([("a", GOOD), ("a", GOOD)])) is Verdict.NEEDS_REVIEW
    assert verdict(tar([(entry("p", tarfile.FIFOTYPE), b"")])) is Verdict.NEEDS_REVIEW
    assert verdict(tar([("a", GOOD)]) + BAD) in FLAGGED
    assert verdict(tar([("a", GOOD * 9)])[:600]) in FLAGGED
    directory = bytearray(tar([("d/", BAD)]))  # a directory with content
    assert verdict(bytes(directory)) in FLAGGED


def test_a_tar_whose_first_name_is_a_pickle():
    """A pickle is read from the start of a file, whatever the file is besides."""
    assert verdict(tar([("cos\nsystem\n(S'id'\ntR.", b"")])) in FLAGGED
