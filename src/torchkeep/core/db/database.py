"""Transactions on either engine."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from torchkeep.core.db.engine import Connection, Result
from torchkeep.core.db.pool import Pool
from torchkeep.core.db.sql import Statement, parse
from torchkeep.core.db.values import bind
from torchkeep.core.errors import TorchkeepError, UsageError

Row = dict[str, Any]
"""A row: column name to int, float, str, bytes or None."""

_CHANGES: Final = ("INSERT", "UPDATE", "DELETE")
_ASKS: Final = ("SELECT", "WITH", "VALUES")


class _Here(threading.local):
    """The databases that this thread has a block open on."""

    def __init__(self) -> None:
        self.names: set[str] = set()


_here = _Here()


class Transaction:
    """What a block runs its statements on. It belongs to the block, and to the block's thread.

    Statements have ``?`` for each value and mean the same on both engines: SELECT, WITH, VALUES,
    INSERT (with ON CONFLICT and RETURNING), UPDATE and DELETE. Values are int of 64 bits, float
    except NaN, str without NUL, bytes, or None; a bool is kept as 0 or 1 and a time as integer
    microseconds since 1970 UTC.
    """

    def __init__(self, connection: Connection, name: str, *, write: bool) -> None:
        self._connection = connection
        self._name = name
        self._write = write
        self._owner = _owner()
        self._open = True
        self._failed = False

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run an INSERT, UPDATE or DELETE.

        Returns:
            How many rows it inserted, changed or deleted.

        Raises:
            Conflict: A constraint of the database forbids it.
            UsageError: The block only reads, or the statement or a value is not for this call.
        """
        statement = parse(sql)
        if statement.verb not in _CHANGES:
            raise UsageError(
                f"execute() was given {statement.verb}; it takes {', '.join(_CHANGES)}",
                next="ask with query() or one(), and change tables in a migration",
            )
        return self._run(statement, params).changed

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Ask for rows; also an INSERT, UPDATE or DELETE with RETURNING.

        Name what is not a plain column (``count(*) AS n``); each engine has its own names for it.
        """
        statement = parse(sql)
        if statement.verb not in _ASKS and "RETURNING" not in statement.words:
            raise UsageError(
                f"query() was given {statement.verb}; it takes {', '.join(_ASKS)}, and changes "
                "with RETURNING"
            )
        result = self._run(statement, params)
        self._check_names(result.columns)
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows]

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """The only row that :meth:`query` gives, or None where there is none."""
        rows = self.query(sql, params)
        if len(rows) > 1:
            raise UsageError(
                f"one() got {len(rows)} rows", next="ask more narrowly, or use query()"
            )
        return rows[0] if rows else None

    def _run(self, statement: Statement, params: Sequence[Any]) -> Result:
        self._require_usable()
        if not self._write and not {*_CHANGES}.isdisjoint(statement.words):
            raise UsageError(
                f"a block that only reads was given {statement.verb}", next="use write()"
            )
        values = bind(params, statement.holes)
        try:
            return self._connection.run(statement, values)
        except BaseException:
            self._failed = True
            raise

    def _require_usable(self) -> None:
        if not self._open:
            raise UsageError("the block of this transaction has ended", next="open a new block")
        if self._owner != _owner():
            raise UsageError(
                "a transaction was used by another thread or process than its block's",
                next="open a block there",
            )
        if self._failed:
            raise UsageError(
                "a statement of this block has failed, so nothing of the block is kept",
                next="leave the block, and catch the error outside of it",
            )

    def _check_names(self, columns: tuple[str, ...]) -> None:
        if len(set(columns)) < len(columns) or not all(_is_name(name) for name in columns):
            self._failed = True
            raise UsageError(
                f"the columns {', '.join(columns)} are not named alike by both engines",
                next="give each a name of its own in lower case: count(*) AS n",
            )


class Database:
    """A database, by :func:`torchkeep.core.db.open`. Threads may share it.

    Attributes:
        name: What messages call it: its path, or its URL without secrets.
    """

    def __init__(self, pool: Pool) -> None:
        self.name = pool.name
        self._pool = pool
        self._end = weakref.finalize(self, pool.close)

    def __repr__(self) -> str:
        return f"<Database {self.name}>"

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; later blocks are refused."""
        self._end()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A block that sees one state, and waits for no writer.

        What it saw may be outdated as soon as it is seen: never check here what is then written in
        a block of its own.
        """
        with self._alone(), self._transaction(write=False) as transaction:
            yield transaction

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A block that is alone: whatever it checks stays true until it has written.

        All of it is kept, durably, when the block ends, and nothing when an exception leaves it.
        Blocks of all processes, threads and rooms on this database wait for one another, so keep
        them short and never ``await`` in one.

        Raises:
            Incomplete: Another writer did not end in time, or the server is not there.
            Uncertain: The server was lost while it committed.
            UsageError: This thread has a block open on this database already.
        """
        with self._alone(), self._transaction(write=True) as transaction:
            yield transaction

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Transaction]:
        connection = self._begin(write=write)
        transaction = Transaction(connection, self.name, write=write)
        try:
            yield transaction
            if write:
                transaction._require_usable()
                connection.commit()
        finally:
            if transaction._owner == _owner():  # else this is a child forked in the block
                connection.rollback()
            transaction._open = False
            self._pool.give(connection)

    def _begin(self, *, write: bool) -> Connection:
        while True:
            connection, served_before = self._pool.take()
            try:
                connection.begin(write=write)
            except BaseException as error:
                usable = connection.usable()
                self._pool.give(connection)
                # A connection that broke while it waited has done nothing yet: take another.
                if usable or not served_before or not isinstance(error, TorchkeepError):
                    raise
            else:
                return connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self.name in _here.names:
            raise UsageError(
                f"this thread has a block open on {self.name} already",
                next="hand its transaction on instead of opening a block within a block",
            )
        _here.names.add(self.name)
        try:
            yield
        finally:
            _here.names.remove(self.name)


def _owner() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _is_name(name: str) -> bool:
    return name.isidentifier() and name.islower()
