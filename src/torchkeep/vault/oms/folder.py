"""The files of a model's folder, all of them: what is not looked at could hold anything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from torchkeep.core import digest, source
from torchkeep.core.errors import Refused, SourceError, UsageError
from torchkeep.core.text import visible

LEFT_OUT: Final = (".git", ".gitattributes", ".github", ".gitignore")
"""What belongs to git and not to the model; every signer leaves it out."""


def names(folder: Path, ignored: Iterable[str]) -> list[str]:
    """Every file below a folder, with forward slashes, but for what is ignored.

    Raises:
        Refused: There is a link, or something that is neither file nor folder.
        SourceError: A folder cannot be read.
    """
    left, found, folders = frozenset(ignored), [], [""]
    while folders:
        below = folders.pop()
        for entry in _entries(folder, below):
            name = f"{below}/{entry.name}" if below else entry.name
            if name in left:
                continue
            if entry.is_symlink():
                raise _refused(name, "is a link, and what it leads to can change")
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif entry.is_file(follow_symlinks=False):
                found.append(name)
            else:
                raise _refused(name, "is neither a file nor a folder")
    return sorted(found, key=PurePosixPath)


def sha256(folder: Path, name: str) -> str:
    """Digest of a file in hex.

    Raises:
        SourceError: It cannot be read.
    """
    with source.open(folder / name) as opened:
        return digest.sha256(opened)


def inside(folder: Path, path: Path) -> str | None:
    """The name of a file below a folder; None where it lies elsewhere."""
    whole = Path(os.path.realpath(path.parent)) / path.name
    root = Path(os.path.realpath(folder))
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else None


def is_name(text: str) -> bool:
    """Whether ``text`` names something below a folder, in the one spelling that it has."""
    path = PurePosixPath(text)
    plain = text == str(path) and "\0" not in text
    return plain and not path.is_absolute() and text != "." and ".." not in path.parts


def require_names(given: Sequence[str]) -> None:
    """Refuse paths that do not lie below the folder.

    Raises:
        UsageError: One does not.
    """
    for name in given:
        if not is_name(name):
            raise UsageError(
                f"{visible(name)} is no path below the folder",
                next="name it as it is called from within the folder, such as docs/notes.txt",
            )


def _entries(folder: Path, below: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder / below) as entries:
            return list(entries)
    except OSError as error:
        where = visible(str(folder / below))
        raise SourceError(
            f"{where} cannot be read as a folder: {error.strerror}", next="name a model's folder"
        ) from error


def _refused(name: str, why: str) -> Refused:
    return Refused(
        f"{visible(name)} {why}", next="put a file in its place, or leave it out with --ignore"
    )
