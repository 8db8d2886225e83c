"""Tar archives: what tools write is clean; what tools read differently is not."""

from __future__ import annotations

import io
import pickle
import tarfile

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.streams import call
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core.source import BytesSource
from torchkeep.scan.formats import tars
from torchkeep.scan.verdict import Verdict

GOOD, BAD = pickle.dumps({"a": [1.5, 2]}), call("os", "system")
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def tar(*members, form=tarfile.PAX_FORMAT, **changes):
    """An archive of files; a member is a name with its content, or a whole ``TarInfo``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def header(name="a", size=0, kind=b"0", magic=b"ustar\x0000", link="", prefix=b""):
    """One header with its checksum, and any size that it may claim."""
    digits = size if isinstance(size, bytes) else f"{size:011o}\0".encode()
    head = name.encode().ljust(100, b"\0") + b"0000644\0" * 3 + digits.ljust(12, b"\0")
    head += b"00000000000\0" + b" " * 8 + kind + link.encode().ljust(100, b"\0")
    head = (head + magic + bytes(80) + prefix).ljust(512, b"\0")
    return head[:148] + f"{sum(head):06o}\0 ".encode() + head[156:]


def block(data):
    return data + bytes(-len(data) % 512)


def raw(*parts):
    return b"".join(map(block, parts)) + bytes(1024)


NAMES = st.text("ab/é ", min_size=1, max_size=130).filter(lambda name: not name.startswith("/"))
CONTENTS = st.binary(max_size=1500).map(lambda data: b"\0\1" + data)


@given(
    st.dictionaries(NAMES.map(lambda name: f"{name}x"), CONTENTS, max_size=4),
    st.sampled_from(sorted(FORMATS)),
)
def test_the_members_are_those_that_python_finds(files, form):
    data = tar(*files.items(), form=tarfile.GNU_FORMAT if form == "ustar" else FORMATS[form])
    found = {
        member.name: data[member.start : member.start + member.size]
        for member in tars.walk(BytesSource(data))
    }
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = {info.name: archive.extractfile(info).read() for info in archive}
    assert found == expected


@pytest.mark.parametrize("form", FORMATS)
def test_what_python_writes_is_scanned_member_by_member(form):
    name = "folder/" + "n" * 60
    assert verdict(tar((name, GOOD), form=FORMATS[form])) is Verdict.CLEAN
    report = look(tar(("a.pkl", GOOD), (name, BAD), form=FORMATS[form]))
    assert report.verdict is Verdict.DANGEROUS
    assert {issue.member for issue in report.issues} == {name}


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_names_of_any_length_are_read(form):
    name = "é" * 200
    assert look(tar((name, BAD), form=FORMATS[form])).issues[0].member == name


def test_headers_of_before_1988_are_read():
    assert rules(raw(header("a.pkl", len(BAD), b"\0", magic=bytes(8)), BAD)) == {10}


OUTSIDE = ["/a", "../a", "a/../../b", "C:\\a", "a\\..\\b", "..", "c:a"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_are_told(name):
    assert rules(raw(header(name))) == {36}
    assert rules(tar((name, GOOD))) == {36}


def test_names_that_stay_are_not():
    for name in ("a..b", "..a/b", "a/b", ".", "ab:c", ""):
        assert not tars.leads_out(name)


LINKS = {
    ("a", "b"): set(), ("d/a", "../b"): set(), ("a", "../b"): {36}, ("a", "/b"): {36},
    ("d/a", "../../b"): {36}, ("a", "c:/b"): {36}, ("a", "x/../../b"): {36},
}  # fmt: skip


@pytest.mark.parametrize(("name", "link"), LINKS)
def test_links_that_lead_out_are_told(name, link):
    assert rules(raw(header(name, kind=b"2", link=link))) == LINKS[name, link]


def test_a_hard_link_counts_from_the_top_of_the_archive():
    assert rules(raw(header("d/a", kind=b"1", link="../b"))) == {36}
    assert rules(raw(header("d/a", kind=b"1", link="b"))) == set()


@pytest.mark.parametrize("kind", [b"3", b"4", b"6"])
def test_devices_and_pipes_are_told(kind):
    assert rules(raw(header("a", kind=kind))) == {37}


def test_holes_are_told():
    assert 37 in rules(raw(header("a", 3, kind=b"S"), b"abc"))
    records = pax("GNU.sparse.major=1")
    assert 37 in rules(raw(header("p", len(records), b"x"), records, header("a", 3), b"abc"))


def pax(*lines):
    out = b""
    for line in lines:
        length = len(line.encode()) + 2
        length += len(str(length + len(str(length))))
        out += f"{length} {line}\n".encode()
    return out


def test_a_name_that_is_there_twice_is_told():
    assert rules(tar(("a", GOOD), ("a", GOOD))) == {38}
    assert rules(tar(("a", GOOD), ("./a", GOOD))) == {38}
    assert rules(tar(("a", GOOD), ("b", GOOD))) == set()
    assert 10 in rules(tar(("a", BAD), ("a", GOOD)))
    assert 10 in rules(tar(("a", GOOD), ("a", BAD)))


RECORDS = {
    "a size that is larger": (pax("size=1024"), 1),
    "a size and none": (pax("size=1"), 0),
    "no number": (pax("size=x"), 1),
    "a number in other digits": (pax("size=١"), 1),
    "a number of no file": (pax("size=" + "9" * 19), 1),
    "a wrong length": (b"99 path=a\n", 1),
    "no length": (b"path=a\n", 1),
    "no equals": (pax("path"), 1),
    "no line": (pax("path=a")[:-1] + b"x", 1),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_that_tools_read_differently_are_malformed(name):
    records, size = RECORDS[name]
    data = raw(header("p", len(records), b"x"), records, header("a", size), b"x")
    assert verdict(data) is Verdict.MALFORMED


def test_records_name_and_measure_what_follows():
    records = pax("path=new", f"size={len(BAD)}")
    report = look(raw(header("p", len(records), b"x"), records, header("a", len(BAD)), BAD))
    assert report.verdict is Verdict.DANGEROUS
    assert report.issues[0].member == "new"


def test_a_size_that_the_header_has_no_room_for_stands_in_the_records():
    records = pax(f"size={8**11}")
    data = raw(header("p", len(records), b"x"), records, header("a", 0))
    assert "runs past its end" in look(data).issues[0].message.text()
    records = pax(f"size={8**11 - 1}")
    data = raw(header("p", len(records), b"x"), records, header("a", 0))
    assert "two sizes" in look(data).issues[0].message.text()


def test_records_for_all_hold_for_all_and_others_for_one():
    shared, own = pax("path=all"), pax("path=one")
    parts = [header("g", len(shared), b"g"), shared, header("x", len(own), b"x"), own]
    parts += [header("a"), header("b")]
    assert [member.name for member in tars.walk(BytesSource(raw(*parts)))] == ["one", "all"]


SIZES = {
    "letters": b"0000000000z\0", "binary": b"\x80" + bytes(10) + b"\1",
    "negative": b"\xff" * 12, "of no file": b"\x80" + b"\x7f" * 11, "nine": b"00000000009\0",
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_octal_or_binary(name):
    expected = Verdict.CLEAN if name == "binary" else Verdict.MALFORMED
    first = raw(header("a", 1), b"\n")[:-1024]
    assert verdict(first + raw(header("b", SIZES[name]), b"\n"), "a.tar") is expected


DAMAGED = {
    "past the end": header("a", 9999) + b"x" * 20,
    "a folder with content": raw(header("a", 3, b"5"), b"abc"),
    "a link with content": raw(header("a", 3, b"2", link="b"), b"abc"),
    "an old folder with content": raw(header("a/", 3, b"\0"), b"abc"),
    "a long name that is longer than any": raw(header("a", (1 << 20) + 1, b"L"), bytes(9)),
    "a long name past the end": header("a", 5000, b"L") + b"x" * 20,
    "no sum": header("a")[:148] + b"0000001\0" + header("a")[156:] + bytes(1024),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage(name):
    assert verdict(DAMAGED[name]) is Verdict.MALFORMED
    assert 32 in rules(DAMAGED[name])


def test_both_sums_that_tools_write_are_taken():
    head = header("ä")
    signed = sum(byte - 256 * (byte > 127) for byte in head[:148] + b" " * 8 + head[156:])
    old = head[:148] + f"{signed:06o}\0 ".encode() + head[156:]
    for one in (head, old):
        assert [member.name for member in tars.walk(BytesSource(one + bytes(1024)))] == ["ä"]


def test_what_stands_behind_an_archive_is_told():
    data = tar(("a", GOOD))
    assert verdict(data + bytes(1 << 16)) is Verdict.CLEAN
    assert rules(data + bytes(1 << 20) + b"x") == {20}
    assert 20 in rules(data[:-512] + header("hidden", len(BAD)) + block(BAD))
    assert verdict(data.rstrip(b"\0") + b"\1" * 700) in FLAGGED


def test_more_members_than_any_model_needs(monkeypatch):
    monkeypatch.setattr(tars, "_MOST_MEMBERS", 2)
    assert verdict(tar(("a", b"\n"), ("b", b"\n"))) is Verdict.CLEAN
    assert rules(tar(("a", b"\n"), ("b", b"\n"), ("c", b"\n"))) == {32}


def test_archives_within_archives_are_opened_up_to_a_depth():
    data = tar(("a", BAD))
    for _ in range(3):
        data = tar(("b", data))
    assert verdict(data) is Verdict.DANGEROUS
    assert rules(tar(("b", tar(("b", data))))) == {34}


@pytest.mark.parametrize("magic", [b"ustar  \0", b"ustar\x0000"])
def test_a_prefix_that_leads_out_is_told_whatever_wrote_it(magic):
    assert rules(raw(header("a", magic=magic, prefix=b"../b"))) == {36}


def test_times_of_gnu_tar_are_no_part_of_the_name():
    [found] = tars.walk(BytesSource(raw(header("a", magic=b"ustar  \0", prefix=b"12345"))))
    assert found.name == "a"


def test_a_prefix_is_the_beginning_of_the_name():
    [found] = tars.walk(BytesSource(raw(header("a", prefix=b"folder"))))
    assert found.name == "folder/a"
