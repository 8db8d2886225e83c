"""A database in one file, by the standard library's SQLite.

Settings that the guarantees rest on: write-ahead log with ``synchronous=FULL`` (what was committed
survives a power cut), foreign keys enforced, ``STRICT`` tables where SQLite knows them (3.37), and
explicit ``BEGIN IMMEDIATE``, which lets one writer in at a time.

The file must lie on a disk of this machine. File locks over NFS or SMB are unreliable, and the
write-ahead log needs memory that all its processes share; several machines need PostgreSQL.
Whoever puts another file in its place (a restore) also removes ``-wal`` and ``-shm`` beside it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from torchkeep.core.db.engine import MIGRATIONS, Conflict, Kind, Result, block
from torchkeep.core.db.sql import Statement
from torchkeep.core.db.values import Value
from torchkeep.core.errors import Foreign, Incomplete, Internal, TorchkeepError, UsageError
from torchkeep.core.text import visible

_PATIENCE: Final = 0.25
"""Seconds that SQLite waits by itself; between two waits Ctrl-C is heard."""

_SETTINGS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",  # a file from elsewhere calls nothing through its schema
    "PRAGMA cell_size_check = ON",
)

_CONFLICTS: Final[Mapping[str, Kind]] = {
    "SQLITE_CONSTRAINT_UNIQUE": "unique",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "unique",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "foreign-key",
    "SQLITE_CONSTRAINT_CHECK": "check",
    "SQLITE_CONSTRAINT_NOTNULL": "not-null",
}


_STRICT: Final = " STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
_CREATE: Final = (
    f"CREATE TABLE {MIGRATIONS} (room TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, "
    f"sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL, PRIMARY KEY (room, number)){_STRICT}"
)


class Sqlite:
    """The engine of one file.

    Args:
        path: The file; created, for its owner alone, where there is none.
        timeout: Seconds to wait for another writer.
    """

    types: Mapping[str, str] = MappingProxyType(
        {
            "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
            "int": "INTEGER",
            "real": "REAL",
            "text": "TEXT",
            "bytes": "BLOB",
        }
    )
    table_suffix = _STRICT

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = Path(os.path.realpath(path))  # the same, however it is written
        self._timeout = timeout
        self.name = visible(str(self._path))
        if not _is_folder(self._path.parent):
            raise UsageError(
                f"{self.name}: its folder does not exist", next="create the folder first"
            )
        if _is_folder(self._path):
            raise UsageError(f"{self.name} is a folder", next="name a file in it")
        self._create()

    def connect(self) -> SqliteConnection:
        """A new connection to the file, which must be there."""
        return SqliteConnection(self._path, self.name, self._timeout)

    def _create(self) -> None:
        # Only a file that is not there is opened: closing a descriptor on one that is would drop
        # the locks that this process's other connections hold on it.
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise Internal(
                f"{self.name} cannot be created: {error.strerror}",
                next="check that its folder can be written",
            ) from error


class SqliteConnection:
    """One connection to the file."""

    def __init__(self, path: Path, name: str, timeout: float) -> None:
        self._path = path
        self._name = name
        self._timeout = timeout
        with _translated(name):
            self._raw = sqlite3.connect(
                f"{path.as_uri()}?mode=rw",
                uri=True,
                timeout=min(timeout, _PATIENCE),
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            self._file = _identity(path)
            self._patiently(self._settle)
        except BaseException:
            self.close()
            raise

    def prepare(self) -> None:
        """See that the file is not another program's; make the table of migrations."""
        self._patiently(self._prepare)

    def usable(self) -> bool:
        """Whether the path still leads to the file that is open."""
        return self._file is not None and self._file == _identity(self._path)

    def begin(self, *, write: bool) -> None:
        """Start a transaction; for reading, its state is that of its first statement."""
        self._patiently(lambda: self.column("BEGIN IMMEDIATE" if write else "BEGIN"))

    def run(self, statement: Statement, values: tuple[Value, ...] = ()) -> Result:
        """Run one statement."""
        with _translated(self._name), closing(self._raw.execute(statement.text, values)) as cursor:
            rows = cursor.fetchall()
            columns = tuple(column[0] for column in cursor.description or ())
            return Result(columns, rows, cursor.rowcount)

    def commit(self) -> None:
        """Keep the transaction, durably."""
        self.column("COMMIT")

    def rollback(self) -> None:
        """Drop the transaction."""
        try:
            if self._raw.in_transaction:  # a full disk has already rolled it back
                self._raw.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._file = None
        self._raw.close()

    def column(self, sql: str) -> object:
        """The first value of a statement in SQLite's own words; None where it gives no rows."""
        with _translated(self._name), closing(self._raw.execute(sql)) as cursor:
            row = cursor.fetchone()
            return row[0] if row else None

    def _settle(self) -> None:
        for setting in _SETTINGS:
            self.column(setting)

    def _prepare(self) -> None:
        if self.column("PRAGMA journal_mode") == "wal" and self._is_ours():
            return
        with block(self, write=True):
            if not self._is_ours():
                self.column(_CREATE)
        if self.column("PRAGMA journal_mode = WAL") != "wal":
            raise Internal(
                f"{self._name}: its file system cannot share memory between processes",
                next="put the database on a local disk, or use PostgreSQL",
            )

    def _is_ours(self) -> bool:
        if self.column(f"SELECT 1 FROM sqlite_master WHERE name = '{MIGRATIONS}'"):  # noqa: S608
            return True
        if self.column("SELECT 1 FROM sqlite_master"):
            raise Foreign(
                f"{self._name} is the database of another program",
                next="name a file of torchkeep's own",
            )
        return False

    def _patiently(self, action: Callable[[], object]) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                action()
            except Incomplete:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.005)  # some kinds of busy are told at once, without SQLite's own wait
            else:
                return


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises where it may not look)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _error(name, error) from error


def _error(name: str, error: sqlite3.Error) -> TorchkeepError:
    code = getattr(error, "sqlite_errorcode", 0)  # an error of the driver itself has none
    said = visible(str(error))
    if kind := _CONFLICTS.get(getattr(error, "sqlite_errorname", "")):
        return Conflict(f"{name}: {said}", kind=kind)
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return Incomplete(
                f"{name} is busy: another process holds it", next="try again when it is done"
            )
        case sqlite3.SQLITE_NOTADB:
            return Foreign(f"{name} is not a SQLite database", next="name another file")
        case sqlite3.SQLITE_CORRUPT:
            return Foreign(f"{name} is damaged: {said}", next="restore it from a backup")
        case sqlite3.SQLITE_CANTOPEN:
            return Internal(
                f"{name} cannot be opened", next="check that it is there and may be read"
            )
        case sqlite3.SQLITE_READONLY:
            return Internal(f"{name} cannot be written", next="check who may write it")
        case sqlite3.SQLITE_FULL:
            return Internal(f"{name}: the disk is full, nothing was kept", next="make room")
        case sqlite3.SQLITE_CONSTRAINT | sqlite3.SQLITE_MISMATCH | sqlite3.SQLITE_TOOBIG:
            return UsageError(f"{name}: a value does not fit its column: {said}")
    return Internal(f"{name}: {said}")
