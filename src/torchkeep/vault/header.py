"""The header: the first bytes of a sealed file, which every key of it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torchkeep.core.errors import Foreign
from torchkeep.core.source import Readable
from torchkeep.vault import canonical
from torchkeep.vault.canonical import Fields, from_hex
from torchkeep.vault.schedule import LENGTH

MAGIC: Final = b"TKSEAL1\n"
CHUNKS: Final = (16, 22)
"""Lowest and highest log2 of the bytes of a chunk."""
_LONGEST: Final = 65_536
_MOST_SIGNERS: Final = 16
_LAST_VERSION: Final = (1 << 53) - 1
LONGEST_NAME: Final = 200
"""Characters of the longest name of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is said about a file before anything in it.

    Attributes:
        chunk: log2 of the bytes of a chunk.
        commitment: To the file key.
        file: Random bytes, new for every file.
        model: What versions are counted for.
        previous: Hash of the header of the version before; None for the first.
        signers: Ids of those who sign it, sorted.
        suite: Number of its suite.
        version: Which version of the model it is.
    """

    chunk: int
    commitment: bytes
    file: bytes
    model: str
    previous: bytes | None
    signers: tuple[bytes, ...]
    suite: int
    version: int

    def encode(self) -> bytes:
        """The header as it stands in a file."""
        body = canonical.encode(
            {
                "chunk": self.chunk,
                "commitment": self.commitment.hex(),
                "file": self.file.hex(),
                "model": self.model,
                "previous": self.previous.hex() if self.previous else None,
                "signers": [signer.hex() for signer in self.signers],
                "suite": self.suite,
                "version": self.version,
            }
        )
        return MAGIC + len(body).to_bytes(4, "little") + body


def read(source: Readable, name: str) -> tuple[Header, bytes]:
    """The header of a sealed file, and its bytes.

    Raises:
        Foreign: The file is no sealed file of this version.
        SourceError: It cannot be read.
    """
    try:
        start = source.read(0, min(source.size, len(MAGIC) + 4))
        length = int.from_bytes(start[len(MAGIC) :], "little")
        if not start.startswith(MAGIC) or length > _LONGEST:
            raise ValueError("its first bytes are those of another format")
        if len(start) + length > source.size:
            raise ValueError("it ends within its header")
        body = source.read(len(start), length)
        return _parse(canonical.decode(body)), start + body
    except ValueError as error:
        raise Foreign(
            f"{name} is no sealed file that this version of torchkeep reads: {error}",
            next="name a file that torchkeep seal has written",
        ) from error


def check(header: Header) -> None:
    """See that a header can be read again.

    Raises:
        ValueError: A value is out of range.
    """
    _parse(canonical.decode(header.encode()[len(MAGIC) + 4 :]))


def _parse(value: object) -> Header:
    fields = Fields(value)
    previous = fields.take("previous")
    header = Header(
        chunk=fields.number("chunk", *CHUNKS),
        commitment=fields.hexadecimal("commitment", LENGTH),
        file=fields.hexadecimal("file", 16),
        model=fields.text("model", LONGEST_NAME),
        previous=None if previous is None else from_hex(previous, LENGTH),
        signers=fields.items("signers", _MOST_SIGNERS, lambda item: from_hex(item, LENGTH)),
        suite=fields.number("suite", 1, 255),
        version=fields.number("version", 1, _LAST_VERSION),
    )
    fields.done()
    if list(header.signers) != sorted(set(header.signers)):
        raise ValueError("its signers are not in order")
    return header
