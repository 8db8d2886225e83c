"""What every source is."""

from __future__ import annotations

import io
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Protocol, Self

from torchkeep.core.errors import SourceError
from torchkeep.core.source.reader import Reader

FIRST: Final = 16 * 1024
"""Bytes that the request which opens a remote file asks for: it must ask for some, and every
reader wants the first ones to see what the file is."""


class Readable(Protocol):
    """What can be read piece by piece: a :class:`Source`, or part of one."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""


class Source(ABC):
    """One version of a file, read piece by piece.

    Several threads may read at once. Close it when all of them are done.

    Attributes:
        name: What to call it in a message: safe to show, without passwords and signatures.
        size: Bytes it has.
        version: What it was when it was opened (an ETag, a time, an inode); empty where the place
            tells none, and then only the size shows that a file has changed.
    """

    size: int
    version: str

    def __init__(self, name: str) -> None:
        self.name = name
        self._head = b""
        self._closed = False
        self._requests = 0
        self._bytes_read = 0
        self._counting = threading.Lock()

    @property
    def requests(self) -> int:
        """How often the place behind it was asked, opening included."""
        return self._requests

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file came from there."""
        return self._bytes_read

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly ``length`` bytes from ``offset`` on.

        Raises:
            SourceError: The file has no such bytes, they could not be had, or it has changed.
            ValueError: The source is closed.
        """
        if self._closed:
            raise ValueError(f"{self.name} is closed")
        if offset < 0 or length < 0 or offset + length > self.size:
            raise SourceError(
                f"{self.name} has {self.size} bytes; {length} from byte {offset} on were asked for",
                next="fetch the file again: it may be cut short or damaged",
            )
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        return self._read(offset, length) if length else b""

    def readinto(self, offset: int, buffer: memoryview) -> None:
        """Read as many bytes as ``buffer`` has into memory that is there.

        Raises:
            SourceError: As :meth:`read`.
            ValueError: The source is closed.
        """
        buffer[:] = self.read(offset, len(buffer))

    def file(self, *, buffer: int = io.DEFAULT_BUFFER_SIZE) -> io.BufferedReader:
        """A binary file over it, for readers such as :mod:`zipfile` and :mod:`tarfile`.

        Each refill of its buffer is a read: put a :class:`Buffered` between it and a remote
        source. Closing the file leaves the source open.
        """
        return io.BufferedReader(Reader(self), buffer)

    def close(self) -> None:
        """Give back what it holds. Closing twice does nothing."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abstractmethod
    def _read(self, offset: int, length: int) -> bytes:
        """Exactly those bytes; the range is not empty and lies within the size."""

    def _count(self, received: int) -> None:
        with self._counting:
            self._requests += 1
            self._bytes_read += received

    def _changed(self) -> SourceError:
        return SourceError(
            f"{self.name} changed while it was read",
            next="read it again when nothing writes to it",
        )
