"""What stands in a key file, in the clear or encrypted, and what stands beside it.

Lines of text as age writes them: comments that start with ``#``, and a secret in Bech32. At rest
that text is an armored age file: under a passphrase, as ``age -p`` would write it, or for the
recipients of a shared secret. ``NAME.pub`` beside it holds the public part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from torchkeep.core import files
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.source import BytesSource
from torchkeep.core.text import visible
from torchkeep.vault import age, bech32, home, trust
from torchkeep.vault.memory_lock import Buffer
from torchkeep.vault.recipients import PublicKey
from torchkeep.vault.signing import PUBLIC, SEED

SUFFIX: Final = ".pub"
LONGEST: Final = 1 << 20
"""Bytes of a key file, at most."""


class Kind(StrEnum):
    """What a key is for."""

    IDENTITY = "identity"
    SIGNER = "signer"
    SECRET = "secret"  # noqa: S105 - the name of a kind


PREFIXES: Final = {
    "AGE-SECRET-KEY-": Kind.IDENTITY,
    "AGE-SECRET-KEY-PQ-": Kind.IDENTITY,
    "TORCHKEEP-SIGNER-SECRET-": Kind.SIGNER,
    "TORCHKEEP-SECRET-": Kind.SECRET,
}
"""Before the Bech32 spelling of each."""

_LENGTHS: Final = {Kind.IDENTITY: 32, Kind.SIGNER: SEED, Kind.SECRET: 32}


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """A secret of a key file. Showing it shows nothing.

    Attributes:
        kind: What it is for.
        text: Its spelling.
        data: Its bytes.
    """

    kind: Kind
    text: str
    data: bytes


def beside(path: Path) -> Path:
    """Where the public part of a key lies."""
    return path.with_name(path.name + SUFFIX)


def compose(secret: str, *comments: str) -> bytes:
    """The text of a new key file."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [f"created: {created}", *comments]
    return "".join([*(f"# {line}\n" for line in lines), f"{secret}\n"]).encode()


def encrypted(text: bytes, recipients: Sequence[age.Recipient], *, mixed: bool = False) -> bytes:
    """The text as it is kept."""
    pieces = age.ciphertext(BytesSource(text), recipients, armored=True, mixed=mixed)
    return b"".join(bytes(piece) for piece in pieces)


def require_free(path: Path) -> None:
    """Refuse a name that is taken, by a key or by the public part of one.

    Raises:
        UsageError: It is taken.
    """
    for taken in (path, beside(path)):
        if os.path.lexists(taken):
            raise UsageError(
                f"{visible(str(taken))} exists already and is never overwritten",
                next="choose another name, or move that file away",
            )


def place(path: Path, content: bytes, public: str = "") -> None:
    """Write a key file and its public part; neither is ever written over.

    Raises:
        UsageError: One of the names is taken, or the folder is missing.
        Internal: The disk or the system refused.
    """
    require_free(path)
    files.write(path, content, exclusive=True, private=True)
    if public:
        files.write(beside(path), f"{public}\n", exclusive=True)


def read(path: Path) -> BytesSource:
    """The bytes of a key file.

    Raises:
        SourceError: It cannot be read, or is far too large for one.
    """
    return BytesSource(files.read(path, limit=LONGEST), str(path))


def secrets(kept: BytesSource, unlock: Callable[[], Sequence[age.Identity]]) -> tuple[Line, ...]:
    """The secrets of a key file.

    Args:
        kept: Its bytes.
        unlock: What opens it; called only where it is encrypted.

    Raises:
        Foreign: It is no key file.
        Refused: It does not open, or was changed.
    """
    with Buffer(kept.size) as buffer:
        length = 0
        pieces = age.plaintext(kept, unlock()) if age.is_age(kept) else [kept.read(0, kept.size)]
        for piece in pieces:
            buffer.view[length : length + len(piece)] = piece
            length += len(piece)
        with buffer.view[:length] as text:
            found = _lines(text)
    if not found:
        raise Foreign(
            f"{kept.name} is no key file",
            next="name a file that torchkeep key new or age-keygen has written",
        )
    return found


def _lines(text: memoryview) -> tuple[Line, ...]:
    """None where one of them is wrong: to say what is wrong would be to show it."""
    try:
        lines = (line.strip() for line in str(text, "utf-8").splitlines())
        return tuple(_line(line) for line in lines if line and not line.startswith("#"))
    except (ValueError, KeyError):
        return ()


def _line(text: str) -> Line:
    prefix, data = bech32.decode(text)
    kind = PREFIXES[prefix]
    if len(data) != _LENGTHS[kind]:
        raise ValueError("a key of another length")
    return Line(kind, text, data)


def public(path: Path) -> tuple[Kind, str] | None:
    """What the public part beside a key file says, and of which kind it is; None without one.

    Raises:
        UsageError: It is no public key.
        Refused: Others can change it.
        SourceError: It cannot be read.
    """
    if not os.path.lexists(beside(path)):
        return None
    home.require_private(beside(path), 0o022)
    return parse_public(beside(path))


def parse_public(path: Path) -> tuple[Kind, str]:
    """Read a file that holds a public key.

    Raises:
        UsageError: It holds none.
        SourceError: It cannot be read.
    """
    text = files.read(path, limit=LONGEST).decode("utf-8", "replace").strip()
    try:
        prefix, data = bech32.decode(text)
    except ValueError:
        prefix, data = "", b""
    if prefix == trust.PREFIX and len(data) == PUBLIC:
        return Kind.SIGNER, text
    try:
        return Kind.IDENTITY, PublicKey(text).text
    except UsageError:
        raise UsageError(
            f"{visible(str(path))} holds no public key",
            next="name a key, or the .pub file that torchkeep key new has written beside it",
        ) from None
