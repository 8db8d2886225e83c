"""GGUF: what its writers write is clean; tensors, facts and templates that are not are told."""

from __future__ import annotations

import struct

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.spoil import spoiled_bytes
from hypothesis import given
from hypothesis import strategies as st
from makers.formats import gguf, string

from torchkeep.scan.verdict import Verdict

F32, F16, Q4_0, Q6_K, I8 = 0, 1, 2, 14, 24
BYTES = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q6_K: (256, 210), I8: (1, 1)}


def entry(name: str, kind: int, shape: tuple[int, ...], offset: int) -> bytes:
    head = string(name) + struct.pack("<I", len(shape))
    return head + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)


def size(kind: int, shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    block, width = BYTES[kind]
    return count // block * width


def model(tensors, facts=None, tail: int | None = None) -> bytes:
    """A file with tensors, a pair of type and shape each, laid out as llama.cpp does."""
    table, data = b"", b""
    for number, (kind, shape) in enumerate(tensors):
        table += entry(f"blk.{number}.weight", kind, shape, len(data))
        data += bytes(size(kind, shape))
        data += bytes(-len(data) % 32)
    return gguf(facts or {"a": "b"}, table, len(tensors), data[:tail])


SOME = [
    (F32, (8, 3)),
    (Q4_0, (64, 2)),
    (Q6_K, (256,)),
    (F16, ()),
    (I8, (5, 1, 1, 2)),
    (F32, (0, 4)),
]

shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
tensors = st.one_of(
    st.tuples(st.sampled_from([F32, F16, I8]), shapes),
    st.tuples(st.sampled_from([Q4_0]), shapes.map(lambda shape: (64, *shape))),
    st.tuples(st.sampled_from([Q6_K]), shapes.map(lambda shape: (512, *shape))),
)


@given(st.lists(tensors, max_size=6))
def test_what_writers_write_is_clean(found):
    assert look(model(found), "m.gguf").issues == []


def test_the_last_tensor_may_end_the_file():
    assert verdict(model([(I8, (33,))], tail=33), "m.gguf") is Verdict.CLEAN
    assert verdict(model([(I8, (33,))], tail=32), "m.gguf") is Verdict.MALFORMED


def test_bytes_behind_the_tensors():
    for found in (SOME, []):
        assert rules(model(found) + bytes(1), "m.gguf") == {20}


def test_an_order_of_its_own():
    """The table may list tensors in any order; the data has no gaps."""
    one, two = entry("a", F32, (8,), 32), entry("b", F32, (8,), 0)
    assert verdict(gguf({}, one + two, 2, bytes(64)), "m.gguf") is Verdict.CLEAN


WRONG = {
    "overlap": (entry("a", F32, (16,), 0) + entry("b", F32, (8,), 32), 2, bytes(64)),
    "the same place": (entry("a", F32, (8,), 0) + entry("b", F32, (8,), 0), 2, bytes(32)),
    "gap": (entry("a", F32, (8,), 0) + entry("b", F32, (8,), 64), 2, bytes(96)),
    "gap at the start": (entry("a", F32, (8,), 32), 1, bytes(64)),
    "no multiple": (entry("a", I8, (8,), 0) + entry("b", I8, (8,), 8), 2, bytes(32)),
    "past the end": (entry("a", F32, (9,), 0), 1, bytes(32)),
    "far past the end": (entry("a", F32, (1 << 40,), 0), 1, bytes(32)),
    "overflow": (entry("a", F32, (1 << 32, 1 << 32), 0), 1, bytes(32)),
    "half a block": (entry("a", Q4_0, (48, 2), 0), 1, bytes(64)),
    "a block that is none": (entry("a", Q4_0, (), 0), 1, bytes(64)),
    "same name": (entry("a", F32, (8,), 0) + entry("a", F32, (8,), 32), 2, bytes(64)),
    "dimensions": (entry("a", F32, (1,) * 5, 0), 1, bytes(32)),
    "cut in the table": (entry("a", F32, (1,), 0)[:-3], 1, b""),
    "fewer tensors": (entry("a", F32, (8,), 0), 2, bytes(32)),
}


@pytest.mark.parametrize("case", WRONG)
def test_tensors_that_no_loader_should_open(case):
    table, count, data = WRONG[case]
    assert verdict(gguf({}, table, count, data), "m.gguf") is Verdict.MALFORMED


def test_a_type_that_is_newer_is_not_scanned():
    table = entry("a", F32, (8,), 0) + entry("b", 999, (8,), 32)
    report = look(gguf({}, table, 2, bytes(999)), "m.gguf")
    assert report.verdict is Verdict.NOT_SCANNED
    assert "999" in report.issues[0].message.text("en")
    early = entry("a", F32, (16,), 0) + entry("b", F32, (8,), 32) + entry("c", 999, (8,), 64)
    assert verdict(gguf({}, early, 3, bytes(999)), "m.gguf") is Verdict.MALFORMED


def fact(name: str, kind: int, data: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + data


def file(*facts: bytes, table: bytes = b"", count: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, count, len(facts)) + b"".join(facts) + table


def aligned(alignment: int, kind: int = 4) -> bytes:
    table = entry("a", I8, (1,), 0) + entry("b", I8, (1,), alignment)
    width = "<I" if kind == 4 else "<f"
    facts = fact("general.alignment", kind, struct.pack(width, alignment))
    data = file(facts, table=table, count=2)
    return data + bytes(-len(data) % max(alignment, 1)) + bytes(alignment + 1)


def test_alignment():
    for alignment in (8, 32, 64, 4096):
        assert verdict(aligned(alignment), "m.gguf") is Verdict.CLEAN
    for alignment in (0, 24, 1 << 17):
        assert verdict(aligned(alignment), "m.gguf") is Verdict.MALFORMED
    assert verdict(aligned(64, kind=6), "m.gguf") is Verdict.MALFORMED


KINDS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def test_facts_of_every_type():
    facts = [fact(f"f{kind}", kind, bytes(width)) for kind, width in KINDS.items()]
    facts += [
        fact(f"a{kind}", 9, struct.pack("<IQ", kind, 3) + bytes(3 * width))
        for kind, width in KINDS.items()
    ]
    facts.append(fact("texts", 9, struct.pack("<IQ", 8, 2) + string("x") + string("yy")))
    facts.append(fact("arrays", 9, struct.pack("<IQIQ", 9, 1, 0, 2) + b"ab"))
    assert verdict(file(*facts), "m.gguf") is Verdict.CLEAN


BAD_FACTS = {
    "type": fact("a", 13, bytes(12)),
    "more text than any needs": fact("a", 8, struct.pack("<Q", (1 << 20) + 1) + bytes(2 << 20)),
    "type in an array": fact("a", 9, struct.pack("<IQ", 13, 1) + bytes(8)),
    "a long text": fact("a", 8, struct.pack("<Q", 1 << 62)),
    "a long array": fact("a", 9, struct.pack("<IQ", 0, 1 << 62)),
    "a long array of texts": fact("a", 9, struct.pack("<IQ", 8, 1 << 62)),
    "a long text in an array": fact("a", 9, struct.pack("<IQQ", 8, 1, 1 << 62)),
    "arrays in arrays": fact("a", 9, struct.pack("<IQ", 9, 1) * 4000),
}


@pytest.mark.parametrize("data", BAD_FACTS.values(), ids=BAD_FACTS)
def test_facts_that_are_none(data):
    assert verdict(file(data), "m.gguf") is Verdict.MALFORMED


def test_a_fact_is_there_once():
    same = fact("a", 0, b"x")
    assert verdict(file(same, same), "m.gguf") is Verdict.MALFORMED
    assert verdict(file(same), "m.gguf") is Verdict.CLEAN


def test_versions():
    for version in (0, 4, 99):
        assert verdict(file(version=version), "m.gguf") is Verdict.MALFORMED
    first = b"GGUF" + struct.pack("<III", 1, 0, 1)
    first += struct.pack("<I", 1) + b"a" + struct.pack("<II", 8, 2) + b"{{"
    assert verdict(first, "m.gguf") is Verdict.CLEAN
    big = b"GGUF" + struct.pack(">IQQQ", 3, 0, 1, 1) + b"a" + struct.pack(">IQ", 8, 2) + b"{{"
    assert verdict(big, "m.gguf") is Verdict.CLEAN


@pytest.mark.parametrize("key", ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"])
def test_templates(key):
    assert verdict(gguf({key: "{{ x.__class__ }}"}), "m.gguf") is Verdict.DANGEROUS
    assert verdict(gguf({key: "{{ messages }}"}), "m.gguf") is Verdict.CLEAN
    assert verdict(gguf({"other": "{{ x.__class__ }}"}), "m.gguf") is Verdict.CLEAN
    assert verdict(file(fact(key, 0, b"x")), "m.gguf") is Verdict.CLEAN


@given(spoiled_bytes(model(SOME)))
def test_damage_is_never_a_crash_and_cuts_are_never_clean(data):
    found = verdict(data, "m.gguf")
    if data != model(SOME) and model(SOME).startswith(data):
        assert found in FLAGGED | {Verdict.NOT_SCANNED}
