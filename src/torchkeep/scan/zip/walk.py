"""Members that only their own headers tell of, as readers of a stream find them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan.zip.local import MAGIC, Local, Window, local

_CHUNK: Final = 1 << 16
_LONGEST: Final = 1 << 28  # bytes that are searched
_MOST: Final = 10_000


def walk(source: Readable, start: int, end: int) -> Iterator[tuple[Local, int]]:
    """Each header between two offsets, and how many bytes of data follow it.

    Where a header does not say how many, they last to the next header, descriptor or directory.
    """
    window = Window(source, source.size)
    limit = min(end, start + _LONGEST)
    position = _find(source, (MAGIC,), start, limit)
    for _ in range(_MOST):
        found = local(window, position) if position < limit else None
        if found is None:
            if position >= limit:
                return
            position = _find(source, (MAGIC,), position + 1, limit)
            continue
        length = found.packed or _length(source, found.data, limit, end)
        yield found, min(length, end - found.data)
        # What a header says of its length may be a lie that hides the next one.
        position = _find(source, (MAGIC,), found.data, limit)


def _length(source: Readable, data: int, limit: int, end: int) -> int:
    stop = _find(source, (b"PK\x07\x08", MAGIC, b"PK\x01\x02", b"PK\x05\x06"), data, limit)
    return (end if stop >= limit else stop) - data


def _find(source: Readable, magics: tuple[bytes, ...], start: int, limit: int) -> int:
    """Offset of the first of ``magics`` that starts before ``limit``, else ``limit``."""
    while start < limit:
        length = min(_CHUNK, limit - start, source.size - start)
        if length < 4:
            break
        data = source.read(start, length)
        hits = [at for magic in magics if (at := data.find(magic)) >= 0]
        if hits:
            return start + min(hits)
        start += length - 3
        if length < _CHUNK:
            break
    return limit
