"""Few large reads in place of many small ones."""

from __future__ import annotations

import threading
from collections import OrderedDict

from torchkeep.core.source.base import Source


class Buffered(Source):
    """Reads a source in whole blocks and keeps the last ones.

    A directory of many small records then costs one request a block. Reads of a block and more go
    straight to the source: they are few, and keeping them would push the blocks out.

    Args:
        source: What to read; closing this closes it.
        block: Bytes of one block.
        keep: Blocks that are kept.
    """

    def __init__(self, source: Source, *, block: int = 64 * 1024, keep: int = 64) -> None:
        super().__init__(source.name)
        self.size = source.size
        self.version = source.version
        self._head = source._head
        self._source = source
        self._block = block
        self._keep = keep
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def requests(self) -> int:
        """How often the place behind the source was asked."""
        return self._source.requests

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file came from there."""
        return self._source.bytes_read

    def close(self) -> None:
        """Forget the blocks and close the source."""
        super().close()
        self._kept.clear()
        self._source.close()

    def _read(self, offset: int, length: int) -> bytes:
        if length >= self._block:
            return self._source.read(offset, length)
        first = offset // self._block
        last = (offset + length - 1) // self._block  # shorter than a block: first or its neighbour
        start = offset - first * self._block
        return b"".join(self._blocks(first, last))[start : start + length]

    def _blocks(self, first: int, last: int) -> list[bytes]:
        numbers = range(first, last + 1)
        kept = self._recall(numbers)
        # The lock is not held here: two threads that miss one block both fetch it, and readers of
        # other places do not wait for either.
        if missing := [number for number in numbers if number not in kept]:
            kept |= self._fetch(missing[0], missing[-1])
        return [kept[number] for number in numbers]

    def _fetch(self, first: int, last: int) -> dict[int, bytes]:
        start = first * self._block
        data = self._source.read(start, min((last + 1) * self._block, self.size) - start)
        blocks = {
            number: data[(number - first) * self._block :][: self._block]
            for number in range(first, last + 1)
        }
        with self._lock:
            self._kept |= blocks
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)
        return blocks

    def _recall(self, numbers: range) -> dict[int, bytes]:
        found = {}
        with self._lock:
            for number in numbers:
                if number in self._kept:
                    self._kept.move_to_end(number)
                    found[number] = self._kept[number]
        return found
