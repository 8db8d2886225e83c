"""Writes what is in a sealed file as it was before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from torchkeep.core import files, progress
from torchkeep.core.errors import UsageError
from torchkeep.vault.index import Layout, Records, Tensors
from torchkeep.vault.reading import Sealed


def unseal(sealed: Sealed, target: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the files that were sealed, byte for byte.

    Args:
        sealed: The sealed file.
        target: A file for one part; a folder for several, which must not exist yet.
        overwrite: Whether an existing file may be replaced.

    Raises:
        Damaged: Something is not what was sealed; nothing is left behind.
        UsageError: The target is in the way, or there are records, which are no file.
    """
    for layout in sealed.layouts:
        if isinstance(layout.part, Records):
            raise UsageError(
                f"{sealed.frame.name} holds records, which are no file",
                next="read them with torchkeep.vault.Records",
            )
    if len(sealed.layouts) == 1:
        _one(sealed, sealed.layouts[0], Path(target), overwrite)
    else:
        _several(sealed, Path(target))


def _several(sealed: Sealed, folder: Path) -> None:
    with files.building(folder) as place:
        for layout in sealed.layouts:
            path = place / layout.part.path
            files.make_folder(path.parent)
            _one(sealed, layout, path, overwrite=False)


def _one(sealed: Sealed, layout: Layout, path: Path, overwrite: bool) -> None:
    with (
        files.replacing(path, exclusive=not overwrite) as file,
        progress.task(f"opening {sealed.frame.name}", layout.offsets[-1]) as advance,
    ):
        for piece in _content(sealed, layout):
            file.write(piece)
            advance(len(piece))


def _content(sealed: Sealed, layout: Layout) -> Iterator[bytes | memoryview]:
    if isinstance(layout.part, Tensors):
        header = layout.part.header
        yield len(header).to_bytes(8, "little") + header
    yield from (piece for _, _, piece in sealed.windows([layout]))
