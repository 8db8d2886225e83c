"""TOML files written by people: every complaint names file and line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from torchkeep.core import files
from torchkeep.core.errors import Foreign, ProjectError
from torchkeep.core.text import visible

_LIMIT: Final = 1 << 20  # bytes; nobody writes as much by hand

# Strings and comments as wholes, so that what they hold is no bracket and no end of a line.
_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}\n]",
    re.DOTALL,
)
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")

Key = Sequence[str | int]


def parse(path: Path) -> tuple[dict[str, Any], str]:
    """Read a TOML file.

    Returns:
        The parsed table and the text, for :func:`line_of`.

    Raises:
        ProjectError: It cannot be read or is not TOML.
    """
    text = ""
    try:
        text = files.read(path, limit=_LIMIT).decode("utf-8-sig")  # some editors write the mark
        return tomllib.loads(text), text
    except Foreign as error:
        message = error.message.removeprefix(f"{visible(str(path))} ")
        raise ProjectError(message, path=path, next=error.next) from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        raise ProjectError(
            "expected UTF-8 text", path=path, line=before.count(b"\n") + 1
        ) from error
    except ValueError as error:  # TOMLDecodeError; or a number of more digits than Python reads
        message, line = _where(str(error), text)
        raise ProjectError(f"not TOML: {message}", path=path, line=line) from error
    except RecursionError as error:
        raise ProjectError("nested too deep to be read", path=path) from error


def line_of(text: str, key: Key) -> int | None:
    """The 1-based line of the statement that first brings ``key`` (``("models", "a", "build")``).

    Args:
        text: A TOML document.
        key: A key of it; a whole number counts the elements of an array from 0.
    """
    wanted = tuple(key)
    counts: dict[tuple[str | int, ...], int] = {}  # the newest element of each array of tables
    table: tuple[str | int, ...] = ()
    for line, statement in _statements(text):
        try:
            document = tomllib.loads(statement)
        except (ValueError, RecursionError):
            continue
        if statement.lstrip(" \t").startswith("["):
            table = _table(document, counts, is_array=statement.lstrip(" \t").startswith("[["))
            if wanted == table[: len(wanted)]:
                return line
        elif document and wanted[: len(table)] == table and _holds(document, wanted[len(table) :]):
            return line
    return None


def dotted(key: Key) -> str:
    """A key for a message: ``models.a.range[1]``, ``data."my table".path``."""
    out = ""
    for part in key:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else f'"{visible(part)}"'
            out += f".{name}" if out else name
    return out


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Every statement with its first line; a line without one is a statement that says nothing."""
    start, line, depth = 0, 1, 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if token[0] == "\n" and not depth:
            statement = text[start : token.end()]
            yield line, statement
            start, line = token.end(), line + statement.count("\n")
    yield line, text[start:]


def _table(
    document: dict[str, Any], counts: dict[tuple[str | int, ...], int], *, is_array: bool
) -> tuple[str | int, ...]:
    """The place of the table that a header opens, from that header parsed alone."""
    place: tuple[str | int, ...] = ()
    while document:
        ((name, inner),) = document.items()
        place = (*place, name)
        document = inner[0] if isinstance(inner, list) else inner
        if is_array and not document:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def _holds(document: Any, key: Key) -> bool:
    for part in key:
        known = document if isinstance(document, dict) else {}
        if isinstance(part, int) and isinstance(document, list):
            known = dict(enumerate(document))
        if part not in known:
            return False
        document = known[part]
    return True


def _where(message: str, text: str) -> tuple[str, int | None]:
    """What is wrong, and on which line, from the message of :mod:`tomllib`."""
    if match := re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", message, re.DOTALL):
        return match[1], int(match[2])
    end = " (at end of document)"
    line = text.rstrip().count("\n") + 1
    return message.removesuffix(end), line if message.endswith(end) else None
