"""Arrays of numpy: what it writes is clean, and nothing else is."""

from __future__ import annotations

import ast
import io
import pickle
import struct
import zipfile

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.streams import call
from hypothesis import given
from hypothesis import strategies as st
from makers.formats import npy

from torchkeep.scan.formats import arrays
from torchkeep.scan.verdict import Verdict

np = pytest.importorskip("numpy")

CODES = ["?", "b1", "i1", "i2", "i4", "i8", "u1", "u8", "f2", "f4", "f8", "c8", "c16", "S5", "U3",
         "V7", "M8[ns]", "m8[s]", "M8[25s]"]  # fmt: skip
SCALARS = st.tuples(st.sampled_from("<>"), st.sampled_from(CODES)).map("".join)
FIELDS = st.recursive(
    SCALARS,
    lambda inner: st.lists(
        st.one_of(inner, st.tuples(inner, st.lists(st.integers(0, 3), min_size=1).map(tuple))),
        min_size=1,
        max_size=4,
    ).map(lambda types: [(f"f{i}", *_split(kind)) for i, kind in enumerate(types)]),
    max_leaves=6,
)
SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def _split(kind):
    return kind if isinstance(kind, tuple) else (kind,)


def saved(array, version=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version, allow_pickle=True)
    return out.getvalue()


@given(FIELDS, SHAPES, st.sampled_from([(1, 0), (2, 0), (3, 0)]), st.booleans())
def test_what_numpy_writes_is_clean_and_a_byte_more_or_less_is_not(fields, shape, version, turned):
    array = np.zeros(shape, np.dtype(fields), order="F" if turned else "C")
    data = saved(array, version)
    assert verdict(data, "a.npy") is Verdict.CLEAN
    assert look(data + b"\0").issues[0].rule == "TK-SCAN-020"
    if array.nbytes:
        assert verdict(data[:-1], "a.npy") is Verdict.MALFORMED


@given(FIELDS)
def test_the_size_of_an_item_is_that_of_numpy(fields):
    dtype = np.dtype(fields)
    text = repr(np.lib.format.dtype_to_descr(dtype)).encode()
    header = b"{'descr': %b, 'fortran_order': False, 'shape': ()}" % text
    assert verdict(npy(header, bytes(dtype.itemsize)), "a.npy") is Verdict.CLEAN
    assert verdict(npy(header, bytes(dtype.itemsize + 1)), "a.npy") is Verdict.NEEDS_REVIEW


def test_archives_of_arrays_are_clean(tmp_path):
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", a=np.zeros(3), b=np.array([None, {}], dtype=object))
        assert verdict((tmp_path / "a.npz").read_bytes(), "a.npz") is Verdict.CLEAN


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_an_archive_within_an_array_hides_nothing(write, tmp_path):
    bad = npy(HEADER | {"descr": "|O"}, call("os", "system"))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", bad)
    write(tmp_path / "b.npz", a=np.frombuffer((tmp_path / "a.npz").read_bytes(), "u1"))
    assert verdict((tmp_path / "b.npz").read_bytes(), "b.npz") in FLAGGED


def test_an_array_of_objects_within_an_archive_is_followed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", npy(HEADER | {"descr": "|O"}, call("os", "system")))
    report = look((tmp_path / "a.npz").read_bytes(), "a.npz")
    assert report.verdict is Verdict.DANGEROUS
    assert report.issues[0].member == "a.npy!array"


HEADER = {"descr": "<f8", "fortran_order": False, "shape": (1,)}


def header(**changes):
    return npy(HEADER | changes, bytes(64))


REFUSED = {
    "its version": b"\x93NUMPY\x04\x00" + npy(HEADER)[8:],
    "version zero": npy(HEADER, bytes(8), version=0),
    "nothing but a name": npy(HEADER)[:6], "cut in its length": npy(HEADER)[:11],
    "a header longer than the file": b"\x93NUMPY\x01\x00\xff\xff" + bytes(60),
    "a header longer than any": b"\x93NUMPY\x02\x00" + struct.pack("<I", (1 << 20) + 1)
    + repr(HEADER).encode().ljust((1 << 20) + 1) + bytes(8),
    "a key too many": header(more=1), "a key that is missing": npy({"descr": "<f8", "shape": ()}),
    "a list": npy([1]), "a call": npy(b"dict(descr='<f8')"), "no Python": npy(b"{'descr': "),
    "many brackets": npy(b"(" * 200_000, version=2), "many brackets of a type": npy(
        b"{'descr': " + b"[('a', " * 40 + b"'<f8'" + b")]" * 40
        + b", 'fortran_order': False, 'shape': ()}"),
    "a shape that is a list": header(shape=[1]), "a negative length": header(shape=(-1,)),
    "a length that is true": header(shape=(True,)), "a float": header(shape=(1.0,)),
    "many dimensions": header(shape=(1,) * 65), "a length of no file": header(shape=(1 << 62,)),
    "an order that is none": header(fortran_order=1),
    "no type": header(descr="<q8"), "a type without a width": header(descr="<f"),
    "a type behind a type": header(descr="<f8<f8"),
    "a number for a type": header(descr=8), "a field without a type": header(descr=[("a",)]),
    "a type of three": header(descr=("<f8", (2,), 1)),
    "a list for a field": header(descr=[["a", "<f8"]]),
    "a field of four": header(descr=[("a", "<f8", (1,), 2)]), "a field that is a text":
    header(descr=["<f8"]), "a negative shape in a type": header(descr=[("a", "<f8", (-1,))]),
    "a width of no file": header(descr="<f1234567890"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_header_that_numpy_does_not_write_is_malformed(name):
    report = look(REFUSED[name], "a.npy")
    assert {issue.rule for issue in report.issues} == {"TK-SCAN-032"}
    assert report.verdict is Verdict.MALFORMED


def test_a_header_is_read_up_to_its_limits():
    assert verdict(npy(HEADER | {"shape": (1,) * 64}, bytes(8)), "a.npy") is Verdict.CLEAN
    text = repr(HEADER).encode()
    longest = npy(text.ljust(1 << 20), bytes(8), version=2)
    assert verdict(longest, "a.npy") is Verdict.CLEAN
    huge = npy(HEADER | {"shape": ((1 << 62) - 1,)}, bytes(8))
    assert rules(huge, "a.npy") == {32}


def test_the_shape_of_a_field_may_be_a_number():
    one = npy(HEADER | {"descr": [("a", "<f8", 2), ("b", "<f4", (2, 1))]}, bytes(24))
    assert verdict(one, "a.npy") is Verdict.CLEAN


def test_names_of_fields_may_be_of_any_letters():
    for version in (1, 3):
        text = repr(HEADER | {"descr": [("\xe4", "<f8")]}).encode(
            "latin-1" if version == 1 else "utf-8"
        )
        assert verdict(npy(text, bytes(8), version), "a.npy") is Verdict.CLEAN


def test_python_2_wrote_lengths_with_a_letter():
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 1L), }"
    assert verdict(npy(text, bytes(16)), "a.npy") is Verdict.CLEAN


OBJECTS = [
    "|O",
    "O",
    [("a", "|O")],
    [("a", "|O"), ("b", "<i4")],
    [("a", "<i4"), ("b", [("c", "O", (2,))])],
    ("|O", (2,)),
]


@pytest.mark.parametrize("kind", OBJECTS, ids=str)
def test_objects_are_a_pickle(kind):
    clean, bad = pickle.dumps([None]), call("os", "system")
    assert verdict(npy(HEADER | {"descr": kind}, clean), "a.npy") is Verdict.CLEAN
    report = look(npy(HEADER | {"descr": kind}, bad), "a.npy")
    assert report.verdict is Verdict.DANGEROUS
    assert report.has_pickle
    assert {issue.member for issue in report.issues} == {"array"}
    assert verdict(npy(HEADER | {"descr": kind}, clean + b"x"), "a.npy") in FLAGGED
    assert verdict(npy(HEADER | {"descr": kind}), "a.npy") in FLAGGED


@given(st.binary(max_size=200))
def test_any_header_has_a_verdict(text):
    assert isinstance(verdict(npy(text, bytes(8)), "a.npy"), Verdict)


def test_nothing_of_a_header_is_evaluated(monkeypatch):
    """A planted fault: were it eval, the call would be made."""
    made = []
    monkeypatch.setattr(np, "made", lambda: made.append(1), raising=False)
    text = b"{'descr': __import__('numpy').made(), 'fortran_order': False, 'shape': ()}"
    assert verdict(npy(text), "a.npy") is Verdict.MALFORMED
    assert not made
    monkeypatch.setattr(ast, "literal_eval", eval)
    arrays._literal(text.decode())
    assert made
