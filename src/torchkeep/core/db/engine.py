"""What the two engines have in common: the little interface that :class:`Database` speaks to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from torchkeep.core.db.sql import Statement
from torchkeep.core.db.values import Value
from torchkeep.core.errors import Incomplete, Refused

MIGRATIONS: Final = "torchkeep_migrations"
"""Table of the migrations that were applied; on PostgreSQL its lock is also the writers' lock."""

Kind = Literal["unique", "foreign-key", "check", "not-null"]


class Conflict(Refused):
    """A write contradicts what the database holds, and was not done.

    Attributes:
        kind: The sort of constraint that was violated.
    """

    code = "conflict"

    def __init__(self, message: str, *, kind: Kind, next: str = "") -> None:
        super().__init__(message, next=next)
        self.kind = kind


class Uncertain(Incomplete):
    """The connection was lost while a block was being committed: it may be kept, or not.

    Whoever must not do a thing twice, or lose it, looks before repeating: a spend carries an id of
    its own, and the next block asks for it.
    """

    code = "uncertain"


@dataclass(frozen=True, slots=True)
class Result:
    """What one statement gave.

    Attributes:
        columns: Names of the columns of ``rows``.
        rows: The rows, all of them.
        changed: How many rows were inserted, changed or deleted.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    changed: int


class Connection(Protocol):
    """One connection, used by one thread at a time. What it raises is in torchkeep's own tree."""

    def prepare(self) -> None:
        """See that the database is one of ours, and make its table of migrations if it has none."""

    def usable(self) -> bool:
        """Whether it still leads to the database, as far as can be known without asking."""

    def begin(self, *, write: bool) -> None:
        """Start a transaction; one that writes waits until no other one does."""

    def run(self, statement: Statement, values: tuple[Value, ...] = ()) -> Result:
        """Run one statement."""

    def commit(self) -> None:
        """Keep the transaction, durably."""

    def rollback(self) -> None:
        """Drop the transaction, where one is open. A connection that cannot is closed."""

    def close(self) -> None:
        """Close the connection; twice does no harm."""


class Engine(Protocol):
    """One database, by its engine."""

    @property
    def name(self) -> str:
        """What messages call it: a path or a URL without its secrets."""

    @property
    def types(self) -> Mapping[str, str]:
        """The engine's word for each type word of a migration."""

    @property
    def table_suffix(self) -> str:
        """What stands behind the closing bracket of ``CREATE TABLE``."""

    def connect(self) -> Connection:
        """A new connection."""


@contextmanager
def block(connection: Connection, *, write: bool) -> Iterator[None]:
    """One transaction: all of it is kept, or nothing."""
    connection.begin(write=write)
    try:
        yield
        if write:
            connection.commit()
    finally:
        connection.rollback()
