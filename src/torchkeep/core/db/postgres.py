"""A database on a PostgreSQL server (12 or newer), by psycopg 3 (the extra ``postgres``).

A block that writes first locks the table of migrations, which keeps out every other writer of
torchkeep's, and only then takes its snapshot. Locking by a query would not do: the query itself
takes the snapshot, so that the block would wait for its turn and then check what was true before.
With this no two writers are ever concurrent, so nothing fails to serialise and nothing has to be
retried. A stranger who changes the same rows at the same time makes the block fail
(``Incomplete``) instead of being overwritten.

The role needs SELECT, INSERT and UPDATE on the tables, and CREATE on the schema to migrate. A
connection pooler in front of the server may pool by transaction: no setting outlives its block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8Dumper

from torchkeep.core.db.engine import MIGRATIONS, Conflict, Kind, Result, Uncertain
from torchkeep.core.db.sql import Statement
from torchkeep.core.db.values import Value
from torchkeep.core.errors import Incomplete, Internal, TorchkeepError, UsageError
from torchkeep.core.text import visible

# Narrower than what libpq reads. A password with a reserved character in it that is not
# percent-encoded would shift the parts, and a piece of it would be shown as a host or a database.
_URL: Final = re.compile(
    r"postgres(?:ql)?://(?:[^:/?#@\s]*(?::[^/?#@\s]*)?@)?[^/?#@\s]*(?:/[^/?#@\s]*)?(?:\?[^#@\s]*)?"
)

# A dead peer is noticed in a minute instead of two hours.
_DEFAULTS: Final[Mapping[str, str]] = {
    "application_name": "torchkeep",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ {mode}; "
    "SET LOCAL lock_timeout = {milliseconds}; "
    "SET LOCAL synchronous_commit = on; "
    "SET LOCAL standard_conforming_strings = on; "
    "SET LOCAL TimeZone = 'UTC'"
)
_LOCK: Final = f"; LOCK TABLE {MIGRATIONS} IN SHARE ROW EXCLUSIVE MODE"
# A lock for the moment in which there is no table to lock yet; the number is "torchkee".
_FIRST_LOCK: Final = f"; SELECT pg_advisory_xact_lock({0x746F7263686B6565})"

_CONFLICTS: Final[Mapping[str, Kind]] = {
    "23505": "unique",
    "23503": "foreign-key",
    "23001": "foreign-key",
    "23514": "check",
    "23502": "not-null",
}

# The server ends the connection: it stops, crashes, starts, or finds a block idle for too long.
_LOST: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})

_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "id": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "int": "BIGINT",
        "real": "DOUBLE PRECISION",
        "text": 'TEXT COLLATE "C"',
        "bytes": "BYTEA",
    }
)
_CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS {table} (room {text} NOT NULL, number {int} NOT NULL, "
    "name {text} NOT NULL, sha256 {text} NOT NULL, applied_at {int} NOT NULL, "
    "PRIMARY KEY (room, number))"
).format(table=MIGRATIONS, **_TYPES)


class Postgres:
    """The engine of one database on a server.

    Args:
        url: ``postgresql://user:password@host:port/database``, as libpq reads it.
        timeout: Seconds to wait for the server, and for another writer.
    """

    types = _TYPES
    table_suffix = ""

    def __init__(self, url: str, timeout: float) -> None:
        self._timeout = timeout
        parts = _parts(url)
        wait = str(max(2, math.ceil(timeout)))
        self._conninfo = make_conninfo(
            **{**_DEFAULTS, "connect_timeout": wait, **parts, "client_encoding": "UTF8"}
        )
        self.name = _shown(parts)

    def connect(self) -> PostgresConnection:
        """A new connection to the server."""
        return PostgresConnection(self._conninfo, self.name, self._timeout)


class PostgresConnection:
    """One connection to the server."""

    def __init__(self, conninfo: str, name: str, timeout: float) -> None:
        self._name = name
        self._milliseconds = max(1, round(timeout * 1000))
        try:
            self._raw = psycopg.connect(
                conninfo,
                autocommit=True,  # BEGIN and COMMIT are written out, as with SQLite
                prepare_threshold=None,  # a prepared SELECT would not survive another's migration
                cursor_factory=psycopg.RawCursor,
            )
        except psycopg.Error as error:
            raise _not_connected(name, error) from error
        self._raw.adapters.register_dumper(int, Int8Dumper)  # arithmetic in 64 bits, as SQLite's
        self._raw.adapters.register_loader("numeric", _NumberLoader)
        self._raw.adapters.register_loader("bool", _BoolLoader)

    def prepare(self) -> None:
        """See that text is kept as UTF-8; make the table of migrations."""
        if self.column("SHOW server_encoding") != "UTF8":
            raise UsageError(
                f"{self._name} does not keep text as UTF-8",
                next="create the database with ENCODING 'UTF8'",
            )
        if self.column(f"SELECT to_regclass('{MIGRATIONS}')::text") is not None:
            return
        self.begin(write=True, lock=_FIRST_LOCK)
        try:
            self.column(_CREATE)
            self.commit()
        finally:
            self.rollback()

    def usable(self) -> bool:
        """Whether the connection has not been seen to break."""
        return not self._raw.closed

    def begin(self, *, write: bool, lock: str = _LOCK) -> None:
        """Start a transaction; for reading, its state is that of its first statement."""
        mode = "READ WRITE" if write else "READ ONLY"
        sql = _BEGIN.format(mode=mode, milliseconds=self._milliseconds)
        try:
            self.column(sql + lock if write else sql)
        except BaseException:
            self.rollback()
            raise

    def run(self, statement: Statement, values: tuple[Value, ...] = ()) -> Result:
        """Run one statement."""
        with (
            _translated(self._name),
            self._raw.execute(statement.numbered.encode(), values) as cursor,
        ):
            if cursor.description is None:
                return Result((), [], cursor.rowcount)
            columns = tuple(column.name for column in cursor.description)
            return Result(columns, cursor.fetchall(), cursor.rowcount)

    def commit(self) -> None:
        """Keep the transaction, durably."""
        try:
            self.column("COMMIT")
        except Incomplete as error:
            if self.usable():
                raise
            raise Uncertain(
                f"the connection to {self._name} was lost while a block was being committed: "
                "it may be kept, or not",
                next="look before repeating it",
            ) from error

    def rollback(self) -> None:
        """Drop the transaction."""
        if self._raw.info.transaction_status == TransactionStatus.IDLE:
            return
        try:
            self._raw.execute(b"ROLLBACK")
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def column(self, sql: str) -> object:
        """The first value of what PostgreSQL's own words give; None where they give no rows."""
        with _translated(self._name), self._raw.execute(sql.encode()) as cursor:
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None


class _NumberLoader(Loader):
    """SUM and AVG of integers, as SQLite gives them: an int and a float."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


class _BoolLoader(Loader):
    """Truth as SQLite gives it: 1 and 0."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data) == b"t")


def _parts(url: str) -> dict[str, str]:
    try:
        if _URL.fullmatch(url):
            return {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except psycopg.Error:
        pass  # its message, and its place in a traceback, may repeat a piece of a password
    raise UsageError(
        "the PostgreSQL URL is not of the form postgresql://user:password@host:port/database",
        next="write the characters / ? # @ : % in a user name or password as %2F %3F %23 %40 %3A "
        "%25",
    )


def _shown(parts: Mapping[str, str]) -> str:
    user = f"{parts['user']}@" if "user" in parts else ""
    port = f":{parts['port']}" if "port" in parts else ""
    place = f"{user}{parts.get('host', '')}{port}/{parts.get('dbname', '')}"
    return f"postgresql://{visible(place)}"


def _not_connected(name: str, error: psycopg.Error) -> TorchkeepError:
    said = visible(" ".join(str(error).split()))
    if error.pgconn and (error.pgconn.used_password or error.pgconn.needs_password):
        return UsageError(
            f"{name} refused the connection: {said}",
            next="check the user, the password and the database's name",
        )
    return Incomplete(
        f"{name} was not reached: {said}", next="check that the server runs, then try again"
    )


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _error(name, error) from error


def _error(name: str, error: psycopg.Error) -> TorchkeepError:
    state = error.sqlstate or ""
    lost = not state and isinstance(error, psycopg.OperationalError)  # no word from the server
    # The primary message alone: the detail below it repeats values out of the row.
    said = visible(error.diag.message_primary or " ".join(str(error).split()))
    if kind := _CONFLICTS.get(state):
        return Conflict(f"{name}: {said}", kind=kind)
    if lost or state.startswith("08") or state in _LOST:
        return Incomplete(
            f"the connection to {name} was lost, and nothing of the block was kept",
            next="try again",
        )
    if state == "55P03":
        return Incomplete(
            f"{name} is busy: another process holds it", next="try again when it is done"
        )
    if state.startswith(("40", "57")) or state == "53300":
        return Incomplete(f"{name}: {said}; nothing was kept", next="try again")
    if state.startswith("22") or state == "42804":
        return UsageError(f"{name}: a value does not fit its column: {said}")
    if state == "42501":
        return UsageError(f"{name}: {said}", next="grant it to this role")
    return Internal(f"{name}: {said}")
