"""The bytes of one pickle, taken from a file that may hold more."""

from __future__ import annotations

import io
import os
from functools import cache
from typing import Any, Final

from torchkeep.core.source import Source
from torchkeep.scan.loading.tape import Tape

_PIECE: Final = 1 << 18
_STOP: Final = ord(".")
_LINE, _LINES = -1, -2  # an argument up to a line feed, and two of them


class Ahead(Source):
    """What a file has from its position on, read as far as somebody asks.

    Args:
        file: A file that can seek cheaply.
        name: What to call it.
    """

    def __init__(self, file: Any, name: str) -> None:
        super().__init__(name)
        start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - start
        self.version = ""
        file.seek(start)
        self._file = file
        self._taken = bytearray()

    def taken(self, end: int) -> bytes:
        """The first ``end`` bytes: those that were handed out, and what was passed by."""
        self._take(end)
        with memoryview(self._taken) as view:
            return bytes(view[:end])

    def _read(self, offset: int, length: int) -> bytes:
        self._take(offset + length)
        return bytes(self._taken[offset : offset + length])

    def _take(self, end: int) -> None:
        while len(self._taken) < end:
            piece = self._file.read(max(end - len(self._taken), _PIECE))
            if not piece:
                raise self._changed()
            self._taken += piece


def is_cheap(file: Any) -> bool:
    """Whether a file goes back without reading everything again, as a compressed one does."""
    raw = file.raw if isinstance(file, io.BufferedReader | io.BufferedRandom) else file
    return isinstance(raw, io.FileIO | Tape)


def exactly(file: Any) -> bytes:
    """The next pickle of a file that cannot go back, and nothing of what stands behind it."""
    widths = _widths()
    out = bytearray()
    while code := file.read(1):
        out += code
        if code[0] == _STOP:
            break
        kind, width = widths.get(code[0], (0, 0))
        if kind < 0:
            for _ in range(-kind):
                out += file.readline()
            continue
        argument = _some(file, width)
        out += argument
        if kind:
            out += _some(file, int.from_bytes(argument, "little"))
    return bytes(out)


def _some(file: Any, length: int) -> bytes:
    """``length`` bytes, or all that are left; a length that lies takes no memory."""
    out = bytearray()
    while len(out) < length:
        piece = file.read(min(length - len(out), _PIECE))
        if not piece:
            break
        out += piece
    return bytes(out)


@cache
def _widths() -> dict[int, tuple[int, int]]:
    """Of each opcode: lines that follow (negative) or whether data does, and bytes of a number."""
    import pickletools

    out: dict[int, tuple[int, int]] = {}
    counted = {
        pickletools.TAKEN_FROM_ARGUMENT1: 1,
        pickletools.TAKEN_FROM_ARGUMENT4: 4,
        pickletools.TAKEN_FROM_ARGUMENT4U: 4,
        pickletools.TAKEN_FROM_ARGUMENT8U: 8,
    }
    for opcode in pickletools.opcodes:
        width = opcode.arg.n if opcode.arg else 0
        if width == pickletools.UP_TO_NEWLINE:
            lines = _LINES if opcode.name in ("GLOBAL", "INST") else _LINE
            out[ord(opcode.code)] = (lines, 0)
        else:
            out[ord(opcode.code)] = (int(width < 0), counted.get(width, width))
    return out
