"""Folders of this machine: who can reach them, and what lies below them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torchkeep.core.finding import Finding, Measured, State
from torchkeep.core.messages import Message, message
from torchkeep.core.text import path_argument, visible
from torchkeep.vault.stores import mounts, rows
from torchkeep.vault.stores.rows import row

_SCARCE: Final = 0.05  # of the disk
_GIB: Final = 1 << 30
_GROUP_READS, _ALL_READ, _GROUP_WRITES, _ALL_WRITE, _ALL_ENTER = 0o040, 0o004, 0o020, 0o002, 0o001

_ON_THE_WAY: Final = {
    mounts.Way.LOCAL: (State.NOT_APPLICABLE, "stays"),
    mounts.Way.ENCRYPTED: (State.PASS, "network-encrypted"),
    mounts.Way.CLEAR: (State.FAIL, "network-clear"),
    mounts.Way.UNKNOWN: (State.NOT_MEASURED, "network-unknown"),
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stands in a folder.

    Attributes:
        path: The folder.
        modes: Mode and owner of the folder, and of each file and folder below it, by name.
        hidden: What could not be looked at.
    """

    path: Path
    modes: dict[str, os.stat_result]
    hidden: tuple[str, ...]

    @property
    def name(self) -> str:
        return visible(str(self.path))

    def which(self, holds: Callable[[os.stat_result], bool]) -> list[str]:
        """Names of all of which something holds."""
        return [name for name, info in self.modes.items() if holds(info)]


def look(path: Path) -> Iterator[Finding]:
    """One row for each thing that can be seen.

    Raises:
        OSError: The folder cannot be looked at.
    """
    seen = _see(path)
    yield _readable(seen)
    yield _encrypted(seen)
    state, reason = _ON_THE_WAY[mounts.way(path)]
    yield row(rows.ON_THE_WAY, seen.name, state, message(f"vault.store.{reason}"))
    yield _writable(seen)
    yield _space(seen)


def _see(path: Path) -> _Seen:
    hidden: list[str] = []
    modes = {".": path.stat()}

    def missed(error: OSError) -> None:
        hidden.append(str(error.filename))

    for folder, folders, names in os.walk(path, onerror=missed):
        for name in (*folders, *names):
            place = Path(folder, name)
            try:
                info = os.lstat(place)
            except OSError as error:
                missed(error)
                continue
            if not stat.S_ISLNK(info.st_mode):  # its own bits say nothing
                modes[os.path.relpath(place, path)] = info
    return _Seen(path, modes, tuple(hidden))


def _readable(seen: _Seen) -> Finding:
    found = seen.which(lambda info: bool(info.st_mode & _ALL_READ))
    if found and _is_reached(seen.path):
        fix = ("chmod", "-R", "o-rwx", path_argument(seen.path))
        reason = message("vault.store.all-read", first=found[0])
        return _exposed(seen, rows.PUBLIC, State.FAIL, reason, found, fix)
    if seen.hidden:
        return _unseen(seen, rows.PUBLIC)
    return row(rows.PUBLIC, seen.name, State.PASS, message("vault.store.not-read"))


def _writable(seen: _Seen) -> Finding:
    ours = {os.getuid(), 0}
    path = path_argument(seen.path)
    if _is_reached(seen.path) and (
        found := seen.which(lambda info: bool(info.st_mode & _ALL_WRITE) and not _is_sticky(info))
    ):
        fix = ("chmod", "-R", "go-w", path)
        reason = message("vault.store.all-write", first=found[0])
        return _exposed(seen, rows.WRITABLE, State.FAIL, reason, found, fix)
    if found := seen.which(lambda info: info.st_uid not in ours):
        reason = message("vault.store.other-owner", first=found[0])
        return _exposed(seen, rows.WRITABLE, State.WARN, reason, found)
    if found := seen.which(lambda info: bool(info.st_mode & (_GROUP_WRITES | _ALL_WRITE))):
        fix = ("chmod", "-R", "go-w", path)
        reason = message("vault.store.group-write", first=found[0])
        return _exposed(seen, rows.WRITABLE, State.WARN, reason, found, fix)
    if seen.hidden:
        return _unseen(seen, rows.WRITABLE)
    return row(rows.WRITABLE, seen.name, State.PASS, message("vault.store.not-written"))


def _encrypted(seen: _Seen) -> Finding:
    if mounts.is_encrypted(seen.path):
        return row(rows.ENCRYPTED, seen.name, State.PASS, message("vault.store.disk-encrypted"))
    reason = message("vault.store.disk-unknown")
    return row(rows.ENCRYPTED, seen.name, State.NOT_MEASURED, reason)


def _space(seen: _Seen) -> Finding:
    disk = os.statvfs(seen.path)
    free = disk.f_bavail * disk.f_frsize
    share = disk.f_bavail / disk.f_blocks if disk.f_blocks else 1.0
    state = State.WARN if share < _SCARCE else State.PASS
    measured = Measured(value=round(free / _GIB, 1), unit="GiB")
    reason = message("vault.store.space", percent=f"{share:.0%}")
    return row(rows.SPACE, seen.name, state, reason, measured=measured)


def _exposed(
    seen: _Seen,
    rule: str,
    state: State,
    reason: Message,
    found: list[str],
    fix: tuple[str, ...] = (),
) -> Finding:
    measured = Measured(value=len(found), unit="files and folders", n=len(seen.modes))
    return row(rule, seen.name, state, reason, measured=measured, fix=fix)


def _unseen(seen: _Seen, rule: str) -> Finding:
    reason = message("vault.store.hidden", first=seen.hidden[0])
    return row(rule, seen.name, State.NOT_MEASURED, reason)


def _is_reached(path: Path) -> bool:
    """Whether every folder on the way lets everybody through."""
    place = path.resolve()
    return all(folder.stat().st_mode & _ALL_ENTER for folder in (place, *place.parents))


def _is_sticky(info: os.stat_result) -> bool:
    """Whether it is a folder in which nobody can touch the files of others."""
    return stat.S_ISDIR(info.st_mode) and bool(info.st_mode & stat.S_ISVTX)
