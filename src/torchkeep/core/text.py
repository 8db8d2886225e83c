"""Text that came from a file, made harmless before a person or a shell sees it."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

# Cc: control, Cf: format (all bidirectional and zero-width marks), Cs: lone surrogates (file names
# that are not UTF-8), Co/Cn: private or unassigned, Zl/Zp: line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def is_plain(text: str) -> bool:
    """Whether every character of ``text`` is one that a reader sees as what it is."""
    return not any(unicodedata.category(char) in _HIDDEN for char in text)


def visible(text: str) -> str:
    r"""Write characters that act on a terminal, or hide from a reader, as escapes.

    >>> visible("a\x1b[31m\u202eb\n")
    'a\\x1b[31m\\u202eb\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(char) if unicodedata.category(char) in _HIDDEN else char for char in text
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def path_argument(path: PurePath | str) -> str:
    """A path as a command argument that no option parser can take for an option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def shell_command(arguments: Sequence[str]) -> str | None:
    """Quote ``arguments`` for a POSIX shell, or None where pasting would not be safe.

    A name with control, format or bidirectional characters can show one thing and paste another,
    so it gets no pasteable command.
    """
    if not all(is_plain(argument) for argument in arguments):
        return None
    return shlex.join(arguments)


def width(text: str) -> int:
    """Columns that ``text`` takes on a terminal (wide East Asian characters take two)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can carry ``text`` (a file name of stray bytes cannot)."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
