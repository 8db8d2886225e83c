"""The header of an age file: for whom the file key is wrapped, and a code over it all."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

INTRO: Final = b"age-encryption.org/v1\n"
FILE_KEY: Final = 16
"""Bytes of a file key."""

MOST_STANZAS: Final = 4096
MOST_BYTES: Final = 8 << 20
"""Bytes of a header."""

ANY_VERSION: Final = b"age-encryption.org/"
"""What an age file of any version starts with."""

_COLUMNS: Final = 64
_FULL: Final = 48  # bytes in a line of so many columns
_MALFORMED: Final = "its header is not well-formed"


@dataclass(frozen=True, slots=True)
class Stanza:
    """The file key, wrapped for one recipient.

    Attributes:
        arguments: The first one says how; the others are what that needs.
        body: The wrapped key.
    """

    arguments: tuple[str, ...]
    body: bytes

    def encode(self) -> bytes:
        """The stanza as it stands in a file."""
        lines = [encode64(self.body[at : at + _FULL]) for at in range(0, len(self.body) + 1, _FULL)]
        return b"\n".join([f"-> {' '.join(self.arguments)}".encode(), *lines, b""])


@dataclass(frozen=True, slots=True)
class Header:
    """A header that was read.

    Attributes:
        stanzas: The recipients.
        covered: The bytes that the code is over.
        code: That code.
    """

    stanzas: tuple[Stanza, ...]
    covered: bytes
    code: bytes

    def is_made_with(self, file_key: bytes) -> bool:
        """Whether the code is that of a file key."""
        return hmac.compare_digest(_code(file_key, self.covered), self.code)


def encode(stanzas: Sequence[Stanza], file_key: bytes) -> bytes:
    """The header of a new file."""
    covered = INTRO + b"".join(stanza.encode() for stanza in stanzas) + b"---"
    return covered + b" " + encode64(_code(file_key, covered)) + b"\n"


def read(file: BufferedReader) -> Header:
    """Read a header; the file then stands behind it.

    Raises:
        ValueError: It is not as the format wants it, or larger than anybody writes.
    """
    if file.read(len(INTRO)) != INTRO:
        raise ValueError("its header is of another version of age")
    lines = _Lines(file)
    stanzas: list[Stanza] = []
    while not (line := lines.take(MOST_BYTES)).startswith(b"---"):
        if len(stanzas) == MOST_STANZAS:
            raise ValueError("its header has too many recipients")
        stanzas.append(_stanza(line, lines))
    if not stanzas or not line.startswith(b"--- "):
        raise ValueError(_MALFORMED)
    code = decode64(line[4:-1])
    if len(code) != SHA256.digest_size:
        raise ValueError(_MALFORMED)
    covered = INTRO + lines.seen[: -len(line)] + b"---"
    return Header(tuple(stanzas), covered, code)


def derive(file_key: bytes, salt: bytes | None, info: bytes) -> bytes:
    """A key of 32 bytes, as age derives all of them."""
    return HKDF(SHA256(), 32, salt, info).derive(file_key)


def encode64(data: bytes) -> bytes:
    """Base64 without padding."""
    return base64.b64encode(data).rstrip(b"=")


def decode64(text: bytes) -> bytes:
    """The same back; there is one spelling of each value.

    Raises:
        ValueError: It is not that.
    """
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise ValueError(_MALFORMED) from None
    if encode64(data) != text:
        raise ValueError(_MALFORMED)
    return data


class _Lines:
    """Lines of a header behind the first, each with its end.

    Attributes:
        seen: All that were taken.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.seen = bytearray()

    def take(self, longest: int) -> bytes:
        """The next line, of at most so many bytes."""
        line = self._file.readline(longest)
        self.seen += line
        if len(self.seen) > MOST_BYTES:
            raise ValueError("its header is too large")
        if not line.endswith(b"\n"):
            raise ValueError(_MALFORMED)
        return line


def _stanza(line: bytes, lines: _Lines) -> Stanza:
    arguments = line[:-1].split(b" ")
    if arguments.pop(0) != b"->" or not arguments or not all(map(_is_argument, arguments)):
        raise ValueError(_MALFORMED)
    body = bytearray()
    while True:
        piece = lines.take(_COLUMNS + 1)[:-1]
        body += piece
        if len(piece) < _COLUMNS:
            break
    return Stanza(tuple(one.decode("ascii") for one in arguments), decode64(bytes(body)))


def _is_argument(text: bytes) -> bool:
    return bool(text) and all(33 <= code <= 126 for code in text)


def _code(file_key: bytes, covered: bytes) -> bytes:
    return hmac.digest(derive(file_key, None, b"header"), covered, "sha256")
