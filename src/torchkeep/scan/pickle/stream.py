"""The bytes of one pickle, read piece by piece."""

from __future__ import annotations

from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan.pickle.values import Blob

_FIRST: Final = 1 << 12  # bytes read at first: what is no pickle ends within them
_CHUNK: Final = 1 << 18  # bytes read at a time later on
_AHEAD: Final = 16  # bytes that an opcode with its fixed argument takes at most, and some
KEPT: Final = 1 << 20  # bytes of the longest text or bytes that are kept; longer ones are passed by
_LONGEST_LINE: Final = 1 << 20


class Broken(Exception):
    """The stream is none that an unpickler would read to its end."""


class Stream:
    """A window that moves over a source.

    Attributes:
        buffer: The bytes of the window.
        pos: The next byte in it.
        base: Offset of its first byte in the source.
        soft: Where an opcode may still start without filling the window first.
        end: Offset at which the source ends for this pickle.
    """

    def __init__(self, source: Readable, start: int, end: int | None = None) -> None:
        self.source = source
        self.end = source.size if end is None else end
        self.base = start
        self.buffer = b""
        self.pos = 0
        self.soft = -1
        self.frame_end = start  # where the last frame ends
        self.in_frame = False
        self.is_odd = False  # whether frames do not fit the opcodes in them
        self._step = _FIRST

    @property
    def offset(self) -> int:
        """Offset of the next byte in the source."""
        return self.base + self.pos

    def fill(self) -> None:
        """Have the next opcode with its fixed argument in the window, or all that is left."""
        left = len(self.buffer) - self.pos
        if left < 0:
            raise Broken("it ends in the midst of an opcode")
        self.leave_frame()
        # Where a frame ends there is more in the window, and reading ahead would pile it up.
        self._more(min(self._step, self.end - self.offset - left) if left < _AHEAD else 0)
        if self.pos >= len(self.buffer):
            raise Broken("it ends without a STOP")

    def enter_frame(self, length: int) -> None:
        """A frame of ``length`` bytes starts here.

        The unpickler takes it from the file as a whole. It must be there in full; no opcode may
        cross its end, for then what is left of it is lost in some readings and not in others.
        """
        end = self.offset + length
        if end > self.end:
            raise Broken(f"a frame at byte {self.offset} runs past the end")
        self.is_odd |= self.offset < self.frame_end
        self.frame_end, self.in_frame = max(end, self.frame_end), True
        self.soft = min(self.soft, self.frame_end - self.base - 1)

    def leave_frame(self) -> None:
        """An opcode starts here; if a frame has ended, it ended here."""
        if self.in_frame and self.offset >= self.frame_end:
            self.is_odd |= self.offset > self.frame_end
            self.in_frame = False

    def need(self, length: int) -> None:
        """Have ``length`` bytes in the window."""
        left = len(self.buffer) - self.pos
        if left < length:
            if self.offset + length > self.end:
                raise Broken(f"an argument at byte {self.offset} runs past the end")
            self._more(max(length - left, min(self._step, self.end - self.offset - left)))

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        self.need(length)
        self.pos += length
        return self.buffer[self.pos - length : self.pos]

    def number(self, width: int, *, signed: bool = False) -> int:
        """The next ``width`` bytes, as a little-endian number."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def length(self, width: int) -> int:
        """A length; four bytes are signed where CPython reads them so."""
        value = self.number(width, signed=width == 4)
        if value < 0:
            raise Broken(f"a negative length at byte {self.offset - width}")
        return value

    def line(self) -> bytes:
        """The bytes up to the next line feed, without it."""
        while (end := self.buffer.find(b"\n", self.pos)) < 0:
            left = len(self.buffer) - self.pos
            if left > _LONGEST_LINE:
                raise Broken("an argument is longer than any model needs")
            if self.offset + left >= self.end:
                raise Broken("it ends in the midst of a line")
            self.need(left + 1)
        line = self.buffer[self.pos : end]
        self.pos = end + 1
        return line

    def chunk(self, length: int) -> bytes | Blob:
        """The next ``length`` bytes, kept where they are not many."""
        if length <= KEPT:
            return self.take(length)
        blob = Blob(self.offset, length)
        self.skip(length)
        return blob

    def skip(self, length: int) -> None:
        """Pass by bytes without reading them."""
        offset = self.offset + length
        if length < 0 or offset > self.end:
            raise Broken(f"data at byte {self.offset} runs past the end")
        self.base, self.buffer, self.pos, self.soft = offset, b"", 0, -1

    def _more(self, length: int) -> None:
        if length > 0:
            at = self.base + len(self.buffer)
            self.buffer = self.buffer[self.pos :] + self.source.read(at, length)
            self.base += self.pos
            self.pos = 0
            self._step = min(4 * self._step, _CHUNK)
        all_there = self.base + len(self.buffer) >= self.end
        self.soft = len(self.buffer) - (1 if all_there else _AHEAD)
        if self.in_frame:  # the first opcode behind a frame stops here
            self.soft = min(self.soft, self.frame_end - self.base - 1)
