"""The text form of an age file: strict PEM (RFC 7468), of which there is one spelling."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from torchkeep.core.source import Source

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BEGIN: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
_END: Final = b"-----END AGE ENCRYPTED FILE-----"
_SPACE: Final = b" \t\r\n"
_MOST_SPACE: Final = 1024  # before and after, in bytes
_COLUMNS: Final = 64
_FULL: Final = 48  # bytes in a line of so many columns
_MALFORMED: Final = "its armor is not well-formed"


def is_armored(source: Source) -> bool:
    """Whether an age file is in its text form."""
    head = source.read(0, min(source.size, _MOST_SPACE + len(_BEGIN)))
    return head.lstrip(_SPACE).startswith(_BEGIN)


def encode(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The text of a file that comes in pieces."""
    yield _BEGIN + b"\n"
    held = bytearray()
    for piece in pieces:
        held += piece
        whole = len(held) - len(held) % _FULL
        yield _lines(held[:whole])
        del held[:whole]
    yield _lines(held) + _END + b"\n"


class Reader(io.RawIOBase):
    """The bytes that an armored file stands for.

    Reading raises ValueError where the text is not as strict PEM wants it.
    """

    def __init__(self, source: Source) -> None:
        self._lines = _decode(source.file())
        self._rest = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` with what the next line holds, as far as it has room."""
        view = memoryview(buffer).cast("B")
        self._rest = self._rest or next(self._lines, b"")
        length = min(len(view), len(self._rest))
        view[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length


def _lines(data: bytes | bytearray) -> bytes:
    return b"".join(binascii.b2a_base64(data[at : at + _FULL]) for at in range(0, len(data), _FULL))


def _decode(file: io.BufferedReader) -> Iterator[bytes]:
    line, end = _line(_first(file))
    if line != _BEGIN or not end:
        raise ValueError(_MALFORMED)
    is_last = False
    while True:
        line, found = _line(file.readline(_COLUMNS + 3))
        if line.rstrip(_SPACE) == _END:
            break
        if is_last or found != end:
            raise ValueError(_MALFORMED)
        yield _bytes(line)
        is_last = len(line) < _COLUMNS or line.endswith(b"=")
    if file.read(_MOST_SPACE + 1).strip(_SPACE) or file.read(1):
        raise ValueError(_MALFORMED)


def _first(file: io.BufferedReader) -> bytes:
    """The first line that is not empty, without the space before it."""
    for _ in range(_MOST_SPACE):
        if line := file.readline(_MOST_SPACE + len(_BEGIN)).lstrip(_SPACE):
            return line
    return b""


def _line(text: bytes) -> tuple[bytes, bytes]:
    """A line and its end, which is the same throughout a file."""
    for end in (b"\r\n", b"\n"):
        if text.endswith(end):
            return text.removesuffix(end), end
    return text, b""


def _bytes(line: bytes) -> bytes:
    try:
        data = base64.b64decode(line, validate=True)
    except ValueError:
        raise ValueError(_MALFORMED) from None
    if not 0 < len(line) <= _COLUMNS or base64.b64encode(data) != line:
        raise ValueError(_MALFORMED)
    return data
