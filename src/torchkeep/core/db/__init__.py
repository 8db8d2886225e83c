"""Rows that survive and that two processes can never spend twice, in SQLite or PostgreSQL.

::

    from importlib.resources import files
    from torchkeep.core import db

    ledger = db.open("keep.db", room="budget", migrations=files("torchkeep.budget") / "migrations")
    with ledger.write() as tx:
        spent = tx.one("SELECT coalesce(sum(cost), 0.0) AS total FROM spends")["total"]
        if spent + cost > budget:
            raise Refused("the budget is spent")
        tx.execute("INSERT INTO spends (id, cost) VALUES (?, ?)", (spend_id, cost))

A :meth:`Database.write` block is alone: no other writer runs between its check and its write, in
any thread, process or machine. Nothing has to be retried for that. It is kept whole and durably, or
not at all; where a server is lost in the very moment of committing, :class:`Uncertain` says that
nobody knows. A :meth:`Database.read` block sees one state and writes nothing.

Both engines take the same SQL and the same values, and refuse the same. Rows are dicts. Times are
stored by the callers as integer microseconds since 1970 UTC.

Errors of the drivers do not get out: a :class:`Conflict` with a constraint is ``Refused``, a busy
database or a lost server ``Incomplete``, a damaged or strange file ``Foreign``, a wrong location,
password, statement or value ``UsageError``, and the rest ``Internal``.
"""

from __future__ import annotations

import os
import re
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from torchkeep.core.db import migrate
from torchkeep.core.db.database import Database, Row, Transaction
from torchkeep.core.db.engine import Conflict, Engine, Uncertain
from torchkeep.core.db.pool import Pool
from torchkeep.core.db.sqlite import Sqlite
from torchkeep.core.errors import MissingExtra, UsageError

__all__ = ["Conflict", "Database", "Row", "Transaction", "Uncertain", "open"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_ROOM: Final = re.compile(r"[a-z][a-z0-9_]*")


def open(  # noqa: A001 (as in gzip.open)
    location: str | os.PathLike[str],
    *,
    room: str,
    migrations: Path | Traversable,
    timeout: float = 30.0,
) -> Database:
    """Open a room's tables in a database, creating or migrating them where that is due.

    Rooms may share a database; their tables must not have the same names.

    Args:
        location: A file's path, or ``postgresql://user:password@host:port/database``.
        room: Whose tables: a word in lower case.
        migrations: The room's folder of ``0001_name.sql`` files (:mod:`torchkeep.core.db.migrate`).
        timeout: Seconds to wait for another writer, and for a server.

    Raises:
        UsageError: The location is none, or its user or password is refused.
        MissingExtra: PostgreSQL without the extra ``postgres``.
        Refused: The database was made by a newer torchkeep, or by changed migrations.
        Foreign: The file is no SQLite database, a damaged one, or another program's.
        Incomplete: The server is not reached, or a writer did not end in time.
        Internal: The file cannot be opened or written, or a migration cannot be applied.
    """
    if not _ROOM.fullmatch(room):
        raise UsageError(f"{room!r} is not a room's name", next="use a word in lower case")
    steps = migrate.load(migrations)
    engine = _engine(location, timeout)
    pool = Pool(engine.name, engine.connect)
    try:
        with pool.lent() as connection:
            connection.prepare()
            migrate.run(connection, engine, room, steps)
    except BaseException:
        pool.close()
        raise
    return Database(pool)


def _engine(location: str | os.PathLike[str], timeout: float) -> Engine:
    text = os.fspath(location)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Sqlite(_path(text), timeout)
    if scheme[1] not in ("postgresql", "postgres") or not isinstance(location, str):
        # A URL that went through Path has lost a slash. It may hold a secret: it is not repeated.
        raise UsageError(
            f"{scheme[1]}: is not a kind of database that torchkeep knows, or is not a string",
            next="give a file's path, or postgresql://user:password@host:port/database",
        )
    try:
        from torchkeep.core.db.postgres import Postgres
    except ImportError as error:
        raise MissingExtra("A PostgreSQL database", "postgres") from error
    return Postgres(location, timeout)


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise UsageError("the database's path is empty or has a NUL in it", next="give a path")
    return Path(text)
