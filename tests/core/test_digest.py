"""``core.digest``: the name of weights, which no two models share and nothing can hide behind."""

import hashlib
import json
import struct
from contextlib import contextmanager

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from doubles.mutants import killed
from doubles.spoil import spoiled, spoiled_bytes
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core import digest
from torchkeep.core import safetensors as layout
from torchkeep.core.digest import TensorDigest, content, safetensors_content, sha256
from torchkeep.core.errors import Foreign
from torchkeep.core.progress import shown_by

MIB = 1 << 20


class Bytes:
    """A source in memory that remembers how much was asked for at once."""

    name = "m.safetensors"

    def __init__(self, data):
        self.data = data
        self.size = len(data)
        self.largest = 0

    def read(self, offset, length):
        assert 0 <= offset <= offset + length <= self.size
        self.largest = max(self.largest, length)
        return self.data[offset : offset + length]


def digest_of(data):
    return safetensors_content(Bytes(data))


def independent(data):
    """The content digest once more, from the page that defines it and nothing else."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    out = b"torchkeep-content-v1\n"
    for name in sorted(header, key=lambda name: name.encode()):
        dtype, shape = header[name]["dtype"].encode(), header[name]["shape"]
        begin, end = header[name]["data_offsets"]
        out += len(name.encode()).to_bytes(8, "little") + name.encode()
        out += len(dtype).to_bytes(8, "little") + dtype
        out += b"".join(size.to_bytes(8, "little") for size in [len(shape), *shape])
        out += hashlib.sha256(body[begin:end]).digest()
    return hashlib.sha256(out).hexdigest()


def file(header, body=b""):
    """A file with any header, JSON or bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype="U8", shape=(2,), offsets=(0, 2), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)} | more


dtypes = st.sampled_from(["bool", "u1", "i1", "<u2", "<i4", "<f2", "<f4", "<f8", "<i8", "<c8"])
shapes = st.lists(st.integers(0, 3), max_size=3)
arrays = st.tuples(dtypes, shapes, st.randoms(use_true_random=False)).map(
    lambda drawn: np.frombuffer(
        drawn[2].randbytes(int(np.prod(drawn[1])) * np.dtype(drawn[0]).itemsize), drawn[0]
    ).reshape(drawn[1])
)
models = st.dictionaries(
    st.text(max_size=6).filter(lambda name: name != "__metadata__"), arrays, max_size=4
)
# At least one tensor: for none, safetensors 0.8.0 writes `{},"__metadata__":{}}`, which is no JSON.
filled = models.filter(bool)
metadata = st.none() | st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)


# Files of the safetensors library.


@given(filled, metadata)
def test_it_is_what_its_definition_says(model, metadata):
    data = safetensors.numpy.save(model, metadata)
    assert digest_of(data) == independent(data)


@given(filled, metadata, metadata)
def test_metadata_does_not_count(model, one, other):
    assert len({digest_of(safetensors.numpy.save(model, extra)) for extra in (one, other)}) == 1


@given(models, st.randoms())
def test_order_in_the_file_does_not_count(model, random):
    def written(names):
        header, body = {}, b""
        for name in names:
            data = model[name].tobytes()
            kind = safetensors.numpy.save({"x": model[name]})
            dtype = json.loads(kind[8 : 8 + int.from_bytes(kind[:8], "little")])["x"]["dtype"]
            offsets = (len(body), len(body) + len(data))
            header[name] = entry(dtype, model[name].shape, offsets)
            body += data
        return file(header, body)

    names = list(model)
    shuffled = random.sample(names, len(names))
    expected = digest_of(safetensors.numpy.save(model))
    assert digest_of(written(names)) == digest_of(written(shuffled)) == expected


tensors = st.builds(
    TensorDigest,
    st.text(max_size=3),
    st.sampled_from(["F32", "F3", "2F", "I32", ""]),
    st.lists(st.integers(0, 3) | st.integers(0, 2**64 - 1), max_size=3).map(tuple),
    st.sampled_from([b"\0" * 32, b"\1" * 32]),
)
sets = st.lists(tensors, max_size=3, unique_by=lambda tensor: tensor.name)


@given(sets, sets)
def test_different_tensors_have_different_digests(one, other):
    assert (content(one) == content(other)) == (set(one) == set(other))


def check_every_field_counts():
    base = TensorDigest("a", "F32", (2, 3), b"\0" * 32)
    others = [
        TensorDigest("b", "F32", (2, 3), b"\0" * 32),
        TensorDigest("a", "I32", (2, 3), b"\0" * 32),
        TensorDigest("a", "F32", (3, 2), b"\0" * 32),
        TensorDigest("a", "F32", (6,), b"\0" * 32),
        TensorDigest("a", "F32", (2, 3, 1), b"\0" * 32),
        TensorDigest("a", "F32", (), b"\0" * 32),
        TensorDigest("a", "F32", (2, 3), b"\1" + b"\0" * 31),
        TensorDigest("aF", "32", (2, 3), b"\0" * 32),  # only the lengths tell where a name ends
    ]
    found = {content([tensor]) for tensor in [base, *others]}
    found |= {content([]), content([base, others[0]]), content(others[:1] + others[1:2])}
    assert len(found) == 12


def check_order_does_not_count():
    one, other = (TensorDigest(name, "F32", (2,), b"\0" * 32) for name in "ab")
    assert content([one, other]) == content([other, one])


def check_names_sort_by_their_bytes():
    """Code points of UTF-16 would sort these two the other way round."""
    names = ["\ufb01", "\U00010400"]
    data = safetensors.numpy.save({name: np.zeros(1, np.uint8) for name in names})
    assert digest_of(data) == independent(data)


def test_every_field_counts():
    check_every_field_counts()
    check_order_does_not_count()
    check_names_sort_by_their_bytes()


def test_one_name_for_two_tensors_is_no_set():
    same = [TensorDigest("a", "F32", (2,), bytes([n]) * 32) for n in range(2)]
    with pytest.raises(ValueError, match="same name"):
        content(same)


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("_u64", lambda *numbers: b""),
        ("_u64", lambda *numbers: bytes(number % 256 for number in numbers)),
        ("_u64", lambda *numbers: struct.pack(f">{len(numbers)}Q", *numbers)),
        ("_hash", lambda source, offset, length, advance: b"\0" * 32),
        ("_hash", lambda source, offset, length, advance: hashlib.sha256(source.data).digest()),
        ("sorted", lambda found, key=None: list(found)),
        ("sorted", lambda found, key=None: sorted(found)),
        ("sorted", lambda found, key=None: sorted(found, key=lambda t: t.name.encode("utf-16-be"))),
    ],
)
def test_mutants_of_the_digest_die(monkeypatch, name, mutant):
    def check_the_definition():
        data = safetensors.numpy.save({"b": np.zeros((2, 3), "<f4"), "a": np.ones(2, "<f4")})
        assert digest_of(data) == independent(data)

    monkeypatch.setattr(digest, name, getattr(digest, name, sorted), raising=False)
    assert killed(
        *(monkeypatch, digest, name, mutant),
        *(check_every_field_counts, check_order_does_not_count),
        *(check_names_sort_by_their_bytes, check_the_definition),
    )


# Files that nobody should call by a name.

PAIR = {"a": entry(), "b": entry(offsets=(2, 4))}
REFUSED = {
    "nothing": (b"", ""),
    "seven bytes": (b"\2\0\0\0\0\0\0", ""),
    "no header": (file(b""), "header is no JSON object"),
    "a header beyond the end": (struct.pack("<Q", 100) + b"{}", "length of its header"),
    "a header beyond every end": (struct.pack("<Q", 2**64 - 1) + b"{}", "length of its header"),
    "no JSON": (file(b"{"), ""),
    "a list": (file(b"[]"), "header is no JSON object"),
    "blanks before the header": (file(b" {}"), "header is no JSON object"),
    "a byte-order mark": (file(b"\xef\xbb\xbf{}"), "header is no JSON object"),
    "UTF-16": (file("{}".encode("utf-16-le")), ""),
    "a tensor twice": (
        file(b'{"a": %b, "a": %b}' % ((json.dumps(entry()).encode(),) * 2), b"xy"),
        "stands twice",
    ),
    "a tensor twice, spelled differently": (
        file(b'{"a": %b, "\\u0061": %b}' % ((json.dumps(entry()).encode(),) * 2), b"xy"),
        "stands twice",
    ),
    "a field twice": (
        file(b'{"a": {"dtype": "U8", "dtype": "I8", "shape": [2], "data_offsets": [0, 2]}}', b"xy"),
        "stands twice",
    ),
    "an unknown field": (file({"a": entry(scale=2)}, b"xy"), "not dtype, shape and data_offsets"),
    "no dtype": (file({"a": {"shape": [2], "data_offsets": [0, 2]}}, b"xy"), ""),
    "an entry that is a list": (file({"a": ["U8", [2], [0, 2]]}, b"xy"), ""),
    "an unknown dtype": (file({"a": entry("X8")}, b"xy"), "dtype of a tensor is unknown"),
    "a dtype in small letters": (file({"a": entry("u8")}, b"xy"), "dtype of a tensor is unknown"),
    "a dtype that is no text": (file({"a": entry(8)}, b"xy"), "dtype of a tensor is unknown"),
    "a dtype that is a list": (file({"a": entry(["U8"])}, b"xy"), ""),
    "a dtype of half a character": (
        file({"a": entry("\ud800")}, b"xy"),
        "dtype of a tensor is unknown",
    ),
    "a name of half a character": (file({"\ud800": entry()}, b"xy"), ""),
    "a shape that is text": (file({"a": entry() | {"shape": "2"}}, b"xy"), "not dtype, shape"),
    "a shape of floats": (file({"a": entry(shape=[2.0])}, b"xy"), "no whole number"),
    "a shape of truth": (file({"a": entry(shape=[True, 2])}, b"xy"), "no whole number"),
    "a shape of text": (file({"a": entry(shape=["2"])}, b"xy"), "no whole number"),
    "a negative shape": (file({"a": entry(shape=[-1, -2])}, b"xy"), "no whole number"),
    "a shape beyond 64 bits": (
        file({"a": entry(shape=[2**64, 0], offsets=(0, 0))}),
        "no whole number",
    ),
    "more elements than 64 bits count": (
        file({"a": entry(shape=[2**63, 2, 0], offsets=(0, 0))}),
        "too many elements",
    ),
    "offsets of truth": (file({"a": entry(offsets=(False, 2))}, b"xy"), "no whole number"),
    "offsets of floats": (file({"a": entry(offsets=(0.0, 2.0))}, b"xy"), "no whole number"),
    "three offsets": (file({"a": entry(offsets=(0, 1, 2))}, b"xy"), ""),
    "one offset": (file({"a": entry(offsets=(2,))}, b"xy"), ""),
    "offsets that are a number": (file({"a": entry() | {"data_offsets": 2}}, b"xy"), ""),
    "negative offsets": (file({"a": entry(offsets=(-2, 0))}, b"xy"), "no whole number"),
    "an end before its start": (file({"a": entry(offsets=(2, 0))}, b"xy"), "not the length"),
    "too little data for the shape": (file({"a": entry(shape=[3])}, b"xy"), "not the length"),
    "too much data for the shape": (file({"a": entry(shape=[1])}, b"xy"), "not the length"),
    "half a byte": (file({"a": entry("F4", [3], (0, 2))}, b"xy"), "not the length"),
    "a tensor beyond the end": (file({"a": entry()}, b"x"), "too short, or longer"),
    "data behind the last tensor": (file({"a": entry()}, b"xyz"), "too short, or longer"),
    "data of no tensor at all": (file({}, b"hidden"), "too short, or longer"),
    "data before the first tensor": (
        file({"a": entry(offsets=(1, 3))}, b"xyz"),
        "overlap, or leave a hole",
    ),
    "data between two tensors": (
        file({"a": entry(), "b": entry(offsets=(3, 5))}, b"xyzxy"),
        "overlap, or leave a hole",
    ),
    "two tensors over the same data": (
        file({"a": entry(), "b": entry()}, b"xy"),
        "overlap, or leave",
    ),
    "two tensors over some of the same data": (
        file({"a": entry(), "b": entry(offsets=(1, 3))}, b"xyz"),
        "overlap, or leave a hole",
    ),
    "an empty tensor in the middle of another": (
        file({"a": entry(), "b": entry(shape=[0], offsets=(1, 1))}, b"xy"),
        "overlap, or leave a hole",
    ),
    "metadata that is a list": (file({"__metadata__": ["x"]}), ""),
    "metadata of numbers": (file({"__metadata__": {"a": 1}}), "metadata is not text"),
    "metadata that is deep": (file({"__metadata__": {"a": {"b": "c"}}}), "metadata is not text"),
    "metadata that is nothing": (file({"__metadata__": None}), ""),
    "nesting without end": (file(b'{"a":' * 50_000), "too deep"),
    "digits without end": (file(b'{"a": {"shape": [%b]}}' % (b"1" * 5000)), "digits"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_could_hide_something_has_no_name(data, reason):
    with pytest.raises(
        Foreign, match=r"^m\.safetensors is not a well-formed safetensors file"
    ) as caught:
        digest_of(data)
    assert reason in caught.value.message
    assert caught.value.next
    assert "\n" not in str(caught.value)


def test_a_shape_of_a_million_dimensions_ends_soon():
    """The product of these is a number of 64 million bits."""
    header = {"a": entry(shape=[2**63] * 200_000, offsets=(0, 0))}
    with pytest.raises(Foreign, match="too many elements"):
        digest_of(file(header))


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({}, b""),
        ({"__metadata__": {}}, b""),
        ({"__metadata__": {"format": "pt"}, "a": entry()}, b"xy"),
        ({"": entry()}, b"xy"),
        ({"a": entry("F32", [], (0, 4))}, b"wxyz"),
        ({"a": entry("F4", [4], (0, 2))}, b"xy"),
        ({"a": entry("F6_E2M3", [4], (0, 3))}, b"xyz"),
        ({"a": entry("C64", [1], (0, 8))}, b"x" * 8),
        ({"a": entry(shape=[0], offsets=(0, 0)), "b": entry()}, b"xy"),
        ({"a": entry(shape=[0], offsets=(2, 2)), "b": entry()}, b"xy"),
        ({"a": entry(shape=[2**32, 0], offsets=(0, 0))}, b""),
        (PAIR, b"wxyz"),
    ],
)
def test_odd_files_that_are_well_formed(header, body):
    data = file(header, body)
    assert digest_of(data) == independent(data)
    assert digest_of(data) == digest_of_library(data)
    padded = file(json.dumps(header).encode() + b"   ", body)
    assert digest_of(padded) == digest_of(data)


def test_the_dtypes_are_those_of_the_library():
    with pytest.raises(safetensors.SafetensorError) as caught:
        safetensors.deserialize(file({"a": entry("X8")}, b"xy"))
    named = str(caught.value).partition("expected one of")[2].split("`")[1::2]
    assert set(named) <= set(layout.BITS)
    for name in named:
        bits = layout.BITS[name]
        data = file({"a": entry(name, [8], (0, bits))}, b"x" * bits)
        assert digest_of(data) == digest_of_library(data)


def digest_of_library(data):
    """The digest of what the library reads."""
    found = safetensors.deserialize(data)
    return content(
        TensorDigest(
            name, view["dtype"], tuple(view["shape"]), hashlib.sha256(view["data"]).digest()
        )
        for name, view in found
    )


HEADER = {
    "__metadata__": {"k": "v"},
    "a": entry("F32", [1, 2], (0, 8)),
    "b": entry(offsets=(8, 10)),
}
BODY = b"0123456789"


@given(
    spoiled(HEADER).map(lambda header: file(header, BODY))
    | spoiled_bytes(file(HEADER, BODY))
    | spoiled_bytes(json.dumps(HEADER).encode()).map(lambda header: file(header, BODY))
    | st.binary()
    | st.binary().map(file)
)
def test_damage_is_foreign_or_read_as_the_library_reads_it(data):
    try:
        found = digest_of(data)
    except Foreign:
        return
    assert found == independent(data)
    assert found == digest_of_library(data)


@pytest.mark.parametrize("cut", range(len(file(HEADER, BODY))))
def test_a_file_that_was_cut_short_has_no_name(cut):
    with pytest.raises(Foreign):
        digest_of(file(HEADER, BODY)[:cut])


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("strict", json),
        ("BITS", layout.BITS | {"X8": 8}),
        ("BITS", dict.fromkeys(layout.BITS, 8)),
        ("_TOO_LARGE", 1 << 200),
        ("_KEYS", {"dtype", "shape", "data_offsets", "scale"}),
        ("_elements", lambda shape: 2),
        ("sorted", lambda slots, key=None: [slot._replace(begin=0, end=0) for slot in slots]),
    ],
)
def test_mutants_of_the_reader_die(monkeypatch, name, mutant):
    def check():
        for data, _ in REFUSED.values():
            with pytest.raises(Foreign):
                digest_of(data)
        data = file(PAIR, b"wxyz")
        assert digest_of(data) == independent(data)

    monkeypatch.setattr(layout, name, getattr(layout, name, sorted), raising=False)
    assert killed(
        monkeypatch, layout, name, mutant, check, test_the_dtypes_are_those_of_the_library
    )


# How it reads.


def test_large_tensors_are_read_in_pieces_with_one_bar():
    seen = []

    @contextmanager
    def display(label, total):
        seen.append((label, total))
        yield lambda units: seen.append(units)

    size = 3 * MIB + 5
    data = file(
        {"a": entry(shape=[size], offsets=(0, size)), "b": entry(offsets=(size, size + 2))},
        b"x" * (size + 2),
    )
    source = Bytes(data)
    with shown_by(display):
        assert safetensors_content(source) == independent(data)
    assert source.largest == MIB
    assert seen == [("hashing m.safetensors", size + 2), MIB, MIB, MIB, 5, 2]


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1])
def test_the_digest_of_any_file(size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    source = Bytes(data)
    assert sha256(source) == hashlib.sha256(data).hexdigest()
    assert source.largest <= MIB
