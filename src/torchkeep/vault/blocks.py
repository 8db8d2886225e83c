"""Key blocks: who may open a file. They stand behind all that never changes.

A rewrap appends one more block. The last one counts; each says where it stands, what stood before
it, and that whoever wrote it had the file key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from torchkeep.vault.schedule import LENGTH, Schedule

_START: Final = b"TKSKEYS1"
_FOOT: Final = b"TKSFOOT1"
FOOTER: Final = 16
"""Bytes at the end of a block by which it is found."""

MOST_STANZAS: Final = 4096
MOST_BYTES: Final = 64 << 20
"""Bytes of all blocks together."""

_LENGTHS: Final = {"x25519": 80, "xwing": 1168, "argon2id": 76}  # of a stanza's body
_FIXED: Final = len(_START) + 4 * 8 + LENGTH + 4
SMALLEST: Final = _FIXED + LENGTH + FOOTER
"""Bytes of a block without a stanza."""


@dataclass(frozen=True, slots=True)
class Stanza:
    """The file key, wrapped for one recipient.

    Attributes:
        type: How.
        body: What the recipient needs to unwrap it.
    """

    type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        generation: 1 for the first, then one more each.
        immutable: Bytes before the first block.
        manifest: Where the manifest starts.
        offset: Where this block starts.
        previous: Hash of all blocks before.
        stanzas: The recipients.
    """

    generation: int
    immutable: int
    manifest: int
    offset: int
    previous: bytes
    stanzas: tuple[Stanza, ...]

    def encode(self, schedule: Schedule) -> bytes:
        """The block as it stands in a file, with its code and its footer."""
        body = self._body()
        body += schedule.authenticate(body)
        return body + len(body).to_bytes(8, "little") + _FOOT

    def _body(self) -> bytes:
        numbers = (self.generation, self.immutable, self.manifest, self.offset)
        out = _START + b"".join(number.to_bytes(8, "little") for number in numbers)
        out += self.previous + len(self.stanzas).to_bytes(4, "little")
        return out + b"".join(_encode(stanza) for stanza in self.stanzas)


def following(block: Block, blocks: bytes, stanzas: Sequence[Stanza]) -> Block:
    """The block that a rewrap puts behind ``block``.

    Args:
        block: The last one.
        blocks: All that are there, as they stand in the file.
        stanzas: The new recipients.
    """
    return Block(
        block.generation + 1,
        block.immutable,
        block.manifest,
        block.immutable + len(blocks),
        hashlib.sha256(blocks).digest(),
        tuple(stanzas),
    )


def first(immutable: int, manifest: int, stanzas: Sequence[Stanza]) -> Block:
    """The block that sealing writes."""
    return Block(1, immutable, manifest, immutable, hashlib.sha256().digest(), tuple(stanzas))


def length(footer: bytes) -> int:
    """Bytes of a block without its footer, from its footer.

    Raises:
        ValueError: It is no footer.
    """
    if len(footer) != FOOTER or footer[8:] != _FOOT:
        raise ValueError("it does not end like a sealed file")
    value = int.from_bytes(footer[:8], "little")
    if not SMALLEST - FOOTER <= value <= MOST_BYTES:
        raise ValueError("its key block has an impossible length")
    return value


def reach(data: bytes) -> int:
    """Bytes of the first of some blocks, its footer included; 0 where there is none.

    No length stands at its start, so the stanzas are counted through.
    """
    if not data.startswith(_START) or len(data) < SMALLEST:
        return 0
    at, number = _FIXED, int.from_bytes(data[_FIXED - 4 : _FIXED], "little")
    try:
        for _ in range(min(number, MOST_STANZAS)):
            _, at = _piece(data, at, 1)
            _, at = _piece(data, at, 4)
    except ValueError:
        return 0
    return at + LENGTH + FOOTER


def decode(data: bytes, offset: int) -> tuple[Block, bytes, bytes]:
    """Read a block without its footer.

    Args:
        data: Its bytes.
        offset: Where it stands in the file.

    Returns:
        The block, the bytes that its code is over, and the code.

    Raises:
        ValueError: It is none, or stands elsewhere.
    """
    body, code = data[:-LENGTH], data[-LENGTH:]
    if not body.startswith(_START) or len(body) < _FIXED:
        raise ValueError("its key block has no start")
    at = len(_START)
    numbers = [int.from_bytes(body[n : n + 8], "little") for n in range(at, at + 32, 8)]
    generation, immutable, manifest, own = numbers
    at += 32
    previous, number = body[at : at + LENGTH], int.from_bytes(body[at + LENGTH : _FIXED], "little")
    stanzas = tuple(_stanzas(body[_FIXED:], number))
    block = Block(generation, immutable, manifest, own, previous, stanzas)
    if any(len(stanza.body) != _LENGTHS.get(stanza.type, len(stanza.body)) for stanza in stanzas):
        raise ValueError("a recipient in its key block has an impossible length")
    if len(stanzas) > 1 and any(stanza.type == "argon2id" for stanza in stanzas):
        raise ValueError("its key block has a passphrase that does not stand alone")
    if block.offset != offset or not block.manifest < block.immutable <= offset:
        raise ValueError("its key block belongs elsewhere")
    if (block.generation == 1) != (offset == block.immutable) or not block.generation:
        raise ValueError("its key block has an impossible generation")
    return block, body, code


def check_earlier(before: bytes, block: Block) -> None:
    """See that the blocks before ``block`` follow each other from the first generation on.

    Raises:
        ValueError: They do not.
    """
    end, generation = len(before), block.generation
    while end:
        generation -= 1
        start = end - FOOTER - length(before[max(0, end - FOOTER) : end])
        earlier, _, _ = decode(before[max(0, start) : end - FOOTER], block.immutable + start)
        said = (earlier.generation, earlier.immutable, earlier.manifest)
        if said != (generation, block.immutable, block.manifest):
            raise ValueError("its key blocks do not follow each other")
        end = start


def _encode(stanza: Stanza) -> bytes:
    name = stanza.type.encode("ascii")
    return bytes([len(name)]) + name + len(stanza.body).to_bytes(4, "little") + stanza.body


def _stanzas(data: bytes, number: int) -> Iterator[Stanza]:
    if number > MOST_STANZAS:
        raise ValueError("its key block has too many recipients")
    at = 0
    for _ in range(number):
        name, at = _piece(data, at, 1)
        body, at = _piece(data, at, 4)
        yield Stanza(name.decode("ascii"), body)
    if at != len(data):
        raise ValueError("something follows its recipients")


def _piece(data: bytes, at: int, width: int) -> tuple[bytes, int]:
    """Bytes behind a length of ``width`` bytes, and where they end."""
    start = at + width
    end = start + int.from_bytes(data[at:start], "little")
    if end > len(data) or start > len(data):
        raise ValueError("a recipient runs past the end of its key block")
    return data[start:end], end
