"""Sources on this machine: files and memory."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Final

from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.source.base import Source
from torchkeep.core.text import visible

# Neither waits: not for the writer of a FIFO that took the file's place, not for a terminal.
_FLAGS: Final = os.O_NONBLOCK | os.O_NOCTTY


class FileSource(Source):
    """A regular file.

    A file that is replaced under its name stays readable here as it was; one that is written to
    in place raises. A change within one tick of the file system's clock cannot be seen.

    Raises:
        SourceError: There is no such file, it may not be read, or it is no regular file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(visible(os.fspath(path)))
        try:
            # Opening is an act of its own on a device or a FIFO: look first, and look again at
            # what was opened.
            self._require_regular(Path(path).stat())
            self._file = io.FileIO(os.fspath(path), opener=_opener)
        except OSError as error:
            raise self._unreadable(error) from error
        except ValueError as error:  # a name with a NUL byte
            raise SourceError(f"{self.name} is no file name", next="check the name") from error
        info = os.fstat(self._file.fileno())
        try:
            self._require_regular(info)
        except SourceError:
            self._file.close()
            raise
        self.size = info.st_size
        self.version = _version(info)

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()

    def readinto(self, offset: int, buffer: memoryview) -> None:
        """Read into memory that is there; nothing is copied on the way."""
        if self._closed or not 0 <= offset <= self.size - len(buffer):
            self.read(offset, len(buffer))  # says what is wrong
        try:
            while buffer:
                length = os.preadv(self._file.fileno(), [buffer], offset)
                self._count(length)
                if not length:
                    raise self._changed()
                buffer, offset = buffer[length:], offset + length
            # After the bytes were read: a write that came before them has moved the time.
            version = _version(os.fstat(self._file.fileno()))
        except OSError as error:
            raise self._unreadable(error) from error
        if version != self.version:
            raise self._changed()

    def _read(self, offset: int, length: int) -> bytes:
        pieces = []
        try:
            while length:
                piece = os.pread(self._file.fileno(), length, offset)
                self._count(len(piece))
                if not piece:
                    raise self._changed()
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
            # After the bytes were read: a write that came before them has moved the time.
            version = _version(os.fstat(self._file.fileno()))
        except OSError as error:
            raise self._unreadable(error) from error
        if version != self.version:
            raise self._changed()
        return b"".join(pieces)

    def _require_regular(self, info: os.stat_result) -> None:
        if not stat.S_ISREG(info.st_mode):
            raise SourceError(
                f"{self.name} is {_kind(info.st_mode)}, expected a file", next="name a file"
            )

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(
            f"{self.name} cannot be read: {error.strerror or error}",
            next="check the name and who may read it",
        )


class BytesSource(Source):
    """Bytes that are in memory already, such as those of standard input."""

    def __init__(self, data: bytes, name: str = "<memory>") -> None:
        super().__init__(visible(name))
        self._data = data
        self.size = len(data)
        self.version = ""

    def _read(self, offset: int, length: int) -> bytes:
        self._count(length)
        return self._data[offset : offset + length]


def path_of(rest: str) -> str:
    """The path that a ``file://`` URL names, from what follows those seven characters.

    Raises:
        UsageError: It names another machine, or no file.
    """
    from urllib.parse import unquote_to_bytes

    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise UsageError(
            f"{visible(f'file://{rest}')} names no file of this machine",
            next="write file:///PATH, or the path itself",
        )
    return os.fsdecode(unquote_to_bytes(f"/{path}"))


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | _FLAGS)


def _version(info: os.stat_result) -> str:
    return f"{info.st_dev}:{info.st_ino}:{info.st_size}:{info.st_mtime_ns}"


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
