"""Header, index and manifest: one spelling each, closed sets of keys, and numbers in range."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core.errors import Foreign
from torchkeep.core.source import BytesSource
from torchkeep.vault import canonical, header, index, manifest
from torchkeep.vault.canonical import Fields, from_hex
from torchkeep.vault.header import Header
from torchkeep.vault.index import File, Index, Records, Tensors
from torchkeep.vault.manifest import Manifest, Policy

LARGEST = 2**53 - 1
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
)


@given(values)
def test_what_was_encoded_is_decoded(value):
    data = canonical.encode(value)
    assert canonical.decode(data) == value
    assert data.isascii()


@given(values)
def test_another_spelling_is_refused(value):
    data = canonical.encode(value)
    for other in (data + b" ", b" " + data, json.dumps(value, indent=1).encode()):
        if other != data:
            with pytest.raises(ValueError, match=r"spelling|JSON|Expecting|Extra"):
                canonical.decode(other)


@pytest.mark.parametrize(
    "text",
    ['{"b":1,"a":2}', '{"a":1,"a":1}', '{"a": 1}', '"\\u0041"', '"\\u00E9"', '"é"', '"\\/"',
     "-0", "1e2", "NaN", "Infinity", "01", '{"a":1}\n', "\ufeff1", "", "[1,]"],
)  # fmt: skip
def test_spellings_that_only_look_right(text):
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the parser says
        canonical.decode(text.encode())


def test_fields_are_taken_once_and_none_is_left():
    fields = Fields({"n": 1, "t": "x", "h": "00ff", "i": [1, 2], "more": 1})
    assert (fields.number("n", 1, 1), fields.text("t", 1)) == (1, "x")
    assert (fields.hexadecimal("h", 2), fields.items("i", 2, str)) == (b"\0\xff", ("1", "2"))
    with pytest.raises(ValueError, match="missing"):
        fields.take("n")
    with pytest.raises(ValueError, match="not known"):
        fields.done()


@pytest.mark.parametrize("value", [True, 1.0, "1", None, -1, 6])
def test_what_is_no_number_in_range(value):
    with pytest.raises(ValueError, match="no number from 0 to 5"):
        Fields({"n": value}).number("n", 0, 5)


@pytest.mark.parametrize("value", ["", "0", "000", "0g", "AB", " 0", "0 ", "0\n", 12, None, "٠١"])
def test_what_is_no_byte(value):
    with pytest.raises(ValueError, match="hexadecimal"):
        from_hex(value, 1)


# The header.

HEADER = Header(
    chunk=20, commitment=b"c" * 32, file=b"f" * 16, model="income", previous=None,
    signers=(b"a" * 32, b"b" * 32), suite=1, version=1,
)  # fmt: skip


def read(data: bytes):
    return header.read(BytesSource(data, "x"), "x")


def spelled(**changes) -> bytes:
    body = canonical.encode(json.loads(HEADER.encode()[12:]) | changes)
    return header.MAGIC + len(body).to_bytes(4, "little") + body


def test_a_header_is_read_again():
    data = HEADER.encode()
    assert read(data + b"more") == (HEADER, data)
    assert spelled() == data


@pytest.mark.parametrize(
    "changes",
    [{"chunk": 15}, {"chunk": 23}, {"chunk": 20.0}, {"commitment": "00"}, {"file": "0" * 33},
     {"model": ""}, {"model": "x" * 201}, {"model": 1}, {"previous": ""}, {"previous": 1},
     {"signers": ["62" * 32, "61" * 32]}, {"signers": ["61" * 32] * 2}, {"signers": "61"},
     {"signers": [f"{n:064x}" for n in range(17)]}, {"suite": 0}, {"suite": True}, {"version": 0},
     {"version": LARGEST + 1}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_a_header_out_of_range_is_refused(changes):
    with pytest.raises(Foreign):
        read(spelled(**changes))


def test_every_cut_of_a_header_is_refused():
    data = HEADER.encode()
    for end in range(len(data)):
        with pytest.raises(Foreign):
            read(data[:end])
    for wrong in (b"x" + data[1:], data[:8] + b"\xff\xff\xff\xff" + data[12:]):
        with pytest.raises(Foreign):
            read(wrong)


# The manifest.

MANIFEST = Manifest(
    data=16, header=b"h" * 32, index=32, root=b"r" * 32, segments=2, sealed=1,
    policy=Policy(not_before=0, not_after=9, versions=(1, 2), recipients=(b"a" * 32,)),
)  # fmt: skip


def test_a_manifest_is_read_again():
    for one in (MANIFEST, replace(MANIFEST, policy=Policy())):
        section = one.encode()
        assert int.from_bytes(section[:4], "little") == len(section) - 4
        assert manifest.decode(section[4:]) == one


@pytest.mark.parametrize(
    "changes",
    [{"data": -1}, {"data": LARGEST + 1}, {"index": 15}, {"segments": 0}, {"sealed": None},
     {"root": ""}, {"header": "x" * 64}, {"policy": None}, {"policy": {"more": 1}}, {"more": 1},
     {"policy": {"not_after": None}}, {"policy": {"versions": [1]}},
     {"policy": {"versions": [2, 1]}},
     {"policy": {"versions": [0, 1]}}, {"policy": {"versions": [1, 2, 3]}},
     {"policy": {"recipients": ["61" * 32] * 2}}, {"policy": {"recipients": ["61"]}}],
    ids=str,
)  # fmt: skip
def test_a_manifest_out_of_range_is_refused(changes):
    said = json.loads(MANIFEST.encode()[4:]) | changes
    with pytest.raises(ValueError, match=r"."):
        manifest.decode(canonical.encode(said))


# The index.

TENSORS = b'{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
INDEX = Index(
    (Tensors("m", TENSORS), File("f", 9), Records("r", array("Q", [0, 3]))), {"by": "me"}, "ab" * 32
)


def test_an_index_is_read_again():
    found = index.decode(INDEX.encode())
    assert found.encode() == INDEX.encode()
    assert [part.kind for part in found.parts] == ["tensors", "file", "records"]
    assert found.parts[2].descriptor(1) == ["record", "r", 1, 3]
    assert found.parts[0].descriptor(0) == ["tensor", "m", "w", "U8", [2], 2]
    assert index.decode(Index(()).encode()) == Index(())


def indexed(parts, tables=b"", **more) -> bytes:
    body = canonical.encode({"content": None, "metadata": {}, "parts": parts} | more)
    return len(body).to_bytes(4, "little") + body + tables


FILE = {"kind": "file", "path": "f", "table": 0, "bytes": 1}


@pytest.mark.parametrize(
    ("parts", "more"),
    [
        ([FILE, FILE], {}), ([FILE | {"path": "../f"}], {}), ([FILE | {"path": "/f"}], {}),
        ([FILE | {"bytes": -1}], {}), ([FILE | {"kind": "link"}], {}), ([FILE | {"more": 1}], {}),
        ([FILE | {"table": 1}], {}), ([{"kind": "file", "path": "f", "table": 0}], {}),
        ([{"kind": "records", "path": "r", "table": 8}], {}), ("", {}), ([1], {}),
        ([{"kind": "tensors", "path": "t", "table": 0}], {}), ([FILE], {"metadata": {"a": 1}}),
        ([FILE], {"metadata": []}), ([FILE], {"content": "x"}), ([FILE], {"content": 1}),
        ([FILE], {"more": 1}),
    ],
    ids=str,
)  # fmt: skip
def test_an_index_with_something_wrong_is_refused(parts, more):
    with pytest.raises(ValueError, match=r"."):
        index.decode(indexed(parts, **more))
    assert index.decode(indexed([FILE])).parts[0].size(0) == 1


def test_tables_that_do_not_fit():
    with pytest.raises(ValueError, match="follows"):
        index.decode(indexed([FILE], b"x"))
    for table in (b"x" * 7, b"\xff" * 8):
        with pytest.raises(ValueError, match=r"kind|larger"):
            index.decode(indexed([{"kind": "records", "path": "r", "table": len(table)}], table))
    for end in range(len(INDEX.encode())):
        with pytest.raises(ValueError, match=r"."):
            index.decode(INDEX.encode()[:end])


def test_where_items_lie():
    chunk = 1 << 16
    found = index.layouts(INDEX, chunk)
    assert [(one.first, one.base) for one in found] == [(0, 0), (1, 18), (2, 43)]
    last = found[2].item(1)
    assert (last.ordinal, last.offset, last.length) == (3, 43 + 16, 3)
    assert [index.sealed(n, chunk) for n in (0, 1, chunk, chunk + 1)] == [
        16, 17, chunk + 16, chunk + 33
    ]  # fmt: skip
