"""The key home: a folder of the user's own where keys are found by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from torchkeep.core import files
from torchkeep.core.errors import Refused, UsageError
from torchkeep.core.text import path_argument, shell_command, visible

Name = str | os.PathLike[str]

_SECRETS: Final = ("AGE-SECRET-KEY-", "AGE-PLUGIN-", "TORCHKEEP-SIGNER-S", "TORCHKEEP-SECRET-")


def folder() -> Path:
    """The key home: ``TORCHKEEP_KEYS``, or ``torchkeep/keys`` where the system keeps settings."""
    if given := os.environ.get("TORCHKEEP_KEYS"):
        return Path(given)
    base = os.environ.get("XDG_CONFIG_HOME")
    return Path(base or Path.home() / ".config") / "torchkeep" / "keys"


def make() -> Path:
    """The key home, made where it is missing, for its owner alone.

    Raises:
        UsageError: Something that is no folder is in the way.
        Internal: The disk or the system refused.
    """
    files.make_private_folder(folder())
    return folder()


def find(name: Name) -> Path:
    """The file that a name means.

    A text without a slash is a name in the key home, or else a file in the current folder. Where
    both are there nobody guesses: what is signed with the wrong key is hard to take back.

    Raises:
        UsageError: There is no such key, there are two, or it is a key and no name.
    """
    if os.fspath(name).upper().startswith(_SECRETS):
        raise UsageError(
            "that is a key itself, expected the name of a file that holds one",
            next="make a new one: what stands in a command line can be read by others",
        )
    if not isinstance(name, str) or os.sep in name:
        return Path(name)
    if name in ("", ".", ".."):
        raise UsageError(f"{name!r} names no key", next="run: torchkeep key list")
    kept, here = folder() / name, Path(name)
    found = [path for path in (kept, here) if os.path.lexists(path)]
    if len(found) == 2 and not _are_one(kept, here):
        raise UsageError(
            f"{visible(name)} is a key in {visible(str(kept.parent))} and a file in this folder",
            next=f"write {visible(f'./{name}')} or {visible(str(kept))}",
        )
    if not found:
        raise UsageError(
            f"there is no key {visible(name)}, neither in {visible(str(kept.parent))} nor here",
            next="run: torchkeep key list",
        )
    return found[0]


def require_private(path: Path, others: int = 0o077) -> None:
    """Refuse a file that others have access to; nothing is mended silently, for it may be too late.

    Args:
        path: The file.
        others: Permission bits that it must not have.

    Raises:
        Refused: It has one of them.
    """
    if (said := exposure(path, others)) is not None:
        raise Refused(f"{visible(str(path))} is refused: {said}", next=_mend(path, others))


def exposure(path: Path, others: int = 0o077) -> str | None:
    """What others may do with a file or folder that should be its owner's; None for nothing."""
    try:
        mode = path.stat().st_mode & others
    except OSError:  # whoever reads it will say what is wrong
        return None
    if not mode:
        return None
    return f"others {'can change' if mode & 0o022 else 'have access to'} it"


def _mend(path: Path, others: int) -> str:
    mode = "600" if others & 0o044 else "go-w"
    command = shell_command(["chmod", mode, path_argument(path)])
    return f"run: {command}" if command else "take the permissions of others from it"


def _are_one(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
