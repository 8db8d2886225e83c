"""Pieces of a source, as sources of their own."""

from __future__ import annotations

from torchkeep.core.errors import SourceError
from torchkeep.core.source import Readable


class Part:
    """Bytes ``[start, start + size)`` of a source; nothing is copied.

    Args:
        source: Where they lie.
        start: Offset of the first one.
        size: How many there are; those behind the end of the source do not count.
    """

    __slots__ = ("_source", "_start", "size")

    def __init__(self, source: Readable, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self.size = max(0, min(size, source.size - start))

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``.

        Raises:
            SourceError: The part has no such bytes.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise _lacking(self.size, offset, length)
        return self._source.read(self._start + offset, length)


class Held:
    """Bytes that were read already: archives have many small members, and each is looked at often.

    Args:
        data: The bytes.
    """

    __slots__ = ("_data", "size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``.

        Raises:
            SourceError: There are no such bytes.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise _lacking(self.size, offset, length)
        return self._data[offset : offset + length]


def _lacking(size: int, offset: int, length: int) -> SourceError:
    return SourceError(
        f"a part of {size} bytes has no {length} bytes from byte {offset} on",
        next="fetch the file again: it may be cut short or damaged",
    )
