"""Seals what lies in files, and seals files anew under fresh keys."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

from torchkeep.core import digest, files, progress, safetensors, source, tree
from torchkeep.core.errors import Foreign, SourceError, UsageError
from torchkeep.core.source import Source
from torchkeep.core.text import visible
from torchkeep.vault.manifest import Policy
from torchkeep.vault.recipients import Recipient
from torchkeep.vault.signing import Signer
from torchkeep.vault.writing import CHUNK, Identification, Receipt, Writer, spans

Location = str | os.PathLike[str]

_SUFFIX: Final = ".safetensors"


def seal(
    location: Location,
    target: Location,
    recipients: Sequence[Recipient],
    *,
    signers: Sequence[Signer] = (),
    of: Identification | None = None,
    policy: Policy | None = None,
    metadata: Mapping[str, str] | None = None,
    suite_id: int | None = None,
    overwrite: bool = False,
    mixed: bool = False,
) -> Receipt:
    """Seal a file, or all files below a folder as one unit.

    Safetensors are sealed tensor by tensor, so that each can be read by itself; any other file as a
    whole. What comes out when the file is opened is byte for byte what went in.

    Args:
        location: A file, a URL, or a folder.
        target: The sealed file.
        recipients: Who will be able to open it.
        signers: Who signs it.
        of: Model and version; the name of what is sealed and 1 where None.
        policy: How it may be used.
        metadata: Text by name, encrypted with the rest.
        suite_id: Number of the suite; the default for this processor where None.
        overwrite: Whether an existing target may be replaced.
        mixed: Whether recipients of unequal strength may stand together.

    Raises:
        UsageError: The recipients do not go together, or the target is one of the sources.
        SourceError: What is to be sealed cannot be read.
    """
    found = _parts(location)
    if os.path.realpath(target) in {os.path.realpath(place) for place, _ in found}:
        raise UsageError(
            f"{visible(os.fspath(target))} is to be sealed into itself", next="name another file"
        )
    named = of or Identification(model=PurePath(os.fspath(location)).stem or "model")
    with (
        files.replacing(target, exclusive=not overwrite) as file,
        Writer(file, recipients, named, signers=signers, suite_id=suite_id, mixed=mixed) as writer,
    ):
        contents = [_add(writer, place, path) for place, path in found]
        # Of several files there is no one set of names to make a digest of.
        content = contents[0] if len(contents) == 1 else None
        return writer.finish(metadata=metadata, content=content, policy=policy)


def _parts(location: Location) -> list[tuple[Location, str]]:
    """What is to be sealed, and what to call it."""
    if isinstance(location, str) and "://" in location:
        return [(location, PurePath(location).name)]
    path = Path(location)
    if not path.is_dir():
        return [(path, path.name)]
    found = tree.walk(path)
    if left := (*found.unreadable, *((name, "a link") for name in found.skipped)):
        name, why = left[0]
        raise SourceError(
            f"{visible(str(path / name))} would not be sealed: {why}",
            next="seal a folder that holds only files that can be read",
        )
    if not found.files:
        raise UsageError(f"{visible(str(path))} holds no file", next="name a file or a folder")
    return [(path / entry.path, entry.path) for entry in found.files]


def _add(writer: Writer, place: Location, path: str) -> str | None:
    """Add one file; returns its content digest where it holds tensors."""
    chunk = 1 << CHUNK
    with source.open(place) as opened, progress.task(f"sealing {opened.name}", None):
        header = _header(opened) if path.lower().endswith(_SUFFIX) else None
        if header is None:
            writer.file(path, spans(opened, 0, opened.size, chunk))
            writer.settle()
            return None
        start, slots = 8 + len(header), safetensors.slots(header)
        writer.tensors(
            path,
            header,
            (spans(opened, start + slot.begin, slot.end - slot.begin, chunk) for slot in slots),
        )
        writer.settle()
        return digest.safetensors_content(opened)


def _header(opened: Source) -> bytes | None:
    """The header of a well-formed safetensors file; None for any other file."""
    try:
        length = int.from_bytes(opened.read(0, 8), "little")
        if length > safetensors.LONGEST or 8 + length > opened.size:
            return None
        header = opened.read(8, length)
        slots = safetensors.slots(header)
    except (ValueError, Foreign):
        return None
    end = slots[-1].end if slots else 0
    return header if 8 + length + end == opened.size else None
