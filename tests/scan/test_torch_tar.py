"""The tar files of torch before 2017: torch still loads them, and so does whoever sends one."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.streams import call, name, text

from torchkeep.scan.formats.torch_tar import is_key
from torchkeep.scan.pickle.values import Global
from torchkeep.scan.verdict import Verdict

KIND = b"\x80\x02(K\x05" + text("cpu") + name("torch", "FloatStorage") + b"t."
SHAPE = b"\x80\x02(K\x07K\x05" + name("torch", "FloatTensor") + b"t."
ONE, NONE = pickle.dumps(1, 2), pickle.dumps([], 2)


def tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def file(**changes):
    """One storage of two numbers, one tensor on it."""
    members = {
        "sys_info": pickle.dumps({"protocol_version": 1000}, 2),
        "storages": ONE + KIND + struct.pack("<q2f", 2, 1, 2) + NONE,
        "tensors": ONE + SHAPE + struct.pack("<iiqqq", 1, 0, 2, 1, 0),
        "pickle": b"\x80\x02}" + text("w") + b"K\x07Qs.",
    }
    return tar(members | changes)


def test_what_torch_loads_is_clean(tmp_path):
    """The file is what torch takes it for: the maker above wrote no format of its own."""
    torch = pytest.importorskip("torch")
    (tmp_path / "old.pt").write_bytes(file())
    loaded = torch.load(tmp_path / "old.pt", weights_only=False)
    assert loaded["w"].tolist() == [1.0, 2.0]
    report = look(file(), "old.pt")
    assert (report.verdict, report.issues) == (Verdict.CLEAN, [])
    assert report.has_pickle


@pytest.mark.parametrize("member", ["pickle", "storages", "tensors", "sys_info"])
def test_a_payload_is_found_in_each_member(member):
    report = look(file(**{member: call("os", "system")}), "old.pt")
    assert report.verdict is Verdict.DANGEROUS
    assert report.issues[0].member == member


ROWS = {
    "storages": {
        "a payload for a count": call("os", "system"),
        "a payload for a type": ONE + call("os", "system"),
        "a payload for the views": ONE + KIND + struct.pack("<q2f", 2, 1, 2) + call("os", "system"),
        "a payload behind": ONE + KIND + struct.pack("<q2f", 2, 1, 2) + NONE + call("os", "system"),
        "no count": pickle.dumps("1", 2) + NONE,
        "a count that is true": pickle.dumps(True, 2) + NONE,
        "a negative count": pickle.dumps(-1, 2), "a count of no file": pickle.dumps(1_000_000, 2),
        "no type": ONE + NONE, "a type of two": ONE + pickle.dumps((1, 2), 2),
        "a type that is a number": ONE + pickle.dumps((1, 2, 3), 2),
        "a type that is no storage": ONE + KIND.replace(b"FloatStorage", b"FloatTensor"),
        "a length that is cut": ONE + KIND + b"\1\0", "numbers that are cut":
        ONE + KIND + struct.pack("<qf", 2, 1), "a negative length":
        ONE + KIND + struct.pack("<q", -1)
        + NONE, "no views": ONE + KIND + struct.pack("<q2f", 2, 1, 2), "nothing": b"",
    },
    "tensors": {
        "a payload for a shape": ONE + call("os", "system"), "no count": NONE, "nothing": b"",
        "a shape that is cut": ONE + SHAPE + struct.pack("<iiqq", 1, 0, 2, 1),
        "more dimensions than there are": ONE + SHAPE + struct.pack("<Iiqqq", 1 << 31, 0, 2, 1, 0),
        "something behind": ONE + SHAPE + struct.pack("<iiqqq", 1, 0, 2, 1, 0) + b"x",
        "fewer than it says": pickle.dumps(2, 2) + SHAPE + struct.pack("<iiqqq", 1, 0, 2, 1, 0),
    },
    "pickle": {
        "a payload behind": b"\x80\x02}." + call("os", "system"), "nothing": b"",
        "a key that is none": b"\x80\x02" + text("../x") + b"Q.", "cut": b"\x80\x02}" + text("w"),
    },
}  # fmt: skip
CASES = [(member, name) for member, cases in ROWS.items() for name in cases]


@pytest.mark.parametrize(("member", "case"), CASES)
def test_a_row_that_torch_did_not_write_is_never_clean(member, case):
    assert verdict(file(**{member: ROWS[member][case]}), "old.pt") in FLAGGED


def test_the_second_half_of_the_number_of_dimensions_is_not_read():
    tensors = ONE + SHAPE + struct.pack("<iiqqq", 1, 77, 2, 1, 0)
    assert verdict(file(tensors=tensors), "old.pt") is Verdict.CLEAN


def test_no_tensors_at_all():
    none = pickle.dumps(0, 2)
    assert verdict(file(storages=none + NONE, tensors=none, pickle=NONE), "old.pt") is Verdict.CLEAN


def test_the_last_member_of_a_name_is_the_one_that_torch_unpacks():
    plain, bad = file(), file(pickle=call("os", "system"))
    for first, second in ((plain, bad), (bad, plain)):
        both = first[: -first[::-1].index(next(b for b in first[::-1] if b)) or None]
        data = both + bytes(-len(both) % 512) + second
        assert {10, 38} <= rules(data, "old.pt")


@pytest.mark.parametrize(
    ("id", "is_one"),
    [
        (7, True), ("7", True), ("../7", False), ("", False), ("٧", False), (b"7", False),
        ((Global("a", "b", 0, None), "file", "source"), True), ((1, 2, 3), False),
        ((Global("a", "b", 0, None), "file"), False), (None, False), (1.5, False),
    ],
)  # fmt: skip
def test_keys_are_numbers_or_classes_with_their_source(id, is_one):
    assert is_key(id) is is_one
