"""A file of which whatever was read once is read from memory ever after."""

from __future__ import annotations

import io
import os
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any

from torchkeep.core.errors import SourceError
from torchkeep.core.source import Source
from torchkeep.core.text import visible

Pull = Callable[[int, memoryview], None]
"""Fills memory with the bytes of a file from an offset on."""


class Recording(Source):
    """A file that is read for a scan, and keeps what was read.

    Args:
        name: What to call it.
        size: Bytes it has.
        pull: Where they come from.
        descriptor: Descriptor of the file itself; None where it is none of the system's.
    """

    def __init__(self, name: str, size: int, pull: Pull, descriptor: int | None = None) -> None:
        super().__init__(visible(name))
        self.size = size
        self.version = ""
        self.descriptor = descriptor
        self._pull = pull
        self._starts: list[int] = []  # of stretches that are kept; none overlaps another
        self._kept: list[bytes] = []

    def fill(self, offset: int, view: memoryview) -> list[tuple[int, int]]:
        """Fill ``view``: from memory what is kept, from the file what is not.

        Returns:
            Start and end of each stretch that came from the file.
        """
        end = offset + len(view)
        fresh = list(self._gaps(offset, end, view))
        for low, high in fresh:
            self._pull(low, view[low - offset : high - offset])
            self._count(high - low)
        return fresh

    def _gaps(self, offset: int, end: int, view: memoryview) -> Iterator[tuple[int, int]]:
        """Copy what is kept into ``view``; yields the stretches between."""
        at = offset
        number = max(bisect_right(self._starts, offset) - 1, 0)
        while number < len(self._starts) and (start := self._starts[number]) < end:
            kept = self._kept[number]
            number += 1
            low, high = max(at, start), min(start + len(kept), end)
            if low >= high:
                continue
            if low > at:
                yield at, low
            view[low - offset : high - offset] = memoryview(kept)[low - start : high - start]
            at = high
        if at < end:
            yield at, end

    def _read(self, offset: int, length: int) -> bytes:
        number = bisect_right(self._starts, offset) - 1
        if number >= 0:
            start, kept = self._starts[number], self._kept[number]
            if offset + length <= start + len(kept):
                return kept[offset - start : offset - start + length]
        buffer = bytearray(length)
        with memoryview(buffer) as view:
            fresh = self.fill(offset, view)
        data = bytes(buffer)
        for low, high in fresh:
            place = bisect_left(self._starts, low)
            self._starts.insert(place, low)
            self._kept.insert(place, data[low - offset : high - offset])
        return data


def of_path(path: Any) -> tuple[Recording, io.FileIO]:
    """Open a file; whoever gets it closes it.

    Raises:
        OSError: It cannot be opened.
    """
    file = io.FileIO(path)
    try:
        recording = of_file(file, name=os.fsdecode(path))
    except BaseException:
        file.close()
        raise
    return recording, file


def of_file(file: Any, *, name: str = "") -> Recording:
    """What a file that is open has from its position on."""
    name = name or name_of(file)
    if not can_seek(file):
        return _of_bytes(file.read(), name)
    start = file.tell()
    if _is_regular(file):
        descriptor = file.fileno()
        size = max(os.fstat(descriptor).st_size - start, 0)
        pull = _of_descriptor(descriptor, start, name)
        return Recording(name, size, pull, None if start else descriptor)
    file.seek(0, os.SEEK_END)
    size = max(file.tell() - start, 0)  # what seek itself returns is wrong in torch's own views
    file.seek(start)
    return Recording(name, size, _of_seeks(file, start, name))


def _of_bytes(content: bytes, name: str) -> Recording:
    def pull(offset: int, view: memoryview) -> None:
        view[:] = memoryview(content)[offset : offset + len(view)]

    return Recording(name, len(content), pull)


def can_seek(file: Any) -> bool:
    """Whether a file can go back. Those of some libraries do not say; they can."""
    if not hasattr(file, "seek") or not hasattr(file, "tell"):
        return False
    seekable = getattr(file, "seekable", None)
    return seekable is None or bool(seekable())


def name_of(file: Any) -> str:
    """What to call a file."""
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and name else "<stream>"


def _is_regular(file: Any) -> bool:
    """Whether a file is one of the system's, with nothing in between that changes its bytes."""
    raw = file.raw if type(file) is io.BufferedReader else file
    return type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _of_descriptor(descriptor: int, start: int, name: str) -> Pull:
    def pull(offset: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            count = os.preadv(descriptor, [view[done:]], start + offset + done)
            if not count:
                raise _cut(name)
            done += count

    return pull


def _of_seeks(file: Any, start: int, name: str) -> Pull:
    def pull(offset: int, view: memoryview) -> None:
        file.seek(start + offset)
        done = 0
        while done < len(view):
            piece = file.read(len(view) - done)
            if not piece:
                raise _cut(name)
            view[done : done + len(piece)] = piece
            done += len(piece)

    return pull


def _cut(name: str) -> SourceError:
    return SourceError(
        f"{visible(name)} was cut short while it was read",
        next="load it again when nothing writes to it",
    )
