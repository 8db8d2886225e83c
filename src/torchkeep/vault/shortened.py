"""A file as it was before an append that was interrupted."""

from __future__ import annotations

from torchkeep.core.source import Source


class Shortened(Source):
    """The first bytes of a source.

    Args:
        source: The file; closing this closes it.
        size: How many of its bytes count.
    """

    def __init__(self, source: Source, size: int) -> None:
        super().__init__(source.name)
        self._source = source
        self.size = min(size, source.size)
        self.version = source.version

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._source.close()

    def _read(self, offset: int, length: int) -> bytes:
        return self._source.read(offset, length)
