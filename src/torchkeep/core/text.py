"""Text that came from a file, made harmless before a person or a shell sees it."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

# Cc: control, Cf: format (all bidirectional and zero-width marks), Cs: lone surrogates (file names
# that are not UTF-8), Co/Cn: private or unassigned, Zl/Zp: line and paragraph separators.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that show as nothing: Default_Ignorable_Code_Point of Unicode, as far as the
# categories above do not hold it (joiner, Hangul fillers, Khmer vowels, variation selectors).
_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def is_plain(text: str) -> bool:
    """Whether every character of ``text`` is one that a reader sees as what it is."""
    return (text.isascii() and text.isprintable()) or not any(map(_is_hidden, text))


def visible(text: str) -> str:
    r"""Write characters that act on a terminal, or hide from a reader, as escapes.

    >>> visible("a\x1b[31m\u202eb\n")
    'a\\x1b[31m\\u202eb\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if _is_hidden(char) else char for char in text)


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN or _BLANK.match(char) is not None


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
    """Columns that ``text`` takes on a terminal: two a wide East Asian character, none a mark."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can carry ``text`` (a file name of stray bytes cannot)."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
