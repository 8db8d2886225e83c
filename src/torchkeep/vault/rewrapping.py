"""Seals for other recipients, or under another key.

``rewrap`` writes one more key block: kilobytes, whatever the size of the file. Whoever could open
the file before has had its file key and keeps it; only ``rekey`` shuts them out, of what they have
not copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from torchkeep.core import files, progress
from torchkeep.core.errors import UsageError
from torchkeep.core.progress import Advance
from torchkeep.core.source import object_at
from torchkeep.vault import blocks, later, opening
from torchkeep.vault.errors import Withheld
from torchkeep.vault.given import Openers, Trusted
from torchkeep.vault.index import File, Layout, Tensors, count
from torchkeep.vault.later import Joined
from torchkeep.vault.reading import Level, Sealed, Wanted
from torchkeep.vault.recipients import Recipient, check
from torchkeep.vault.signing import Signer
from torchkeep.vault.writing import Identification, Piece, Receipt, Writer, split

_RUN: Final = 8 << 20  # bytes that are decrypted at once on the way into another file


def rewrap(
    location: str | os.PathLike[str],
    identity: Openers,
    recipients: Sequence[Recipient],
    *,
    mixed: bool = False,
) -> int:
    """Seal a file for other recipients.

    Args:
        location: The sealed file.
        identity: What opens it now, as :func:`torchkeep.vault.opening.open` takes it.
        recipients: Who shall be able to open it from now on, all of them.
        mixed: Whether recipients of unequal strength may stand together.

    Returns:
        Bytes that were added.

    Raises:
        Refused: It cannot be opened, or its policy does not allow one of the recipients.
        UsageError: The recipients do not go together.
    """
    check(recipients, mixed=mixed)
    with _alone(location), opening.open(location, identity, level=Level.TAGS) as sealed:
        frame = sealed.frame
        _allow(sealed, recipients)
        source, start = frame.source, frame.block.immutable
        before = source.read(start, source.size - start)
        stanzas = [one.wrap(sealed.file_key, frame.header_hash) for one in recipients]
        block = blocks.following(frame.block, before, stanzas).encode(sealed.schedule)
        if len(before) + len(block) > blocks.MOST_BYTES:
            raise UsageError(
                f"{frame.name} was sealed for others too often: its key blocks are full",
                next="write it anew with torchkeep rekey",
            )
        if isinstance(source, Joined):
            source.put(before + block)
        else:
            files.append(location, block, source.size)
        return len(block)


def rekey(
    location: str | os.PathLike[str],
    identity: Openers,
    recipients: Sequence[Recipient],
    *,
    target: str | os.PathLike[str] | None = None,
    signers: Sequence[Signer] = (),
    trust: Trusted = None,
    mixed: bool = False,
) -> Receipt:
    """Seal what is in a sealed file anew, under a fresh key; nothing touches the disk in clear.

    Model, version, policy and metadata stay; the new file names the old one as its previous. The
    signatures of the old one are over its bytes and cannot go along.

    Args:
        location: The sealed file.
        identity: What opens it now, as :func:`torchkeep.vault.opening.open` takes it.
        recipients: Who will be able to open the new one.
        target: Where to write; in place of the old one where None.
        signers: Who signs the new one.
        trust: Who must have signed the old one.
        mixed: Whether recipients of unequal strength may stand together.

    Raises:
        Refused: It cannot be opened, or its policy does not allow one of the recipients.
        UsageError: The recipients do not go together, or the target is there.
    """
    check(recipients, mixed=mixed)
    lock = _alone(location) if target is None else nullcontext()
    with lock, opening.open(location, identity, trust=trust) as sealed:
        frame = sealed.frame
        _allow(sealed, recipients)
        of = Identification(
            model=frame.header.model, version=frame.header.version, previous=frame.header_hash
        )
        with (
            later.replacing(target or location, exclusive=target is not None) as file,
            Writer(
                file,
                recipients,
                of,
                signers=signers,
                suite_id=frame.header.suite,
                chunk=frame.header.chunk,
                mixed=mixed,
            ) as writer,
            progress.task(f"sealing {frame.name} anew", frame.manifest.data) as advance,
        ):
            return _anew(sealed, writer, advance)


def _alone(location: str | os.PathLike[str]) -> AbstractContextManager[None]:
    """Nobody else seals the file anew or for others meanwhile."""
    # In a store nothing can be locked: there the put itself finds out whether it comes too late.
    return nullcontext() if object_at(location) else files.locked(location)


def _anew(sealed: Sealed, writer: Writer, advance: Advance) -> Receipt:
    for layout in sealed.layouts:
        _copy(sealed, layout, writer, advance)
    index, policy = sealed.index, sealed.frame.manifest.policy
    return writer.finish(metadata=index.metadata, content=index.content, policy=policy)


def _copy(sealed: Sealed, layout: Layout, writer: Writer, advance: Advance) -> None:
    """Seal one part anew."""
    part, numbers = layout.part, range(len(layout.part))
    if isinstance(part, Tensors):
        data = (_pieces(sealed, layout, number, advance) for number in numbers)
        writer.tensors(part.path, part.header, data)
    elif isinstance(part, File):
        writer.file(part.path, _pieces(sealed, layout, 0, advance))
    else:
        writer.records(part.path, (bytes(sealed.bytes_of(layout, number)) for number in numbers))


def _pieces(sealed: Sealed, layout: Layout, number: int, advance: Advance) -> Iterator[Piece]:
    """An item in chunks, decrypted some at a time."""
    chunk, length = sealed.frame.chunk, layout.part.size(number)
    final, step = count(length, chunk) - 1, max(1, _RUN // chunk)
    for first in range(0, final + 1, step):
        last = min(first + step - 1, final)
        memory = memoryview(bytearray(min(length, (last + 1) * chunk) - first * chunk))
        sealed.read([Wanted(layout, number, memory, first, last)])
        advance(len(memory))
        yield from split(memory, chunk)


def _allow(sealed: Sealed, recipients: Sequence[Recipient]) -> None:
    allowed = sealed.frame.manifest.policy.recipients
    if allowed is not None and any(one.id not in allowed for one in recipients):
        raise Withheld(
            f"{sealed.frame.name} may not be sealed for everybody named: its policy lists who may",
            next="name recipients that its policy lists, or seal the model anew",
        )
