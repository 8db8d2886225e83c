"""SQL that means the same to both engines: where its words, literals and placeholders lie.

A statement is cut into tokens by the rules that SQLite and PostgreSQL share. What the two would
read differently is refused instead of guessed at: ``E'...'`` and other prefixed strings, ``$``,
backticks and square brackets, comments within comments, ``?1`` and ``:name``. So a ``?`` or ``;``
within a literal is never taken for a placeholder or an end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from torchkeep.core.errors import UsageError
from torchkeep.core.text import visible

_TOKEN: Final = re.compile(
    r"""
      (?P<blank>   (?: [ \t\n\f] | \r\n
                     | --[^\r\n]*+ (?= \r?\n | \Z )
                     | /\* (?: (?! /\* | \*/ ). )*+ \*/ )++ )
    | (?P<string>  ' (?: [^'\0\ud800-\udfff]++ | '' )*+ ')
    | (?P<name>    " (?: [^"\0\ud800-\udfff]++ | "" )*+ ")
    | (?P<word>    [A-Za-z_][A-Za-z0-9_]*+ (?! ['"$] ))
    | (?P<number>  [0-9][A-Za-z0-9_.]*)
    | (?P<hole>    \? (?! [\w?] ))
    | (?P<end>     ;)
    | (?P<type>    \{[a-z]+\})
    | (?P<sign>    [+*<>=!|&%~^,.()] | -(?!-) | /(?!\*))
    """,
    re.VERBOSE | re.DOTALL,
)

# Widths and meanings of these differ between the engines: INTEGER is 32 bits and REAL is single
# precision on PostgreSQL, BLOB is unknown to it, and text sorts by the server's locale.
_BARE_TYPES: Final = re.compile(
    "(BIG|SMALL)?(INT|INTEGER|SERIAL)|REAL|FLOAT|DOUBLE|NUMERIC|DECIMAL|BOOL|BOOLEAN|"
    "TEXT|CHAR|VARCHAR|BLOB|BYTEA|DATETIME|TIMESTAMP",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, without its comments.

    Attributes:
        text: With ``?`` for each placeholder.
        numbered: With ``$1``, ``$2``, ...
        holes: How many placeholders it has.
        words: Its words outside of literals, in upper case.
    """

    text: str
    numbered: str
    holes: int
    words: tuple[str, ...]

    @property
    def verb(self) -> str:
        """Its first word."""
        return self.words[0]


@lru_cache(maxsize=512)
def parse(sql: str) -> Statement:
    """Read exactly one statement; a ``;`` at its end is allowed.

    Raises:
        UsageError: It is not one statement, or not SQL that both engines read alike.
    """
    statements = list(split(sql))
    if len(statements) != 1:
        raise UsageError(f"{len(statements)} SQL statements were given; one at a time is run")
    return statements[0]


def split(sql: str) -> Iterator[Statement]:
    """The statements of ``sql``, which end with ``;`` (the last one may do without)."""
    tokens: list[tuple[str, str]] = []
    for kind, text in (*_tokens(sql), ("end", ";")):
        if kind == "type":
            raise UsageError(f"{text} is a type word", next="type words stand in migrations only")
        if kind != "end":
            tokens.append((kind, text))
        elif any(kind != "blank" for kind, _ in tokens):
            yield _statement(tokens)
            tokens = []


def _statement(tokens: list[tuple[str, str]]) -> Statement:
    words = tuple(text.upper() for kind, text in tokens if kind == "word")
    if not words:
        raise UsageError("the SQL statement has no words")
    text, numbered, holes = "", "", 0
    for kind, piece in tokens:
        holes += kind == "hole"
        shown = " " if kind == "blank" else piece
        text += shown
        numbered += f"${holes}" if kind == "hole" else shown
    return Statement(text.strip(), numbered.strip(), holes, words)


def with_types(sql: str, types: Mapping[str, str]) -> str:
    """Put the engine's words where a migration has ``{int}``, ``{text}`` and so on.

    Raises:
        UsageError: A type word is unknown, or a type is named in one engine's own words.
    """
    known = ", ".join(f"{{{name}}}" for name in types)
    out: list[str] = []
    for kind, text in _tokens(sql):
        if kind == "word" and _BARE_TYPES.fullmatch(text):
            raise UsageError(
                f"{text} is not the same type in both engines", next=f"write one of {known}"
            )
        if kind == "type" and text[1:-1] not in types:
            raise UsageError(f"{text} is an unknown type word; there are {known}")
        out.append(types[text[1:-1]] if kind == "type" else text)
    return "".join(out)


def _tokens(sql: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:
            line = sql.count("\n", 0, position) + 1
            raise UsageError(
                f"SQL line {line}: {visible(sql[position : position + 12])!r} is not read alike by "
                "both engines, or a literal has no end",
                next="write values as ? placeholders and plain SQL around them",
            )
        position = match.end()
        yield str(match.lastgroup), match.group()
