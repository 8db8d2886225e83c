"""Migrations: applied once, in order, whole, and never from a file that has changed."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest

from torchkeep.core import db
from torchkeep.core.errors import Internal, Refused, TorchkeepError

FIRST = "CREATE TABLE t (id {id}, n {int} NOT NULL, note {text}); -- one; two\n"
SECOND = """
INSERT INTO t (n, note) VALUES (1, 'a;b');
INSERT INTO t (n, note) VALUES (2, '-- not a comment');
/* a comment; with a semicolon */
CREATE UNIQUE INDEX t_n ON t (n);
CREATE VIEW doubled AS SELECT 2 * n AS n FROM t;
"""
THIRD = "ALTER TABLE t ADD COLUMN extra {real}; UPDATE t SET extra = n; DROP VIEW doubled"


@pytest.fixture
def opened(db_location):
    """Opens the test's database with a folder of migrations and gives its numbers of applied."""

    def open_(folder: Path, room: str = "test") -> list[int]:
        with db.open(db_location, room=room, migrations=folder, timeout=5) as database:
            return numbers(database, room)

    return open_


def numbers(database: db.Database, room: str = "test") -> list[int]:
    sql = "SELECT number FROM torchkeep_migrations WHERE room = ? ORDER BY number"
    with database.read() as tx:
        return [row["number"] for row in tx.query(sql, (room,))]


def test_pending_files_are_applied_in_order_and_once(opened, migrations, db_location):
    assert opened(migrations(FIRST)) == [1]
    assert opened(migrations(FIRST, SECOND)) == [1, 2]
    folder = migrations(FIRST, SECOND, THIRD)
    assert opened(folder) == opened(folder) == [1, 2, 3]
    with db.open(db_location, room="test", migrations=folder) as database, database.read() as tx:
        assert tx.query("SELECT n, note, extra FROM t ORDER BY id") == [
            {"n": 1, "note": "a;b", "extra": 1.0},
            {"n": 2, "note": "-- not a comment", "extra": 2.0},
        ]
        row = tx.one("SELECT * FROM torchkeep_migrations WHERE number = 2")
    assert row["sha256"] == hashlib.sha256(SECOND.encode()).hexdigest()
    assert row["name"] == "0002_step.sql"
    assert 0 <= time.time_ns() // 1000 - row["applied_at"] < 60_000_000


def test_each_room_has_its_own_numbers(opened, migrations):
    assert opened(migrations(FIRST, SECOND)) == [1, 2]
    other = migrations("CREATE TABLE u (id {id});", folder="other")
    assert opened(other, room="other") == [1]
    assert opened(migrations(folder="none"), room="none") == []


def test_only_numbered_sql_is_read(opened, migrations):
    folder = migrations(FIRST)
    (folder / "__init__.py").write_text("")
    (folder / "0002_step.sql~").write_text("an editor's backup")
    assert opened(folder) == [1]


def test_a_changed_file_is_refused_and_nothing_more_is_applied(opened, migrations):
    opened(migrations(FIRST))
    changed = migrations(FIRST + " ", SECOND)
    with pytest.raises(
        Refused, match=r"room test: migration 0001_step.sql is not the file"
    ) as told:
        opened(changed)
    assert "put the applied file back" in told.value.next
    assert opened(migrations(FIRST, SECOND)) == [1, 2]


def test_a_database_newer_than_the_code_is_refused(opened, migrations):
    opened(migrations(FIRST, SECOND))
    with pytest.raises(Refused, match=r"newer torchkeep.* 0002_step.sql .* knows 1"):
        opened(migrations(FIRST, folder="old"))
    assert opened(migrations(FIRST, SECOND)) == [1, 2]


def test_a_missing_row_is_refused(opened, migrations, db_location):
    folder = migrations(FIRST, SECOND)
    with db.open(db_location, room="test", migrations=folder) as database, database.write() as tx:
        tx.execute("DELETE FROM torchkeep_migrations WHERE number = 1")
    with pytest.raises(Refused, match="migration 1 is not recorded"):
        opened(folder)


MISNUMBERED = [
    (["0002_b.sql"], "0002_b.sql stands where 0001"),
    (["0001_a.sql", "0003_c.sql"], "0003_c.sql stands where 0002"),
    (["0001_a.sql", "0001_b.sql"], "0001_b.sql stands where 0002"),
    (["1_a.sql"], "1_a.sql stands where 0001"),
    (["0001_a.sql", "0002_\u202eb.sql"], r"0002_\\u202eb.sql stands where 0002"),
    (["0001_A.sql"], "0001_A.sql"),
]


@pytest.mark.parametrize(("files", "said"), MISNUMBERED)
def test_a_gap_a_repetition_or_a_strange_name_is_refused(tmp_path, files, said):
    for name in files:
        (tmp_path / name).write_text("")
    location = tmp_path / "keep.db"
    with pytest.raises(Internal, match=said):
        db.open(location, room="test", migrations=tmp_path)
    assert not location.exists()


BROKEN = [
    (b"CREATE TABLE u (n {int}); CREATE TABLE v (", ""),
    (b"CREATE TABLE u (n {int}); INSERT INTO nowhere (n) VALUES (1);", ""),
    (b"CREATE TABLE u (n {int}); INSERT INTO t (n) VALUES (NULL);", ""),
    (b"CREATE TABLE u (n {int}); INSERT INTO t (note) VALUES ('no end);", "no end"),
    (b"CREATE TABLE u (n INTEGER);", "INTEGER"),
    (b"CREATE TABLE u (n {number});", "{number}"),
    (b"CREATE TABLE u (n {int}); COMMIT; SELECT 1;", "COMMIT"),
    (b"CREATE TABLE u (n {int}); PRAGMA foreign_keys = OFF;", "PRAGMA"),
    (b"CREATE TABLE u (n {int}); INSERT INTO u (n) VALUES (?);", "INSERT INTO U"),
    (b"CREATE TABLE u (n {int}); ATTACH DATABASE 'x' AS y;", "ATTACH"),
    (b"CREATE TABLE u (n {int}); -- \xff", "UTF-8"),
    (
        b"CREATE TABLE u (n {int});"
        b"CREATE TRIGGER r AFTER INSERT ON u BEGIN DELETE FROM t; DELETE FROM u; END;",
        "CREATE TRIGGER",
    ),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_file_that_fails_is_named_and_leaves_nothing(opened, migrations, text, said):
    folder = migrations(FIRST, SECOND)
    (folder / "0003_broken.sql").write_bytes(text)
    with pytest.raises(Internal, match=r"0003_broken\.sql") as told:
        opened(folder)
    assert said in str(told.value)
    # The table u of the failed file is not there, so that a mended file can make it.
    (folder / "0003_broken.sql").write_text("CREATE TABLE u (n {int});")
    assert opened(folder) == [1, 2, 3]


def test_files_come_from_a_package_too(opened, migrations, tmp_path):
    import zipfile

    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("migrations/0001_step.sql", FIRST)
    with zipfile.ZipFile(archive) as reader:
        assert opened(zipfile.Path(reader, "migrations/")) == [1]


def test_opening_a_migrated_database_waits_for_no_writer(db_location, migrations):
    folder = migrations(FIRST)
    with db.open(db_location, room="test", migrations=folder) as database, database.write():
        db.open(db_location, room="test", migrations=folder, timeout=0.2).close()


def test_a_migration_waits_for_a_writer(db_location, migrations):
    folder = migrations(FIRST)
    told: list[TorchkeepError | list[int]] = []

    def upgrade(timeout: float) -> None:
        newer = migrations(FIRST, SECOND, folder="newer")
        try:
            with db.open(db_location, room="test", migrations=newer, timeout=timeout) as other:
                told.append(numbers(other))
        except TorchkeepError as error:
            told.append(error)

    with db.open(db_location, room="test", migrations=folder) as database:
        with database.write():
            thread = threading.Thread(target=upgrade, args=(0.1,))
            thread.start()
            thread.join()
            thread = threading.Thread(target=upgrade, args=(20,))
            thread.start()
            thread.join(0.1)
            assert thread.is_alive()
        thread.join()
    assert "is busy" in str(told[0])
    assert told[1] == [1, 2]
