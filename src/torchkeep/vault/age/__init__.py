"""Files of the program age, version 1 (https://c2sp.org/age), for any file and any reader.

Their recipients are the ones of a sealed file, spelled alike. They carry no signature and no
version: whoever has a public key can write one that opens. So they are for what travels to people
who have age and not torchkeep, and for keys at rest; models are better sealed.

>>> age.encrypt("notes.pdf", "notes.pdf.age", [PublicKey("age1...")])  # doctest: +SKIP
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from torchkeep.core import files, progress, source
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.source import Source
from torchkeep.core.text import visible
from torchkeep.vault import recipients as together
from torchkeep.vault.age import armor, header, payload
from torchkeep.vault.age.wrapping import (
    MOST_WORK,
    SCRYPT,
    WORK,
    Identity,
    Passphrase,
    Recipient,
    unwrap,
    wrap,
)
from torchkeep.vault.errors import Damaged, NoIdentity

__all__ = [
    "MOST_WORK",
    "WORK",
    "Identity",
    "Passphrase",
    "Recipient",
    "ciphertext",
    "decrypt",
    "encrypt",
    "has_passphrase",
    "is_age",
    "plaintext",
]

Location = str | os.PathLike[str]

_BUFFER: Final = 1 << 20


def encrypt(
    location: Location,
    target: Location,
    recipients: Sequence[Recipient],
    *,
    armored: bool = False,
    overwrite: bool = False,
    mixed: bool = False,
) -> None:
    """Encrypt a file for age.

    Args:
        location: A file or a URL.
        target: The file to write.
        recipients: Who will be able to read it.
        armored: Whether to write text.
        overwrite: Whether an existing target may be replaced.
        mixed: Whether recipients of unequal strength may stand together.

    Raises:
        UsageError: The recipients do not go together, or the target is in the way.
        SourceError: The file cannot be read.
    """
    _require_two_files(location, target)
    with (
        source.open(location) as plain,
        files.replacing(target, exclusive=not overwrite) as file,
        progress.task(f"encrypting {plain.name}", plain.size) as advance,
    ):
        for piece in ciphertext(plain, recipients, armored=armored, mixed=mixed):
            file.write(piece)
            advance(len(piece))


def decrypt(
    location: Location,
    target: Location,
    identities: Sequence[Identity],
    *,
    overwrite: bool = False,
) -> None:
    """Decrypt an age file. The target appears when all of it has been verified, and not before.

    Args:
        location: An age file, binary or armored, or the URL of one.
        target: The file to write.
        identities: What may open it.
        overwrite: Whether an existing target may be replaced.

    Raises:
        Foreign: It is no age file.
        NoIdentity: None of the identities opens it.
        Damaged: It is not what was encrypted.
        Refused: Its passphrase costs more than the reader wants to pay.
        UsageError: The target is in the way.
        SourceError: The file cannot be read.
    """
    _require_two_files(location, target)
    with (
        source.open(location) as opened,
        files.replacing(target, exclusive=not overwrite) as file,
        progress.task(f"decrypting {opened.name}", opened.size) as advance,
    ):
        for piece in plaintext(opened, identities):
            file.write(piece)
            advance(len(piece))


def ciphertext(
    plain: Source,
    recipients: Sequence[Recipient],
    *,
    armored: bool = False,
    mixed: bool = False,
) -> Iterator[bytes | memoryview]:
    """The age file of a source, piece by piece; each is gone when the next one is asked for.

    Raises:
        UsageError: The recipients do not go together.
        SourceError: The source cannot be read.
    """
    together.check(recipients, mixed=mixed)
    pieces = _pieces(plain, recipients)
    return armor.encode(pieces) if armored else iter(pieces)


def plaintext(opened: Source, identities: Sequence[Identity]) -> Iterator[memoryview]:
    """What an age file holds, piece by piece; each is gone when the next one is asked for.

    Pieces that came before an error are true but not all: whoever acts on them acts on a file that
    somebody may have cut short.

    Raises:
        Foreign: It is no age file.
        NoIdentity: None of the identities opens it.
        Damaged: It is not what was encrypted.
        Refused: Its passphrase costs more than the reader wants to pay.
    """
    with _named(opened.name):
        file = _file(opened)
        head = header.read(file)
        file_key = unwrap(identities, head.stanzas)
        if file_key is None:
            raise _no_identity(opened.name, head)
        if not head.is_made_with(file_key):
            raise ValueError("its header is not what was written")
        nonce = file.read(payload.NONCE)
        if len(nonce) != payload.NONCE:
            raise ValueError("its header is cut short")
        yield from payload.decrypted(file, file_key, nonce)


def is_age(opened: Source) -> bool:
    """Whether a file starts like an age file, binary or armored."""
    start = opened.read(0, min(opened.size, len(header.ANY_VERSION)))
    return start == header.ANY_VERSION or armor.is_armored(opened)


def has_passphrase(opened: Source) -> bool:
    """Whether an age file is encrypted under a passphrase, rather than for recipients.

    Raises:
        Foreign: It is no age file.
        Damaged: Its header is not as the format wants it.
    """
    with _named(opened.name):
        return any(one.arguments[0] == SCRYPT for one in header.read(_file(opened)).stanzas)


def _pieces(plain: Source, recipients: Iterable[Recipient]) -> Iterator[bytes | memoryview]:
    file_key = secrets.token_bytes(header.FILE_KEY)
    nonce = secrets.token_bytes(payload.NONCE)
    yield header.encode([wrap(recipient, file_key) for recipient in recipients], file_key) + nonce
    yield from payload.encrypted(plain.file(buffer=_BUFFER), file_key, nonce)


def _file(opened: Source) -> io.BufferedReader:
    if not is_age(opened):
        raise Foreign(
            f"{opened.name} is no age file", next="name a file that was encrypted with age"
        )
    if armor.is_armored(opened):
        return io.BufferedReader(armor.Reader(opened), _BUFFER)
    return opened.file(buffer=_BUFFER)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say of which file something is wrong."""
    try:
        yield
    except ValueError as error:
        raise Damaged(name, str(error)) from None


def _no_identity(name: str, head: header.Header) -> NoIdentity:
    if any(stanza.arguments[0] == SCRYPT for stanza in head.stanzas):
        return NoIdentity(f"{name} does not open with this passphrase", next="try another one")
    return NoIdentity(
        f"none of the identities opens {name}", next="name the key that it was encrypted for"
    )


def _require_two_files(location: Location, target: Location) -> None:
    if os.path.realpath(location) == os.path.realpath(target):
        raise UsageError(
            f"{visible(os.fspath(target))} cannot be read and written at once",
            next="name another file",
        )
