"""TOML files written by people: every complaint names file and line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from torchkeep.core import files
from torchkeep.core.errors import Foreign, ProjectError

_LIMIT: Final = 4 << 20  # bytes

Key = Sequence[str | int]


def parse(path: Path) -> tuple[dict[str, Any], str]:
    """Read a TOML file.

    Returns:
        The parsed table and the text, for :func:`line_of`.

    Raises:
        ProjectError: It cannot be read or is not TOML.
    """
    try:
        text = files.read(path, limit=_LIMIT).decode()
        return tomllib.loads(text), text
    except Foreign as error:
        raise ProjectError(error.message, path=path, next=error.next) from error
    except UnicodeDecodeError as error:
        raise ProjectError("expected UTF-8 text", path=path) from error
    except tomllib.TOMLDecodeError as error:
        message, line = _where(str(error))
        raise ProjectError(f"not TOML: {message}", path=path, line=line) from error
    except RecursionError as error:
        raise ProjectError("nested too deep to be read", path=path) from error


def line_of(text: str, key: Key) -> int | None:
    """The 1-based line of the statement that first brings ``key`` (``("models", "a", "build")``).

    A prefix of whole lines parses only at the end of a statement, so the shortest prefix that
    parses and holds the key ends with the statement that brings it. No second parser is needed.
    """
    lines = text.splitlines(keepends=True)
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("".join(lines[:end]))
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        if _holds(document, key):
            blank = re.compile(r"\s*(#.*)?$")
            return next(n for n in range(start, end) if not blank.fullmatch(lines[n])) + 1
        start = end
    return None


def dotted(key: Key) -> str:
    """A key for a message: ``models.a.range[1]``."""
    out = ""
    for part in key:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def _holds(document: Any, key: Key) -> bool:
    for part in key:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _where(text: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", text, re.DOTALL)
    if not match:
        return text, None
    return match[1], int(match[2]) if match[2] else None
