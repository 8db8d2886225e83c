"""What both engines do alike: every test here runs on each."""

from __future__ import annotations

import threading

import pytest

from torchkeep.core import db
from torchkeep.core.errors import Incomplete, Refused, UsageError

INSERT = "INSERT INTO things (name, stock) VALUES (?, ?)"


def change(
    database: db.Database, *statements: str, then: type[BaseException] | None = None
) -> None:
    """Run changes in one block, which then fails with ``then``."""
    with database.write() as tx:
        for statement in statements:
            tx.execute(statement)
        if then is not None:
            raise then


def names(database: db.Database) -> list[str]:
    with database.read() as tx:
        return [row["name"] for row in tx.query("SELECT name FROM things ORDER BY id")]


def test_ids_grow_and_returning_gives_them(database):
    with database.write() as tx:
        sql = "INSERT INTO things (name) VALUES (?) RETURNING id"
        ids = [tx.query(sql, (name,))[0]["id"] for name in "abc"]
        assert tx.execute("DELETE FROM things WHERE name = ?", ("c",)) == 1
        ids += [tx.query(sql, ("d",))[0]["id"]]
    assert ids == sorted(set(ids))  # the id of a deleted row is not given again


def test_execute_counts_rows(database):
    with database.write() as tx:
        assert tx.execute("INSERT INTO things (name) VALUES (?), (?)", ("a", "b")) == 2
        assert tx.execute("INSERT INTO things (name) VALUES ('a') ON CONFLICT DO NOTHING") == 0
        assert tx.execute("UPDATE things SET stock = 1") == 2
        assert tx.execute("UPDATE things SET stock = 1 RETURNING id") == 2
        assert tx.execute("DELETE FROM things WHERE name = 'z'") == 0


def test_one_gives_a_row_or_none_and_no_more(database):
    with database.write() as tx:
        assert tx.one("SELECT name FROM things") is None
        tx.execute(INSERT, ("a", 1))
        assert tx.one("SELECT name, stock FROM things") == {"name": "a", "stock": 1}
        tx.execute(INSERT, ("b", 1))
        with pytest.raises(UsageError, match="2 rows"):
            tx.one("SELECT name FROM things")


@pytest.mark.parametrize(
    "sql", ["SELECT 1 + 1", "SELECT 1 AS n, 2 AS n", 'SELECT 1 AS "N"', 'SELECT 1 AS "a b"']
)
def test_columns_without_a_name_of_their_own_are_refused(database, sql):
    with pytest.raises(UsageError, match="AS n"), database.read() as tx:
        tx.query(sql)


NOT_FOR_EXECUTE = ["SELECT 1", "CREATE TABLE t (a {int})", "COMMIT", "PRAGMA synchronous = OFF", ""]


@pytest.mark.parametrize("sql", [*NOT_FOR_EXECUTE, "DELETE FROM things; DELETE FROM things", "?"])
def test_execute_takes_one_change(database, sql):
    with database.write() as tx:
        tx.execute(INSERT, ("a", 0))
        with pytest.raises(UsageError):
            tx.execute(sql)
    assert names(database) == ["a"]


@pytest.mark.parametrize("sql", ["DELETE FROM things", "COMMIT", "ATTACH 'x' AS y", "BEGIN"])
def test_query_takes_one_question(database, sql):
    with database.write() as tx, pytest.raises(UsageError):
        tx.query(sql)


@pytest.mark.parametrize("params", [(), (1, 2, 3), "ab"])
def test_parameters_are_counted(database, params):
    with pytest.raises(UsageError, match=r"placeholders|one string"), database.write() as tx:
        tx.execute(INSERT, params)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM things",
        "INSERT INTO things (name) VALUES ('b') RETURNING id",
        "WITH gone AS (SELECT 1 AS n) DELETE FROM things",
    ],
)
def test_a_block_that_reads_writes_nothing(database, sql):
    with database.write() as tx:
        tx.execute(INSERT, ("a", 0))
    with pytest.raises(UsageError), database.read() as tx:
        (tx.execute if sql.startswith("DELETE") else tx.query)(sql)
    assert names(database) == ["a"]


CONFLICTS = [
    ("unique", "INSERT INTO things (name) VALUES ('a')"),
    ("check", "INSERT INTO things (name, stock) VALUES ('b', -1)"),
    ("not-null", "INSERT INTO things (name) VALUES (NULL)"),
    ("foreign-key", "INSERT INTO things (name, parent) VALUES ('b', 99)"),
    ("foreign-key", "INSERT INTO things (name, later) VALUES ('b', 99)"),  # at COMMIT
]


@pytest.mark.parametrize(("kind", "sql"), CONFLICTS)
def test_a_violated_constraint_is_a_conflict_and_undoes_the_block(database, kind, sql):
    with database.write() as tx:
        tx.execute(INSERT, ("a", 0))
    with pytest.raises(db.Conflict) as caught:
        change(database, "UPDATE things SET stock = 5", sql)
    assert caught.value.kind == kind
    assert isinstance(caught.value, Refused)
    assert "\n" not in str(caught.value)
    assert names(database) == ["a"]
    with database.write() as tx:  # the connection serves again
        assert tx.one("SELECT stock FROM things") == {"stock": 0}


def test_a_conflict_does_not_repeat_values(database):
    with database.write() as tx:
        tx.execute(INSERT, ("hunter2", 0))
    with pytest.raises(db.Conflict) as caught, database.write() as tx:
        tx.execute(INSERT, ("hunter2", 0))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_block_keeps_nothing(database, failure):
    with pytest.raises(failure):
        change(database, "INSERT INTO things (name) VALUES ('a')", then=failure)
    assert names(database) == []


def swallow(database: db.Database) -> None:
    with database.write() as tx:
        tx.execute(INSERT, ("b", 0))
        with pytest.raises(db.Conflict):
            tx.execute(INSERT, ("a", 0))
        for call in (tx.execute, tx.query):
            with pytest.raises(UsageError, match="has failed"):
                call("DELETE FROM things RETURNING name")


def test_an_error_that_is_swallowed_in_the_block_still_undoes_it(database):
    """PostgreSQL would roll back at COMMIT without a word, and SQLite would keep the rest."""
    with database.write() as tx:
        tx.execute(INSERT, ("a", 0))
    with pytest.raises(UsageError, match="has failed"):
        swallow(database)
    assert names(database) == ["a"]


@pytest.mark.parametrize("outer", ["read", "write"])
@pytest.mark.parametrize("inner", ["read", "write"])
def test_blocks_do_not_nest(database, outer, inner):
    with getattr(database, outer)() as tx:
        with pytest.raises(UsageError, match="already"), getattr(database, inner)():
            pass
        assert tx.query("SELECT name FROM things") == []
    with getattr(database, inner)() as tx:
        assert tx.query("SELECT name FROM things") == []


def test_a_transaction_ends_with_its_block(database):
    with database.write() as tx:
        pass
    with pytest.raises(UsageError, match="ended"):
        tx.query("SELECT name FROM things")


def test_a_transaction_belongs_to_its_thread(database):
    caught: list[BaseException] = []

    def use(tx: db.Transaction) -> None:
        try:
            tx.execute(INSERT, ("a", 0))
        except UsageError as error:
            caught.append(error)

    with database.write() as tx:
        thread = threading.Thread(target=use, args=(tx,))
        thread.start()
        thread.join()
    assert "another thread" in str(caught[0])
    assert names(database) == []


def test_a_closed_database_refuses(database):
    database.close()
    database.close()
    with pytest.raises(UsageError, match="was closed"), database.read():
        pass


def test_a_read_block_sees_one_state(database):
    def add() -> None:
        with database.write() as tx:
            tx.execute(INSERT, ("a", 0))

    with database.read() as tx:
        assert tx.query("SELECT name FROM things") == []
        thread = threading.Thread(target=add)
        thread.start()
        thread.join()
        assert tx.query("SELECT name FROM things") == []
    assert names(database) == ["a"]


def test_a_write_block_sees_what_was_written_while_it_waited(database):
    """A lock that is taken by a query comes after that query's snapshot: this would see none."""
    seen: list[list[db.Row]] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        with database.write() as tx:
            seen.append(tx.query("SELECT name FROM things"))

    thread = threading.Thread(target=wait)
    with database.write() as tx:
        thread.start()
        waiting.wait()
        thread.join(0.4)  # longer than SQLite waits by itself
        assert thread.is_alive()
        tx.execute(INSERT, ("a", 0))
    thread.join()
    assert seen == [[{"name": "a"}]]


def test_threads_share_a_database(database):
    with database.write() as tx:
        tx.execute(INSERT, ("a", 0))

    def add() -> None:
        for _ in range(15):
            with database.write() as tx:
                stock = tx.one("SELECT stock FROM things")["stock"]
                tx.execute("UPDATE things SET stock = ?", (stock + 1,))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as tx:
        assert tx.one("SELECT stock FROM things") == {"stock": 120}
    assert len(database._pool._waiting) <= 4


def test_a_writer_that_does_not_end_is_given_up_on(database, db_location, migrations):
    with (
        db.open(db_location, room="test", migrations=migrations(), timeout=0.1) as other,
        database.write(),
    ):
        caught = []

        def write() -> None:
            try:
                with other.write():
                    pass
            except Incomplete as error:
                caught.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert "is busy" in str(caught[0])


def test_rooms_share_a_database(database, db_location, migrations):
    folder = migrations("CREATE TABLE others (n {int});", folder="other")
    with db.open(db_location, room="other", migrations=folder) as other:
        with pytest.raises(UsageError, match="already"), database.write(), other.write():
            pass
        with other.write() as tx:
            tx.execute("INSERT INTO others (n) VALUES (1)")
    assert names(database) == []
