"""Numbered migrations: files ``0001_name.sql`` that bring a room's tables up to the code.

The same file serves both engines. Types are ``{id}`` (a key that the database gives), ``{int}``
(64 bits), ``{real}`` (double), ``{text}`` (sorted by code point) and ``{bytes}``. Statements end
with ``;`` and are CREATE TABLE, INDEX or VIEW, ALTER TABLE, DROP, INSERT, UPDATE and DELETE; there
are no triggers, for the engines write them differently. An applied file never changes again.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from torchkeep.core.db.engine import MIGRATIONS, Connection, Engine, block
from torchkeep.core.db.sql import Statement, parse, split, with_types
from torchkeep.core.errors import Incomplete, Internal, Refused, TorchkeepError, UsageError
from torchkeep.core.text import visible

_FILE: Final = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")
_STATEMENT: Final = re.compile(
    r"CREATE (UNIQUE )?(TABLE|INDEX|VIEW)|ALTER TABLE|DROP (TABLE|INDEX|VIEW)|INSERT|UPDATE|DELETE"
)
_APPLIED: Final = parse(
    f"SELECT number, name, sha256 FROM {MIGRATIONS} "  # noqa: S608 (a constant)
    "WHERE room = ? ORDER BY number"
)
_RECORD: Final = parse(
    f"INSERT INTO {MIGRATIONS} "  # noqa: S608 (a constant)
    "(room, number, name, sha256, applied_at) VALUES (?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file.

    Attributes:
        number: Its place, from 1.
        name: Its file name.
        sha256: Of its bytes, in hex.
        sql: Its text.
    """

    number: int
    name: str
    sha256: str
    sql: str


def load(folder: Path | Traversable) -> list[Migration]:
    """The migrations in ``folder``, in order.

    Raises:
        Internal: A number is missing or there twice, or a file is not named like one of them.
    """
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=_name)
    return [_read(number, file) for number, file in enumerate(files, 1)]


def _name(file: Path | Traversable) -> str:
    return file.name


def _read(expected: int, file: Path | Traversable) -> Migration:
    match = _FILE.fullmatch(file.name)
    if match is None or int(match[1]) != expected:
        raise Internal(
            f"migration {visible(file.name)} stands where {expected:04}_name.sql is expected",
            next="number the files 0001, 0002, ... without a gap or a repetition",
        )
    data = file.read_bytes()
    try:
        return Migration(expected, file.name, sha256(data).hexdigest(), data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Internal(f"migration {file.name} is not UTF-8", next="save it as UTF-8") from error


def run(connection: Connection, engine: Engine, room: str, migrations: list[Migration]) -> None:
    """Apply what is pending, each file in a transaction of its own, together with its row.

    Raises:
        Refused: The database was made by other files, or by a newer torchkeep.
        Internal: A file cannot be applied.
    """
    with block(connection, write=False):
        done = _progress(connection, engine, room, migrations)
    scripts = [(step, _statements(step, engine)) for step in migrations[done:]]
    for step, statements in scripts:
        with block(connection, write=True):
            if _progress(connection, engine, room, migrations) < step.number:
                _apply(connection, room, step, statements)


def _progress(
    connection: Connection, engine: Engine, room: str, migrations: list[Migration]
) -> int:
    """How many of ``migrations`` are applied, which are the first ones and unchanged."""
    applied = connection.run(_APPLIED, (room,)).rows
    where = f"{engine.name}, room {room}"
    for expected, (number, name, digest) in enumerate(applied, 1):
        if number != expected:
            raise Refused(
                f"{where}: migration {expected} is not recorded but {visible(name)} is",
                next="restore the database from a backup",
            )
        if expected > len(migrations):
            raise Refused(
                f"{where}: made by a newer torchkeep: it has migration {visible(name)} and this "
                f"torchkeep knows {len(migrations)}",
                next="upgrade torchkeep",
            )
        if digest != migrations[expected - 1].sha256:
            raise Refused(
                f"{where}: migration {migrations[expected - 1].name} is not the file that was "
                f"applied (as {visible(name)})",
                next="put the applied file back, and make the change in a new one",
            )
    return len(applied)


def _statements(step: Migration, engine: Engine) -> list[Statement]:
    try:
        statements = list(split(with_types(step.sql, engine.types)))
        return [_definition(statement, engine) for statement in statements]
    except UsageError as error:
        raise Internal(f"migration {step.name}: {error.message}", next=error.next) from error


def _definition(statement: Statement, engine: Engine) -> Statement:
    if not _STATEMENT.match(" ".join(statement.words)) or statement.holes:
        raise UsageError(
            f"{' '.join(statement.words[:3])} is not a statement for a migration",
            next="define tables, indexes and views, and change rows, without placeholders",
        )
    if statement.words[:2] == ("CREATE", "TABLE"):
        return parse(statement.text + engine.table_suffix)
    return statement


def _apply(connection: Connection, room: str, step: Migration, statements: list[Statement]) -> None:
    try:
        for statement in statements:
            connection.run(statement)
    except Incomplete:
        raise
    except TorchkeepError as error:
        raise Internal(f"migration {step.name}: {error.message}", next=error.next) from error
    now = time.time_ns() // 1000
    connection.run(_RECORD, (room, step.number, step.name, step.sha256, now))
