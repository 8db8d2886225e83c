"""The wire format of protocol buffers, walked without a schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from torchkeep.core.source import Readable

_CHUNK: Final = 1 << 16
_FIXED: Final = {1: 8, 5: 4}  # bytes of a value, by wire type
_MODEL_FIELDS: Final = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}

_FIRST: Final = frozenset((number << 3 | wire) & 0x7F for number, wire in _MODEL_FIELDS.items())


class Malformed(Exception):
    """The bytes are no message."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        number: Which one.
        wire: Its wire type: 0 a number, 1 eight bytes, 2 bytes, 5 four bytes.
        value: The number; 0 for other types.
        start: Where its bytes start.
        end: Where they end.
    """

    number: int
    wire: int
    value: int
    start: int
    end: int


class Walker:
    """Reads fields from a source, piece by piece.

    Args:
        source: Where the message lies.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._base = 0
        self._buffer = b""

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields between two offsets, in order.

        Raises:
            Malformed: The bytes there are no message.
        """
        at = start
        while at < end:
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            value = 0
            if wire == 0:
                begin = at
                value, at = self._varint(at, end)
            elif wire == 2:
                length, begin = self._varint(at, end)
                at = begin + length
            elif wire in _FIXED:
                begin, at = at, at + _FIXED[wire]
            else:
                raise Malformed(f"a field of type {wire} at byte {at}")
            if not number or at > end:
                raise Malformed(f"a field that runs past its message at byte {begin}")
            yield Field(number, wire, value, begin, at)

    def bytes(self, field: Field, limit: int) -> bytes:
        """The bytes of a field, ``limit`` of them at most."""
        return self._source.read(field.start, min(field.end - field.start, limit))

    def text(self, field: Field, limit: int = 4096) -> str:
        """The text of a field."""
        return self.bytes(field, limit).decode("utf-8", "replace")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if at >= end or shift > 63:
                raise Malformed(f"a number that does not end at byte {at}")
            byte = self._byte(at)
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    def _byte(self, at: int) -> int:
        place = at - self._base
        if not 0 <= place < len(self._buffer):
            length = min(_CHUNK, self._source.size - at)
            self._base, self._buffer, place = at, self._source.read(at, length), 0
        return self._buffer[place]


def is_model(source: Readable) -> bool:
    """Whether a file is a message with the fields of an ONNX model, a graph among them."""
    if not source.size or source.read(0, 1)[0] & 0x7F not in _FIRST:
        return False
    found = set()
    try:
        for field in Walker(source).fields(0, source.size):
            if _MODEL_FIELDS.get(field.number) != field.wire:
                return False
            found.add(field.number)
    except Malformed:
        return 7 in found and 1 in found  # cut short or damaged behind its graph
    return 7 in found
