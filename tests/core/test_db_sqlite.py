"""What breaks below a file is told in one clear line, and loses nothing that was kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from core.db_rows import CREATE, add, rows

from torchkeep.core import db
from torchkeep.core.errors import Foreign, Internal, UsageError


@pytest.fixture
def keep(start, tmp_path: Path) -> Path:
    """A SQLite database with one row."""
    path = tmp_path / "keep.db"
    with start(path) as database:
        add(database, 1)
    return path


def fill(database: db.Database, size: int) -> None:
    with database.write() as tx:
        for _ in range(0, size, 4096):
            tx.execute("INSERT INTO t (n, filler) VALUES (2, ?)", (b"x" * 4096,))


def look(start, path: Path) -> None:
    with start(path) as database:
        rows(database)


def test_the_file_is_its_owners_alone(keep):
    assert keep.stat().st_mode & 0o777 == 0o600


def test_settings_that_the_guarantees_rest_on(start, keep):
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0}
    with start(keep) as database:
        connection = database._pool._connect()
        held = {name: connection.column(f"PRAGMA {name}") for name in wanted}
        connection.close()
    assert held == wanted


def test_any_path_is_a_path(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("keep.db?mode=memory", "100%41#.db", ":memory:", "-v", "数据.db", "a b"):
        with start(name) as database:
            add(database, 1)
        assert (tmp_path / name).read_bytes().startswith(b"SQLite format 3\0")


def test_a_relative_path_stays_what_it_was(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with start("keep.db") as database:
        monkeypatch.chdir("elsewhere")
        add(database, 1)
    assert not (tmp_path / "elsewhere" / "keep.db").exists()


WRONG_PATHS = [
    ("nowhere/keep.db", UsageError, "folder does not exist"),
    (".", UsageError, "is a folder"),
    ("", UsageError, "is empty"),
    ("a\0b", UsageError, "NUL"),
    ("x" * 300, Internal, "cannot be created"),
    ("\x1b[31m/keep.db", UsageError, r"\\x1b\[31m"),
]


@pytest.mark.parametrize(("path", "error", "said"), WRONG_PATHS)
def test_a_wrong_path(start, tmp_path, monkeypatch, path, error, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        start(path)


def test_a_file_that_is_no_database(start, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, " * 100)
    with pytest.raises(Foreign, match="not a SQLite database"):
        start(path)
    assert path.read_text() == "these are notes, " * 100


def test_the_database_of_another_program(start, tmp_path):
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE visits (url)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(Foreign, match="another program"):
        start(path)
    assert path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.db", "migrations"]


def test_a_damaged_file(start, keep):
    with start(keep) as database:
        fill(database, 100_000)
    size = keep.stat().st_size
    with open(keep, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(Foreign, match=r"keep\.db is damaged.*restore it"):
        look(start, keep)


def test_a_file_cut_short(start, keep):
    os.truncate(keep, 4096)
    with pytest.raises(Foreign, match="damaged"):
        look(start, keep)


def test_a_full_disk_keeps_nothing_of_the_block(start, keep, monkeypatch):
    real = sqlite3.connect

    def small(*args, **kwargs):
        connection = real(*args, **kwargs)
        connection.execute("PRAGMA max_page_count = 20")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    with start(keep) as database:
        with pytest.raises(Internal, match="disk is full"):
            fill(database, 400_000)
        assert rows(database) == [1]
        add(database, 2)
        assert rows(database) == [1, 2]


READ_ONLY = """
import sys
from pathlib import Path
from torchkeep.core import db
from torchkeep.core.errors import Internal

with db.open(sys.argv[1], room="test", migrations=Path(sys.argv[2])) as database:
    with database.read() as tx:
        assert tx.one("SELECT n FROM t") == {"n": 1}
    try:
        with database.write() as tx:
            tx.execute("INSERT INTO t (n) VALUES (2)")
    except Internal as error:
        print(error)
"""


def test_a_file_that_may_not_be_written(keep, migrations):
    keep.chmod(0o400)
    # Root writes where it may not; without these two powers it is told so like anyone else.
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if os.getuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may write every file, and there is no setpriv to run as less")
    prefix = powerless if os.getuid() == 0 else []
    done = subprocess.run(
        [*prefix, sys.executable, "-c", READ_ONLY, keep, migrations(CREATE)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "keep.db cannot be written; check who may write it" in done.stdout


def test_opening_it_again_in_this_process_keeps_its_locks(start, keep):
    """Closing any descriptor of the file would drop them, and strangers could remove the log."""
    intrude = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])"
    command = [sys.executable, "-c", intrude, keep, "PRAGMA journal_mode = DELETE"]
    with start(keep) as database:
        add(database, 2)
        start(keep).close()
        done = subprocess.run(command, capture_output=True, text=True)
        assert "database is locked" in done.stderr
    subprocess.run(command, check=True)  # the intruder can do it, but for the locks


@contextmanager
def stranger(path: Path, *statements: str) -> Iterator[None]:
    """Another program, which holds the file for longer than SQLite waits by itself."""
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in statements:
        raw.execute(statement)
    timer = threading.Timer(0.5, raw.close)
    timer.start()
    yield
    timer.join()


HOLDS = [
    ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE"),  # not even its settings can be read
    ("PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE"),
    ("PRAGMA journal_mode = DELETE", "BEGIN", "INSERT INTO t (n) VALUES (2)"),
    ("PRAGMA journal_mode = DELETE", "BEGIN", "SELECT * FROM t"),
]


@pytest.mark.parametrize("statements", HOLDS)
def test_opening_waits_for_a_stranger_who_holds_the_file(start, keep, statements):
    with stranger(keep, *statements), start(keep) as database:
        assert rows(database) == [1]


def test_a_file_that_was_replaced_is_opened_anew(start, keep, tmp_path):
    with start(tmp_path / "restored.db") as other:
        add(other, 7)
    with start(keep) as database:
        assert rows(database) == [1]
        os.replace(tmp_path / "restored.db", keep)  # a restore from a backup
        assert rows(database) == [7]
        add(database, 8)
    with start(keep) as database:
        assert rows(database) == [7, 8]


def test_a_file_that_was_removed_is_not_made_anew(start, keep):
    with start(keep) as database:
        assert rows(database) == [1]
        for path in keep.parent.glob("keep.db*"):
            path.unlink()
        with pytest.raises(Internal, match="check that it is there"):
            add(database, 2)
        assert not keep.exists()


@pytest.mark.parametrize("room", ["", "Budget", "a-b", "a b", "1a"])
def test_a_room_is_a_word(tmp_path, room):
    with pytest.raises(UsageError, match="word in lower case"):
        db.open(tmp_path / "keep.db", room=room, migrations=tmp_path)
