"""Odd packaging that hid a payload from a scanner once, or would have: never called clean."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace

import pytest
from doubles.zips import PAYLOAD, PLAIN, Record, archive, end, entry, header, torch_like

from torchkeep import scan
from torchkeep.scan import Verdict


def verdict(data: bytes, name: str = "model.pt"):
    return scan.data(data, name).verdict


def rules(data: bytes, name: str = "model.pt") -> set[str]:
    return {issue.rule for issue in scan.data(data, name).issues}


def torch_file(data: bytes = PAYLOAD, **changes) -> bytes:
    return archive(*torch_like(data, **changes))


def hidden(place: str) -> bytes:
    """A sound archive with a payload in a member that the directory does not list."""
    extra = Record(b"archive/x.pkl", PAYLOAD, listed=False)
    records = torch_like(PLAIN)
    return archive(*{"first": [extra, *records], "last": [*records, extra]}[place])


def flag(bits: int) -> bytes:
    return torch_file(flags=bits)


def zip64() -> bytes:
    """The payload's directory is found by the large end record, an innocent one by the small."""
    good, bad = Record(b"a/data.pkl", PLAIN), Record(b"a/data.pkl", PAYLOAD)
    body = header(good) + good.content
    second = len(body)
    body += header(bad) + bad.content
    small, large = entry(good, 0), entry(bad, second)
    start = len(body)
    body += small + large
    at = len(body)
    body += struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(large), start + len(small)
    )
    body += struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    return body + end(1, len(small), start)


def two_ends() -> bytes:
    inner = archive(*torch_like(PAYLOAD))
    return inner + archive(*torch_like(PLAIN))


def comment_end() -> bytes:
    """An end record in the comment of another: which one counts depends on the reader."""
    first = archive(*torch_like(PAYLOAD))
    size, offset = struct.unpack("<2L", first[-10:-2])
    return first[:-2] + struct.pack("<H", 22) + end(3, size, offset)


def shifted() -> bytes:
    """Offsets count from the file for one reader, from the archive for another."""
    good, bad = archive(*torch_like(PLAIN)), archive(*torch_like(PAYLOAD))
    return good[: -22 - 0] + bad


def in_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("model.pt")
        data = torch_file()
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


ODD = {
    "plain": torch_file(),
    "deflated": torch_file(method=8),
    "streamed": torch_file(streamed=True),
    "DATA.PKL": torch_file(name=b"archive/DATA.PKL"),
    "mixed case": archive(*torch_like(PLAIN), Record(b"archive/Data.Pkl", PAYLOAD)),
    "no extension": archive(Record(b"weights", PAYLOAD)),
    "protocol 0": archive(Record(b"a/data.pkl", b"cposix\nsystem\n(S'true'\ntR.")),
    "protocol 0, no extension": archive(Record(b"a/weights", b"cposix\nsystem\n(S'true'\ntR.")),
    "text name": archive(Record(b"README.md", PAYLOAD)),
    "folder name": archive(Record(b"a/", PAYLOAD)),
    "duplicate, first": archive(Record(b"a/data.pkl", PAYLOAD), Record(b"a/data.pkl", PLAIN)),
    "duplicate, last": archive(Record(b"a/data.pkl", PLAIN), Record(b"a/data.pkl", PAYLOAD)),
    "CVE-2025-1944: names differ": torch_file(local={"name": b"archive/data.txt"}),
    "CVE-2025-1945: flag 0x1": flag(0x1),
    "CVE-2025-1945: flag 0x20": flag(0x20),
    "CVE-2025-1945: flag 0x40": flag(0x40),
    "CVE-2025-1945: flag 0x2000": flag(0x2000),
    "flag in the directory only": torch_file(flags=1, local={"flags": 0}),
    "flag in the header only": torch_file(local={"flags": 1}),
    "CVE-2025-10156: CRC": torch_file(crc=1),
    "CRC differs": torch_file(local={"crc": 7}),
    "size differs": torch_file(local={"size": 3}),
    "packed size differs": torch_file(local={"packed": 3}),
    "method differs": torch_file(local={"method": 8}),
    "method of the header": archive(
        replace(Record(b"a/data.pkl", PAYLOAD, method=8), local={"method": 0})
    ),
    "method unknown": torch_file(local={"method": 99}),
    "method unknown twice": torch_file(flags=0, local={"method": 99}).replace(
        struct.pack("<6H", 20, 20, 0, 0, 0, 0), struct.pack("<6H", 20, 20, 0, 99, 0, 0)
    ),
    "zero size in the directory": torch_file(size=0, packed=0),
    "name with NUL": torch_file(name=b"archive/data.pkl\0.txt"),
    "other name in an extra field": torch_file(
        extra=struct.pack("<HHBL", 0x7075, 5 + 9, 1, zlib.crc32(b"archive/data.pkl")) + b"other.txt"
    ),
    "hidden first": hidden("first"),
    "hidden last": hidden("last"),
    "gap": archive(Record(b"a/data.pkl", PLAIN), Record(b"a/version", b"3\n", before=PAYLOAD)),
    "prefix pickle": PAYLOAD + torch_file(PLAIN),
    "prefix pickle, protocol 0": b"cposix\nsystem\n(S'true'\ntR." + torch_file(PLAIN),
    "prefix text": b"#!/bin/sh\n" + torch_file(),
    "trailing": torch_file() + b"x" * 10,
    "trailing pickle": torch_file(PLAIN) + PAYLOAD,
    "no directory": torch_file()[:-150],
    "no end record": torch_file()[:-22],
    "count too small": archive(*torch_like(PLAIN), Record(b"archive/x", PAYLOAD), count=3),
    "count too large": archive(*torch_like(PAYLOAD), count=9),
    "directory size too small": archive(*torch_like(PAYLOAD), size=10),
    "directory offset wrong": archive(*torch_like(PAYLOAD), offset=4),
    "member offset wrong": torch_file(offset=3),
    "overlap": archive(
        Record(b"a/data.pkl", PLAIN),
        Record(b"a/version", b"3\n"),
        Record(b"a/x", PAYLOAD, offset=0),
    ),
    "zip64": zip64(),
    "two archives": two_ends(),
    "end in a comment": comment_end(),
    "shifted": shifted(),
    "absolute name": archive(Record(b"/etc/x.pkl", PAYLOAD)),
    "traversal": archive(Record(b"../x.pkl", PAYLOAD)),
    "nested": archive(Record(b"a/inner.bin", torch_file())),
    "nested, deflated": archive(Record(b"a/inner.bin", torch_file(), method=8)),
    "gzip": gzip.compress(torch_file()),
    "bz2": bz2.compress(torch_file()),
    "xz": lzma.compress(torch_file()),
    "lzma": lzma.compress(torch_file(), format=lzma.FORMAT_ALONE),
    "zlib": zlib.compress(torch_file()),
    "tar": in_tar(),
    "gzip inside": archive(Record(b"a/x.gz", gzip.compress(PAYLOAD))),
    "storage that nothing names": archive(*torch_like(PLAIN), Record(b"archive/data/0", PAYLOAD)),
    "second root": archive(*torch_like(PLAIN), Record(b"other/data.pkl", PAYLOAD)),
    "extra record": archive(*torch_like(PLAIN), Record(b"archive/extra/notes", PAYLOAD)),
    "version": archive(Record(b"a/data.pkl", PLAIN), Record(b"a/version", PAYLOAD)),
    "byteorder": archive(Record(b"a/data.pkl", PLAIN), Record(b"a/byteorder", PAYLOAD)),
    "data.pkl, stacked": torch_file(PLAIN + PAYLOAD),
    "data.pkl, broken at the end": torch_file(PAYLOAD[:-1]),
    "code of TorchScript": archive(*torch_like(PLAIN), Record(b"archive/code/x.py", PAYLOAD)),
    "pickled code": archive(*torch_like(PLAIN), Record(b"archive/code/x.py.debug_pkl", PAYLOAD)),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_packaging_is_never_clean(case):
    assert verdict(ODD[case]) in (Verdict.DANGEROUS, Verdict.MALFORMED, Verdict.NEEDS_REVIEW)


# Where no reader unpacks what is there, that is what is said; else the payload itself is named.
NOT_NAMED = {"method unknown twice"}


@pytest.mark.parametrize("case", sorted(set(ODD) - NOT_NAMED))
def test_the_payload_is_found_in_it(case):
    assert "TK-SCAN-010" in rules(ODD[case])


MALFORMED = [
    case
    for case in ODD
    if case.startswith(("duplicate", "CVE", "flag in", "hidden", "gap", "prefix", "trailing"))
    and case not in ("CVE-2025-1945: flag 0x1", "CVE-2025-1945: flag 0x20")
    and case not in ("CVE-2025-1945: flag 0x40", "CVE-2025-1945: flag 0x2000")
]


@pytest.mark.parametrize("case", MALFORMED)
def test_readers_that_disagree_are_reported_without_any_payload(case):
    assert "TK-SCAN-030" in rules(ODD[case].replace(b"cposix\nsystem\n", b"cbuiltins\nlist\n"))


def test_an_encrypted_member_is_not_scanned():
    noise = bytes(range(7, 250)) * 3
    report = scan.data(archive(Record(b"a/secret", noise, flags=1)), "x.zip")
    assert report.verdict is Verdict.NOT_SCANNED
    assert [issue.rule for issue in report.issues] == ["TK-SCAN-031"]


def test_a_member_of_an_unknown_method_is_not_scanned():
    data = archive(Record(b"a/secret", b"some data", method=0))
    data = data.replace(struct.pack("<2H", 20, 0), struct.pack("<2H", 20, 0))
    packed = bytearray(data)
    struct.pack_into("<H", packed, 8, 97)
    struct.pack_into("<H", packed, data.index(b"PK\1\2") + 10, 97)
    report = scan.data(bytes(packed), "x.zip")
    assert report.verdict is Verdict.NOT_SCANNED


def test_deep_nesting_is_not_clean():
    data = PLAIN
    for _ in range(8):
        data = archive(Record(b"a/x", data))
    report = scan.data(data, "x.zip")
    assert report.verdict is Verdict.NOT_SCANNED
    assert "TK-SCAN-034" in {issue.rule for issue in report.issues}


def test_a_bomb_is_not_unpacked():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made, made.open("x", "w") as member:
        for _ in range(80):
            member.write(bytes(1 << 20))
    report = scan.data(out.getvalue(), "x.zip")
    assert "TK-SCAN-033" in {issue.rule for issue in report.issues}


def test_members_on_top_of_each_other_take_no_more_time_than_the_file_is_long():
    first = Record(b"a", PAYLOAD + bytes(1 << 20))
    others = [replace(first, name=b"%d" % n, offset=0, data=b"") for n in range(3000)]
    size = len(first.data)
    others = [replace(one, packed=size, size=size) for one in others]
    report = scan.data(archive(first, *others), "x.zip")
    assert report.verdict is Verdict.DANGEROUS
    assert "TK-SCAN-033" in {issue.rule for issue in report.issues}


def test_a_letter_that_grows_when_it_is_made_small():
    code = Record("İ/code/İ.py".encode(), b"class M(Module):\n  pass\n")
    data = archive(Record("İ/data.pkl".encode(), PAYLOAD), code)
    assert "TK-SCAN-010" in rules(data)


def test_many_end_records_take_no_time():
    records = [Record(b"%d" % n, b"", local={"name": b"x"}) for n in range(2000)]
    report = scan.data(archive(*records) + b"PK\5\6" * 16_000 + bytes(22), "x.zip")
    assert report.verdict is Verdict.MALFORMED


def test_a_member_that_grows_beyond_its_size_is_malformed():
    data = archive(Record(b"a/x.pkl", PLAIN + bytes(5000), method=8, size=4))
    assert "TK-SCAN-030" in rules(data)
