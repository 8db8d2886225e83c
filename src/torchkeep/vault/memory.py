"""The highest version that was seen of each model: an older one is never taken again.

A file whose signature verifies can still be the wrong one: last year's, with the fault that this
year's has mended. So the user's state folder keeps, by signer and model, the highest version and
the lowest that a newer one still allows.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from torchkeep.core import files, strict
from torchkeep.core.errors import Internal, SourceError
from torchkeep.core.text import visible
from torchkeep.vault.errors import Withheld

_NAME: Final = "versions.json"
_LONGEST: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of one model by one signer.

    Attributes:
        version: The highest version that was opened.
        lowest: The lowest that a policy of this signer has left in use.
    """

    version: int
    lowest: int


def folder() -> Path:
    """The user's state folder: ``TORCHKEEP_STATE``, or where the system keeps state."""
    if given := os.environ.get("TORCHKEEP_STATE"):
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME")
    return Path(base or Path.home() / ".local" / "state") / "torchkeep"


def check(name: str, signer: bytes, model: str, version: int) -> None:
    """Refuse a version that is older than one that was seen.

    Raises:
        Withheld: A newer one was opened before, or forbids this one.
        Internal: What is remembered cannot be read.
    """
    seen = _load().get(_key(signer, model))
    if seen is not None and version < max(seen.version, seen.lowest):
        raise Withheld(
            f"{name} is refused: it is version {version} of {visible(model)}, and version"
            f" {max(seen.version, seen.lowest)} was seen before",
            next="fetch the newest version",
        )


def remember(signer: bytes, model: str, version: int, lowest: int) -> None:
    """Remember a version that was opened.

    Raises:
        Internal: It cannot be written.
    """
    key = _key(signer, model)
    known = _load()
    if _raised(known, key, version, lowest) == known.get(key):
        return
    files.make_private_folder(folder())
    with files.locked(folder()):  # another process may remember something else just now
        known = _load()
        known[key] = _raised(known, key, version, lowest)
        seen = {key: asdict(seen) for key, seen in known.items()}
        document = json.dumps({"schema_version": 1, "seen": seen}, sort_keys=True, indent=1)
        files.write(folder() / _NAME, document, private=True)


def _raised(known: dict[str, Seen], key: str, version: int, lowest: int) -> Seen:
    before = known.get(key, Seen(0, 0))
    return Seen(max(before.version, version), max(before.lowest, lowest))


def _key(signer: bytes, model: str) -> str:
    return f"{signer.hex()}:{model}"


def _load() -> dict[str, Seen]:
    path = folder() / _NAME
    try:
        path.lstat()
    except OSError:
        return {}
    try:
        document = strict.loads(files.read(path, limit=_LONGEST))
        return {key: _seen(value) for key, value in document["seen"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, SourceError) as error:
        raise Internal(
            f"{visible(str(path))} cannot be read, so nobody can say which versions were seen",
            next="mend its permissions, or move it away to begin anew",
        ) from error


def _seen(value: dict[str, Any]) -> Seen:
    version, lowest = value["version"], value["lowest"]
    if type(version) is not int or type(lowest) is not int:
        raise ValueError("not numbers")
    return Seen(version, lowest)
