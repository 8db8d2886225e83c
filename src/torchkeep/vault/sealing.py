"""Seals what lies in files, and seals files anew under fresh keys."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

from torchkeep.core import digest, progress, safetensors, source, tree
from torchkeep.core.errors import Foreign, SourceError, UsageError
from torchkeep.core.source import Source
from torchkeep.core.statement import Statement, Subject, derivation
from torchkeep.core.text import visible
from torchkeep.vault import later
from torchkeep.vault.header import LONGEST_NAME
from torchkeep.vault.manifest import Policy
from torchkeep.vault.recipients import Recipient
from torchkeep.vault.signing import Signer
from torchkeep.vault.writing import CHUNK, Identification, Receipt, Writer, spans

Location = str | os.PathLike[str]

SCHEMA_VERSION: Final = 1

_SUFFIX: Final = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """What was sealed.

    Attributes:
        source: Name of what was sealed.
        target: Name of the sealed file.
        size: Its bytes.
        header: Hash of its header in hex: what the next version names as its previous one.
        items: Tensors, files and records in it.
        content: Content digest of its tensors; None where it has none, or several files.
        places: Where both lie.
        is_one: Whether what was sealed is one file.
    """

    source: str
    target: str
    size: int
    header: str
    items: int
    content: str | None
    places: tuple[str, str] = field(repr=False)
    is_one: bool = True

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "target": self.target,
            "bytes": self.size,
            "header": self.header,
            "items": self.items,
            "content": self.content,
        }

    def statement(self) -> Statement | None:
        """State that the sealed file was derived from what was sealed; None for a folder.

        Both are hashed as they lie there now.

        Raises:
            SourceError: One of them cannot be read.
        """
        if not self.is_one:
            return None
        before, after = (
            Subject(name, _sha256(place), self.content)
            for name, place in zip((self.source, self.target), self.places, strict=True)
        )
        return derivation(before, after, "seal", {"header": self.header})


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
) -> Sealing:
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
    _require_other(target, found)
    named = of or Identification(model=_stem(location))
    with (
        later.replacing(target, exclusive=not overwrite) as file,
        Writer(file, recipients, named, signers=signers, suite_id=suite_id, mixed=mixed) as writer,
    ):
        content = _contents(writer, found)
        done = writer.finish(metadata=metadata, content=content, policy=policy)
    is_one = len(found) == 1 and not os.path.isdir(location)  # noqa: PTH112 - a URL is none
    return _sealing(location, target, done, content, is_one)


def _sealing(
    location: Location, target: Location, done: Receipt, content: str | None, is_one: bool
) -> Sealing:
    return Sealing(
        source=visible(os.fspath(location)),
        target=visible(os.fspath(target)),
        size=done.size,
        header=done.header_hash.hex(),
        items=done.items,
        content=content,
        places=(os.fspath(location), os.fspath(target)),
        is_one=is_one,
    )


def _require_other(target: Location, found: list[tuple[Location, str]]) -> None:
    if os.path.realpath(target) in {os.path.realpath(place) for place, _ in found}:
        raise UsageError(
            f"{visible(os.fspath(target))} is to be sealed into itself", next="name another file"
        )


def _stem(location: Location) -> str:
    """The name of a model where nobody gives it one."""
    return PurePath(os.fspath(location)).stem[:LONGEST_NAME] or "model"


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


def _contents(writer: Writer, found: list[tuple[Location, str]]) -> str | None:
    """Add all files; returns the content digest of the only one, where it holds tensors."""
    contents = [_add(writer, place, path) for place, path in found]
    # Of several files there is no one set of names to make a digest of.
    return contents[0] if len(contents) == 1 else None


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


def _sha256(place: str) -> str:
    with source.open(place) as opened:
        return digest.sha256(opened)


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
