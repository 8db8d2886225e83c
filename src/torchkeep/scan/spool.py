"""Bytes that were unpacked on the way, kept where they can be read in any order."""

from __future__ import annotations

import os
from types import TracebackType
from typing import IO, Final, Self

_IN_MEMORY: Final = 8 << 20  # bytes; more lie in a temporary file


class Spool:
    """Bytes that were unpacked: in memory while they are few, else in a temporary file."""

    def __init__(self) -> None:
        import tempfile  # a scan of one small file must start at once

        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes behind those that are there."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise ValueError(f"{self.size} bytes were unpacked; {length} from {offset} asked for")
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
