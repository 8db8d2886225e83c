"""What the machine takes from a stream, piece by piece, and what it says of the whole."""

from __future__ import annotations

import struct

import pytest
from doubles.streams import text

from torchkeep.core.source import BytesSource
from torchkeep.scan.pickle.hits import What
from torchkeep.scan.pickle.machine import Machine, Outcome
from torchkeep.scan.pickle.policy import Tier, of
from torchkeep.scan.pickle.values import Dict, Made
from torchkeep.scan.pickle.weight import is_tree, largest


def follow(data: bytes) -> Outcome:
    return Machine(BytesSource(data), 0, of(Tier.MODULE)).run()


def frame(body: bytes) -> bytes:
    return b"\x95" + struct.pack("<Q", len(body)) + body


# Texts are the commonest arguments: the loop reads them itself where it can.
BEHIND = b"N0" * 20  # so that the loop can


@pytest.mark.parametrize("behind", [b"", BEHIND])
@pytest.mark.parametrize("value", ["", "a", "ü€😀", "\ud800", "x" * 70_000])
def test_a_text_is_read_as_it_stands(value, behind):
    data = value.encode("utf-8", "surrogatepass")
    outcome = follow(b"\x80\x02X" + struct.pack("<I", len(data)) + data + behind + b".")
    assert (outcome.value, outcome.broken) == (value, "")


@pytest.mark.parametrize("behind", [b"", BEHIND])
def test_a_text_that_is_not_utf8_breaks_the_stream(behind):
    outcome = follow(b"\x80\x02NX\x02\x00\x00\x00\xff\xfe" + behind + b".")
    assert "text at byte 3 is not UTF-8" in outcome.broken
    assert outcome.end == 10


@pytest.mark.parametrize("left", range(1, 9))
def test_a_text_that_is_cut_breaks_the_stream(left):
    whole = b"\x80\x02" + BEHIND + text("abcd")
    assert follow(whole[:-left]).broken


def test_a_text_that_crosses_the_end_of_its_frame_is_odd():
    inside = b"\x80\x04" + frame(text("abcd")) + BEHIND + b"."
    assert follow(inside).hits == []
    across = b"\x80\x04" + frame(text("abcd")[:-2]) + b"cd" + BEHIND + b"."
    assert [hit.what for hit in follow(across).hits] == [What.FRAME]


def test_of_many_frames_no_more_is_read_than_is_followed():
    data = b"\x80\x04" + frame(b"N0") * 1000 + b"N." + bytes(10_000_000)
    source = BytesSource(data)
    assert Machine(source, 0, of(Tier.MODULE)).run().broken == ""
    assert source.bytes_read < 1_000_000


def test_what_is_shared_or_too_deep_is_no_tree():
    flat = tuple("ab")
    deep = (flat, 0)
    own = [flat]
    own.append(own)
    made = Made(None, (flat,), 0)
    made.pairs.append(("a", flat))
    for value in (None, (), flat, [flat, [1], (), ()], Dict([(flat, [])]), Made(None, (flat,), 0)):
        assert is_tree(value, 3)
    for value in (own, [flat, flat], Dict([(flat, flat)]), made, (deep, flat)):
        assert not is_tree(value, 100)
    assert is_tree(deep, 2)
    assert not is_tree(deep, 1)


@pytest.mark.parametrize("layers", [b"N" + b"\x85" * 1500, b"N" + b"2\x86" * 1500])
def test_what_is_nested_too_deep_is_a_bomb(layers):
    outcome = follow(b"\x80\x04" + layers + b".")
    assert What.BOMB in [hit.what for hit in outcome.hits]
    assert largest(outcome.value)[1] > 1000


def test_what_is_shared_too_much_is_a_bomb():
    layers = b"]" + (b"q\x00(" + b"h\x00" * 9 + b"t") * 12
    outcome = follow(b"\x80\x04" + layers + b".")
    assert [hit.what for hit in outcome.hits] == [What.BOMB]


def test_calls_of_what_a_call_returns_are_named_however_long_their_chain_is():
    chain = b"\x80\x02cmine\nf\n" + b")R" * 5000 + b"."
    *_, last = follow(chain).hits
    assert last.about == "what mine.f returns, called 4999 times over"
