"""The files of a project, found without following links out of it and without losing any unseen."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# Version control, environments, caches and our own state: nothing in them is the project's.
_OWN: Final = ".torchkeep"
SKIPPED_FOLDERS: Final = frozenset(
    {".git", ".hg", ".svn", _OWN, "node_modules", "__pycache__", ".venv", ".tox", ".nox"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints"}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file.

    Attributes:
        path: Relative to the root, with forward slashes.
        size: Bytes.
        mode: Permission bits.
    """

    path: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class Tree:
    """What stands below a root.

    Attributes:
        files: Regular files, links to regular files included, by path.
        skipped: Folders that were left out, links to folders, links that lead out of the root, and
            what is neither file nor folder (pipes, sockets, devices).
        unreadable: What could not be looked at, with the system's reason.
    """

    files: tuple[Entry, ...]
    skipped: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Walk:
    root: Path
    files: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def folder(self, path: str) -> Iterator[str]:
        """Look at one folder; yield the folders in it."""
        try:
            with os.scandir(self.root / path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable.append((path or ".", error.strerror or str(error)))
            return
        for entry in found:
            name = f"{path}/{entry.name}" if path else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not _is_skipped(entry):
                        yield name
                    elif name != _OWN:
                        self.skipped.append(name)
                else:
                    self.file(name, entry)
            except OSError as error:
                self.unreadable.append((name, error.strerror or str(error)))

    def file(self, name: str, entry: os.DirEntry[str]) -> None:
        # Path.resolve() would raise RuntimeError on a loop of links; the call below says ELOOP.
        inside = not entry.is_symlink() or Path(os.path.realpath(entry)).is_relative_to(self.root)
        if inside and stat.S_ISREG((status := entry.stat()).st_mode):
            self.files.append(Entry(name, status.st_size, stat.S_IMODE(status.st_mode)))
        else:
            self.skipped.append(name)


def walk(root: Path) -> Tree:
    """Every file below ``root``."""
    state = _Walk(root.resolve())
    folders = [""]
    while folders:
        folders.extend(state.folder(folders.pop()))
    return Tree(
        tuple(sorted(state.files, key=lambda entry: entry.path)),
        tuple(sorted(state.skipped)),
        tuple(sorted(state.unreadable)),
    )


def _is_skipped(entry: os.DirEntry[str]) -> bool:
    return entry.name in SKIPPED_FOLDERS or Path(entry.path, "pyvenv.cfg").is_file()
