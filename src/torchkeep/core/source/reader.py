"""A source as a file object."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from torchkeep.core.source.base import Source


class Reader(io.RawIOBase):
    """A seekable, unbuffered, read-only file over a source; closing it leaves the source open."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position; as in every file, it may lie behind the end.

        Raises:
            OSError: It lies before the start (what zipfile expects of a file that is too short).
            ValueError: ``whence`` is none of 0, 1 and 2.
        """
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise ValueError(f"whence is {whence}, expected 0, 1 or 2")
        position = (0, self._position, self._source.size)[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = position
        return position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` from the position on; fewer bytes only at the end.

        Raises:
            SourceError: The bytes could not be had. It is no OSError, so that no reader takes it
                for a file of another format.
        """
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._source.size - self._position))
        if length:
            view[:length] = self._source.read(self._position, length)
            self._position += length
        return length
