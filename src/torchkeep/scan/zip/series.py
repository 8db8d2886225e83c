"""Archives that lie in a row in one file, as distributed checkpoints write them."""

from __future__ import annotations

from torchkeep.core.source import Readable
from torchkeep.scan.part import Part
from torchkeep.scan.zip.directory import last_end, shift_of
from torchkeep.scan.zip.local import MAGIC


def series(source: Readable) -> list[tuple[int, Readable]]:
    """Each archive and its offset; the whole file where it is not such a row without gaps."""
    parts: list[tuple[int, Readable]] = []
    end = source.size
    while (start := _start(source, end)) is not None:
        parts.append((start, Part(source, start, end - start)))
        end = start
        if not start:
            return parts[::-1]
    return [(0, source)]


def _start(source: Readable, end: int) -> int | None:
    """Where the archive that ends at ``end`` starts, by what its own end records say."""
    start = shift_of(source, end)
    if not start:
        return start
    if not 0 < start < end - len(MAGIC) or source.read(start, len(MAGIC)) != MAGIC:
        return None
    return None if last_end(source, start) is None else start
