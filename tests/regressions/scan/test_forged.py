"""Arrays of numpy that lie about their type: each was clean, and reading it reads any memory."""

from __future__ import annotations

import pickle
import struct

import pytest
from doubles.scanning import rules, verdict

from torchkeep.scan.verdict import Verdict

np = pytest.importorskip("numpy")
ADDRESS = struct.pack("<Q", 0x4141414141414141)


class Reduced:
    """Pickled as a call with state."""

    def __init__(self, call, args, state=None):
        self.parts = (call, args) if state is None else (call, args, state)

    def __reduce__(self):
        return self.parts


def dtype(code="V8", fields=None, size=8, flags=0, part=None, version=3):
    names = tuple(fields) if fields else None
    return Reduced(
        np.dtype, (code, False, True), (version, "|", part, names, fields, size, 8, flags)
    )


def array(kind, raw=ADDRESS):
    made = np._core.multiarray._reconstruct
    return Reduced(made, (np.ndarray, (0,), b"b"), (1, (1,), kind, False, raw))


OBJECTS, NUMBERS = np.dtype("O"), np.dtype("f8")
INNER = dtype(fields={"b": (OBJECTS, 0)})
FORGED = {
    "objects without their flags": dtype("O8", size=-1),
    "a field of objects": dtype(fields={"a": (OBJECTS, 0)}),
    "a field of fields of objects": dtype(fields={"a": (INNER, 0)}),
    "an array of objects": dtype(part=(OBJECTS, (1,))),
    "a field behind the end": dtype(fields={"a": (NUMBERS, 1)}),
    "a field before the beginning": dtype(fields={"a": (NUMBERS, -8)}),
    "a field that is far away": dtype(fields={"a": (NUMBERS, 1 << 40)}),
    "a field that is larger": dtype(fields={"a": (np.dtype("V9"), 0)}),
    "an array that is larger": dtype(part=(NUMBERS, (2,))),
    "an array of a negative length": dtype(part=(NUMBERS, (-1, -1))),
    "no fields": dtype(fields={"a": (NUMBERS,)}), "no offset": dtype(fields={"a": (NUMBERS, "0")}),
    "the type of Python": Reduced(np.dtype, (object,)),
    "a list of fields": Reduced(np.dtype, ([("a", "O")],)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("protocol", [2, 4])
def test_forged_types(name, protocol):
    kind = FORGED[name]
    assert rules(pickle.dumps(array(kind), protocol)) == {14}
    scalar = Reduced(np._core.multiarray.scalar, (kind, ADDRESS))
    assert verdict(pickle.dumps(scalar, protocol)) is Verdict.DANGEROUS
    buffer = Reduced(np._core.numeric._frombuffer, (bytearray(ADDRESS), kind, (1,), "C"))
    assert verdict(pickle.dumps(buffer, protocol)) is Verdict.DANGEROUS


SOUND = [
    np.zeros(3), np.zeros(2, "M8[ns]"), np.array(["a"]), np.array([b"a"]), np.array([True]),
    np.array([1, None], dtype=object), np.zeros(2, [("a", "O"), ("b", "f8")]),
    np.zeros(2, [("a", "i4"), ("b", "f8", (2, 3)), ("c", [("d", "S3")])]), np.float64(3),
    np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)), np.zeros(1, "V5"),
    np.zeros(2, {"names": ["a"], "formats": ["f4"], "offsets": [4], "itemsize": 12}),
    np.zeros(1, [("a", "f8")])[0], np.ma.masked_array([1, 2], [True, False]), np.datetime64("2020"),
    np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), np.zeros(1, [(("t", "a"), "i4")]),
]  # fmt: skip


@pytest.mark.parametrize("value", SOUND, ids=lambda value: repr(value.dtype))
def test_what_numpy_writes_is_clean(value):
    for protocol in range(2, 6):
        assert verdict(pickle.dumps(value, protocol)) is Verdict.CLEAN
