"""What a loader gets in place of a file: a file that reads as it was scanned."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from torchkeep.scan.job import Followed
from torchkeep.scan.loading.recording import Recording, of_file, of_path
from torchkeep.scan.loading.refusal import scan
from torchkeep.scan.loading.terms import Terms
from torchkeep.scan.verdict import FileReport

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER: Final = 1 << 16  # bytes read at a time for a reader that takes few


class Tape(io.RawIOBase):
    """A file that was scanned: what the scan has read comes from memory, raw numbers from the file.

    Large reads go straight into the memory of the caller.

    Args:
        recording: What was scanned.
        report: What was said about it.
        followed: Its pickles.
        file: A file that is closed with this one.
    """

    def __init__(
        self,
        recording: Recording,
        report: FileReport,
        followed: list[Followed],
        file: io.FileIO | None = None,
    ) -> None:
        self.name = recording.name
        self.report = report
        self.followed = followed
        self._recording = recording
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """Descriptor of the file, from which torch reads the storages of its old files.

        Raises:
            UnsupportedOperation: There is none.
        """
        if self._recording.descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._recording.descriptor

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position; as in every file, it may lie behind the end.

        Raises:
            ValueError: ``whence`` is none of 0, 1 and 2.
            OSError: The position lies before the start.
        """
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise ValueError(f"whence is {whence}, expected 0, 1 or 2")
        position = (0, self._position, self._recording.size)[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = position
        return position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` from the position on; fewer bytes only at the end."""
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._recording.size - self._position))
        if length:
            self._recording.fill(self._position, view[:length])
            self._position += length
        return length

    def readall(self) -> bytes:
        """Everything from the position on."""
        buffer = bytearray(max(0, self._recording.size - self._position))
        self.readinto(buffer)
        return bytes(buffer)

    def close(self) -> None:
        """Close the file, if it is this one's own."""
        if self._file is not None:
            self._file.close()
        super().close()


def scanned(location: Any, terms: Terms) -> io.BufferedReader:
    """Open a path, or take a file that is open, and scan it.

    Raises:
        Unsafe: It is not clean.
        OSError: It cannot be opened.
    """
    if is_path(location):
        recording, file = of_path(location)
        try:
            return _reader(Tape(recording, *scan(recording, terms), file))
        except BaseException:
            file.close()
            raise
    recording = of_file(location)
    return _reader(Tape(recording, *scan(recording, terms)))


def _reader(tape: Tape) -> io.BufferedReader:
    return io.BufferedReader(tape, _BUFFER)


def is_path(location: Any) -> bool:
    """Whether a loader would open ``location`` by its name."""
    return isinstance(location, str | bytes | os.PathLike)


def is_scanned(location: Any) -> TypeGuard[io.BufferedReader]:
    """Whether a loader was given what :func:`scanned` gave to another one."""
    return isinstance(location, io.BufferedReader) and isinstance(location.raw, Tape)


def of(reader: io.BufferedReader) -> Tape:
    """The tape that such a reader reads."""
    tape = reader.raw
    assert isinstance(tape, Tape)
    return tape
