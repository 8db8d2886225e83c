"""Names of files that follow from the names of others."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from torchkeep.core.errors import UsageError
from torchkeep.core.text import visible
from torchkeep.vault.header import LONGEST_NAME

SUFFIX: Final = ".tks"
"""Of sealed files."""


def beside(location: str, suffix: str) -> Path:
    """The name of a file with a suffix behind it; of a URL, in the current folder."""
    path = Path(_name(location)) if "://" in location else Path(os.path.normpath(location))
    if not path.name:
        raise UsageError(
            f"{visible(location)} has no name to take over", next="name the output with -o"
        )
    return path.with_name(path.name + suffix)


def unsealed(location: str) -> Path:
    """The name of what was sealed, from that of the sealed file."""
    path = Path(_name(location)) if "://" in location else Path(location)
    if path.suffix != SUFFIX:
        raise UsageError(
            f"{visible(location)} does not end in {SUFFIX}, so the name of the output does not"
            " follow from it",
            next="name the output with -o",
        )
    return path.with_suffix("")


def stem(location: str) -> str:
    """What a file or URL is called, without its suffix."""
    path = Path(_name(location)) if "://" in location else Path(os.path.realpath(location))
    return path.stem[:LONGEST_NAME] or "model"


def _name(url: str) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return name if name.isprintable() else ""
