"""The digest tree over the data and the index as they stand in the file.

Both are cut into segments: runs of whole chunks. The digests of segments are kept in pages of
1,024, and the pages in a list: whoever reads one tensor checks it with its segments, their page and
the list, not with the digests of the whole file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from torchkeep.core.source import Readable
from torchkeep.vault.suite import TAG, Suite

PAGE: Final = 1024
"""Segments in a page."""

_ENTRY: Final = 36  # u32 length, digest
_LISTED: Final = 40  # u64 length, digest


class Segment(NamedTuple):
    """A run of whole chunks.

    Attributes:
        offset: Bytes of data and index before it.
        length: Bytes that it has.
        digest: Its digest.
    """

    offset: int
    length: int
    digest: bytes


def leaf(suite: Suite, segment: bytes | memoryview) -> bytes:
    """The digest of a segment."""
    out = suite.hash(b"\0")
    out.update(segment)
    return out.digest()


def entry(length: int, digest: bytes) -> bytes:
    """A segment as it stands in its page."""
    return length.to_bytes(4, "little") + digest


def pages(suite: Suite, entries: bytes | bytearray) -> bytes:
    """The list of pages, for all entries one behind the other."""
    step, view = PAGE * _ENTRY, memoryview(entries)
    return b"".join(_listed(suite, view[at : at + step]) for at in range(0, len(entries), step))


def root(suite: Suite, count: int, all_pages: bytes) -> bytes:
    """The root over the list of pages of ``count`` segments."""
    out = suite.hash(b"\2" + count.to_bytes(8, "little"))
    out.update(all_pages)
    return out.digest()


def count(entries: bytes | bytearray) -> int:
    """How many segments there are entries for."""
    return len(entries) // _ENTRY


def sizes(count: int) -> tuple[int, int]:
    """Bytes of the entries and of the list of pages of ``count`` segments."""
    return count * _ENTRY, -(-count // PAGE) * _LISTED


class Tree:
    """The segments of a file, read page by page.

    Args:
        suite: The suite of the file.
        source: Its bytes.
        entries: Where the entries start.
        count: How many segments there are.
        expected: The root.
        sections: Bytes of the data, and of data and index.
        chunk: Bytes of a chunk.

    Raises:
        ValueError: The list of pages is not that of the root; from the methods: a page is not that
            of the list.
    """

    def __init__(
        self,
        suite: Suite,
        source: Readable,
        entries: int,
        count: int,
        expected: bytes,
        sections: tuple[int, int],
        chunk: int,
    ) -> None:
        self._suite, self._source, self._entries, self._count = suite, source, entries, count
        self._sections, self._chunk = sections, chunk
        before, length = sizes(count)
        listed = source.read(entries + before, length)
        if root(suite, count, listed) != expected:
            raise ValueError("its digests are not those of its manifest")
        cut = [listed[at : at + _LISTED] for at in range(0, length, _LISTED)]
        self._digests = [one[8:] for one in cut]
        lengths = (int.from_bytes(one[:8], "little") for one in cut)
        self._starts = list(accumulate(lengths, initial=0))
        if self._starts[-1] != sections[1]:
            raise ValueError("its digests are not over all of its data")
        self._read: dict[int, list[Segment]] = {}

    def covering(self, start: int, end: int) -> Iterator[Segment]:
        """The segments that bytes ``start`` to ``end`` lie in."""
        number = max(0, bisect_right(self._starts, start) - 1)
        while number < len(self._digests) and self._starts[number] < end:
            for segment in self._page(number):
                if segment.offset < end and segment.offset + segment.length > start:
                    yield segment
            number += 1

    def _page(self, number: int) -> list[Segment]:
        if number not in self._read:
            self._read[number] = list(self._segments(number))
        return self._read[number]

    def _segments(self, number: int) -> Iterator[Segment]:
        count = min(PAGE, self._count - number * PAGE)
        at = self._entries + number * PAGE * _ENTRY
        data = self._source.read(at, count * _ENTRY)
        if _page_digest(self._suite, data) != self._digests[number]:
            raise ValueError("its digests are not those of its manifest")
        offset = self._starts[number]
        for place in range(0, len(data), _ENTRY):
            length = int.from_bytes(data[place : place + 4], "little")
            self._require_whole(offset, offset + length)
            yield Segment(offset, length, data[place + 4 : place + _ENTRY])
            offset += length
        if offset != self._starts[number + 1]:
            raise ValueError("its digests contradict each other")

    def _require_whole(self, start: int, end: int) -> None:
        """See that a segment ends where one must: soon enough, and not before its section does."""
        data = self._sections[0]
        is_last = end in self._sections
        if not TAG <= end - start <= 2 * self._chunk + TAG or start < data < end:
            raise ValueError("a segment has an impossible length")
        if end - start < self._chunk and not is_last:
            raise ValueError("a segment has an impossible length")


def _listed(suite: Suite, page: memoryview) -> bytes:
    total = sum(int.from_bytes(page[at : at + 4], "little") for at in range(0, len(page), _ENTRY))
    return total.to_bytes(8, "little") + _page_digest(suite, page)


def _page_digest(suite: Suite, page: bytes | memoryview) -> bytes:
    out = suite.hash(b"\1")
    out.update(page)
    return out.digest()
