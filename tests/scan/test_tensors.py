"""Safetensors: what the library writes is clean; what it would not open is not."""

from __future__ import annotations

import json

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from hypothesis import given
from hypothesis import strategies as st
from makers.formats import safetensors

from torchkeep.core.source import BytesSource
from torchkeep.scan.formats import tensors
from torchkeep.scan.verdict import Verdict

np = pytest.importorskip("numpy")
library = pytest.importorskip("safetensors.numpy")
deserialize = pytest.importorskip("safetensors").deserialize

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TYPES = ["bool", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c8"]
ARRAYS = st.builds(
    np.zeros, st.lists(st.integers(0, 3), max_size=3).map(tuple), st.sampled_from(TYPES)
)


@given(
    st.dictionaries(NAMES.filter(lambda name: name != "__metadata__"), ARRAYS, max_size=5),
    st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=3),
)
def test_what_the_library_writes_is_clean_and_a_byte_more_or_less_is_not(arrays, metadata):
    data = library.save(arrays, metadata)
    assert verdict(data, "a.safetensors") is Verdict.CLEAN
    assert verdict(data + b"\0", "a.safetensors") in FLAGGED
    assert verdict(data[:-1], "a.safetensors") in FLAGGED


@pytest.mark.parametrize("dtype", [name for name, bits in tensors._BITS.items() if bits >= 8])
def test_each_type_has_the_size_that_the_library_gives_it(dtype):
    size = 3 * tensors._BITS[dtype] // 8
    for length in (size, size + 1):
        data = safetensors({"a": one(dtype, (3,), (0, length))}, bytes(length))
        try:
            library_opens = bool(deserialize(data))
        except Exception as error:
            library_opens = False
            if "variant" in str(error):
                pytest.skip(f"this version of safetensors does not know {dtype}")
        assert library_opens is (length == size)
        assert (verdict(data, "a.safetensors") is Verdict.CLEAN) is library_opens


def one(dtype="U8", shape=(2,), offsets=(0, 2), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


HALVES = {
    "two numbers of four bits": (one("F4", (4,), (0, 2)), 2, Verdict.CLEAN),
    "one number of four bits": (one("F4", (3,), (0, 1)), 1, Verdict.MALFORMED),
    "four of six": (one("F6_E2M3", (4,), (0, 3)), 3, Verdict.CLEAN),
    "an order beyond the end": (one(offsets=(2, 0)), 2, Verdict.MALFORMED),
    "a scalar": (one("I16", ()), 2, Verdict.CLEAN),
    "none": (one("I64", (0, 1 << 62), (0, 0)), 0, Verdict.CLEAN),
    "more than any file": (one("U8", (1 << 62, 1 << 6), (0, 2)), 2, Verdict.MALFORMED),
    "a place that is true": (one(offsets=(False, 2)), 2, Verdict.MALFORMED),
    "three places": (one(offsets=(0, 2, 2)), 2, Verdict.MALFORMED),
    "a number of no file": (one(shape=(1 << 63,)), 2, Verdict.MALFORMED),
    "a type in small letters": (one("u8"), 2, Verdict.MALFORMED),
    "a type that is a list": (one(["U8"]), 2, Verdict.MALFORMED),
    "more than a tensor says": (one(more=1), 2, Verdict.MALFORMED),
}


@pytest.mark.parametrize("name", HALVES)
def test_places_and_shapes(name):
    entry, size, expected = HALVES[name]
    assert verdict(safetensors({"a": entry}, bytes(size)), "a.safetensors") is expected


def test_tensors_may_stand_in_any_order_without_a_gap():
    def both(first, second, size):
        return verdict(
            safetensors({"a": one(offsets=first), "b": one(offsets=second)}, bytes(size))
        )

    assert both((2, 4), (0, 2), 4) is Verdict.CLEAN
    assert both((0, 2), (0, 2), 2) is Verdict.MALFORMED
    assert both((0, 2), (1, 3), 3) is Verdict.MALFORMED
    assert both((0, 2), (3, 5), 5) is Verdict.MALFORMED
    assert both((1, 3), (3, 5), 5) is Verdict.MALFORMED


TEXTS = {
    "a comma too many": b'{"a":1,}', "no comma": b'{"a":{} "b":{}}', "no colon": b'{"a"{}}',
    "a number for a name": b'{ 1:{}}', "open": b'{"a":{}', "something behind": b'{} {}',
    "not a number": b'{"a":NaN}', "infinite": b'{"a":{"dtype":-Infinity}}',
    "bytes that are no text": b'{"\xff":{}}', "a letter that is cut": b'{"a":{}}\xc3',
    "brackets": b'{"a":' + b"[" * 33, "braces": b'{"a":' + b'{"b":' * 33,
    "metadata that is a list": b'{"__metadata__":[]}',
    "metadata that is a number": b'{"__metadata__":{"a":1}}',
    "metadata twice": b'{"__metadata__":{"a":"1","a":"2"}}',
    "metadata and metadata": b'{"__metadata__":{},"__metadata__":{}}',
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_header_that_is_no_json_of_tensors_is_malformed(name):
    report = look(safetensors(TEXTS[name]), "a.safetensors")
    assert report.verdict is Verdict.MALFORMED
    assert rules(safetensors(TEXTS[name])) == {32}


@pytest.mark.parametrize("length", [0x0178, 0x5E78, 0x9C78, 0xDA78])
def test_the_length_of_a_header_is_no_compressed_stream(length):
    text = json.dumps({"a": one()}).encode().ljust(length)
    assert verdict(safetensors(text, bytes(2)), "a.safetensors") is Verdict.CLEAN


def test_white_space_in_a_header_is_no_matter():
    text = b'{ "a" :\n' + json.dumps(one(), indent=3).encode() + b' , "__metadata__":\t{ } }  '
    assert verdict(safetensors(text, bytes(2)), "a.safetensors") is Verdict.CLEAN


@given(st.integers(1, 40), st.dictionaries(NAMES, st.text(max_size=30), max_size=6))
def test_a_header_may_be_cut_into_windows_anywhere(window, metadata):
    text = json.dumps({"__metadata__": metadata, "ä€𝄞": one()}, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "_WINDOW", window)
        found = dict(tensors.entries(BytesSource(text), 0, len(text)))
    assert dict(found["__metadata__"]) == metadata
    assert dict(found["ä€𝄞"]) == one()


LIMITS = {"_LONGEST_HEADER": 99, "_LONGEST_ENTRY": 20, "_MOST_TENSORS": 0}


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_larger_than_any_model_is_malformed(name, monkeypatch):
    """A smaller number stands in the place of each limit: the file is clean if it is not asked."""
    data = safetensors({"a": one(), "b": one(offsets=(2, 4))}, bytes(4))
    assert verdict(data, "a.safetensors") is Verdict.CLEAN
    if name == "_LONGEST_ENTRY":
        monkeypatch.setattr(tensors, "_WINDOW", 16)
    monkeypatch.setattr(tensors, name, LIMITS[name])
    assert verdict(data, "a.safetensors") is Verdict.MALFORMED


@given(st.binary(max_size=60))
def test_any_header_has_a_verdict(text):
    assert isinstance(verdict(safetensors(b"{" + text), "a.safetensors"), Verdict)
