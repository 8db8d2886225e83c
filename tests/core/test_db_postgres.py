"""What breaks at a server is told in one clear line without secrets, and loses nothing kept."""

from __future__ import annotations

import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest
from core.db_rows import ADD, add, rows
from servers.postgres import Server

from torchkeep.core import db
from torchkeep.core.errors import Incomplete, MissingExtra, UsageError


def test_settings_that_the_guarantees_rest_on_with_a_server(start, postgres_url):
    with start(f"{postgres_url}?options=-csynchronous_commit%3Doff") as database:
        connection = database._pool._connect()
        connection.begin(write=True)
        names = ("synchronous_commit", "transaction_isolation", "TimeZone", "client_encoding")
        values = [connection.column(f"SHOW {name}") for name in names]
        connection.close()
    assert values == ["on", "repeatable read", "UTC", "UTF8"]


WRONG_URLS = [
    "postgresql://keeper:hunter2@127.0.0.1:1/test",
    "postgresql://keeper:hunter2@no.such.host.invalid/test",
    "postgresql://127.0.0.1:1/test?user=keeper&password=hunter2",
    "postgresql://keeper:hunter2/x@127.0.0.1/test",
    "postgresql://keeper:hunter2?x@127.0.0.1/test",
    "postgresql://keeper:hunter2#x@127.0.0.1/test",
    "postgresql://keeper:x@hunter2@127.0.0.1/test",
    "postgresql://keeper:hunter2@127.0.0.1:port/test",
    "postgresql://keeper:hunter2%zz@127.0.0.1/test",
    "postgresql://keeper:hunter2@127.0.0.1/test?pasword=hunter2",
    "postgresql://keeper:hunter2@[::1/test",
    "postgresql://keeper:hunter2 @127.0.0.1/test",
    "mysql://keeper:hunter2@127.0.0.1/test",
    "PostgreSQL://keeper:hunter2@127.0.0.1/test",
    Path("postgresql://keeper:hunter2@127.0.0.1/test"),
    Path("postgres://keeper:hunter2@127.0.0.1/test"),
]


@pytest.mark.parametrize("url", WRONG_URLS, ids=str)
def test_a_wrong_url_is_told_without_its_secret(start, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, Incomplete)) as caught:
        start(url)
    told = [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
    assert not [text for text in told if "hunter2" in text]
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["migrations"]


def test_a_wrong_password(start, postgres: Server, postgres_url):
    wrong = "hunter2"
    with pytest.raises(UsageError, match="refused the connection") as caught:
        start(postgres_url.replace(postgres.password, wrong))
    assert wrong not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(UsageError, match="check the user"):
        start(postgres_url.replace(f":{postgres.password}", ""))


def test_a_database_that_is_not_there(start, postgres: Server):
    with pytest.raises(UsageError, match='"nowhere" does not exist'):
        start(postgres.url("nowhere"))


def test_no_name_shows_the_password(start, postgres: Server, postgres_url):
    with start(postgres_url) as database:
        assert database.name == postgres_url.replace(f":{postgres.password}", "")
        assert postgres.password not in repr(database)


def test_a_socket_is_a_place_too(start, postgres: Server, postgres_url):
    name = postgres_url.rpartition("/")[2]
    url = f"postgresql://keeper:{postgres.password}@/{name}"
    with start(f"{url}?host={postgres.folder}&port={postgres.port}") as database:
        add(database, 1)
        assert database.name.endswith(f"@{postgres.folder}:{postgres.port}/{name}")


def test_a_database_in_another_encoding(start, postgres: Server):
    with postgres.admin() as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
        with pytest.raises(UsageError, match="UTF-8"):
            start(postgres.url("latin"))
        admin.execute("DROP DATABASE latin WITH (FORCE)")


def test_text_sorts_by_code_point_wherever_the_server_stands(migrations, postgres: Server):
    folder = migrations("CREATE TABLE words (word {text} NOT NULL);")
    with postgres.admin() as admin:
        if admin.info.server_version < 150000:
            pytest.skip("this PostgreSQL has no database-wide ICU locales")
        admin.execute(
            "CREATE DATABASE english TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        )
        with (
            db.open(postgres.url("english"), room="test", migrations=folder) as database,
            database.write() as tx,
        ):
            tx.execute("INSERT INTO words (word) VALUES ('a'), ('Z'), ('ä'), ('z')")
            words = tx.query("SELECT word FROM words ORDER BY word")
        admin.execute("DROP DATABASE english WITH (FORCE)")
    assert [row["word"] for row in words] == ["Z", "a", "z", "ä"]


def test_the_first_two_to_open_wait_for_one_another(start, postgres: Server, postgres_url):
    """CREATE TABLE IF NOT EXISTS alone fails where another is just creating the same table."""
    from torchkeep.core.db.postgres import _CREATE, _FIRST_LOCK

    with postgres.admin(postgres_url.rpartition("/")[2]) as first:
        first.execute(f"BEGIN {_FIRST_LOCK}; {_CREATE}")
        end = threading.Timer(0.3, first.execute, args=("COMMIT",))
        end.start()
        with start(postgres_url) as database:
            assert rows(database) == []
        end.join()


def test_a_role_without_rights(start, postgres: Server, postgres_url):
    start(postgres_url).close()
    with postgres.admin(postgres_url.rpartition("/")[2]) as admin:
        admin.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
        admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO weak")
        try:
            weak = postgres_url.replace(f"keeper:{postgres.password}", "weak:weak")
            with start(weak) as database:
                assert rows(database) == []
                with pytest.raises(UsageError, match="grant it"):
                    add(database, 1)
        finally:
            admin.execute("DROP OWNED BY weak")
            admin.execute("DROP ROLE weak")


def test_a_server_that_restarts_between_two_blocks(start, postgres: Server, postgres_url):
    with start(postgres_url) as database:
        add(database, 1)
        postgres.stop()
        with pytest.raises(Incomplete, match="was not reached"):
            add(database, 2)
        postgres.start()
        add(database, 3)
        postgres.stop()
        postgres.start()
        add(database, 4)  # on a connection that broke while it waited
        assert rows(database) == [1, 3, 4]


def terminate(postgres: Server, url: str) -> None:
    with postgres.admin() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (url.rpartition("/")[2],),
        )


def test_a_connection_that_dies_in_a_block(start, postgres: Server, postgres_url):
    def die(*after: int) -> None:
        with database.write() as tx:
            tx.execute(ADD, (1,))
            terminate(postgres, postgres_url)
            for number in after:
                tx.execute(ADD, (number,))

    with start(postgres_url) as database:
        with pytest.raises(Incomplete, match=r"was lost, and nothing of the block") as caught:
            die(2)
        assert not isinstance(caught.value, db.Uncertain)
        with pytest.raises(db.Uncertain, match="may be kept, or not"):
            die()
        assert rows(database) == []
        add(database, 3)
        assert rows(database) == [3]


def test_a_connection_that_dies_while_committing(start, postgres: Server, postgres_url):
    with start(postgres_url) as database:
        with postgres.admin(postgres_url.rpartition("/")[2]) as admin:
            admin.execute(
                "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
            )
            admin.execute(
                "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION die()"
            )
        with pytest.raises(db.Uncertain) as caught:
            add(database, 1)
        assert caught.value.exit_code == 3
        assert rows(database) == []


def test_a_stranger_who_changes_the_same_row_is_not_overwritten(
    start, postgres: Server, postgres_url
):
    def lose() -> None:
        with database.write() as tx:
            total = tx.one("SELECT sum(n) AS total FROM t")["total"]
            with postgres.admin(postgres_url.rpartition("/")[2]) as admin:
                admin.execute("UPDATE t SET n = 100")  # takes no lock of torchkeep's
            tx.execute("UPDATE t SET n = ?", (total + 1,))

    with start(postgres_url) as database:
        add(database, 1)
        with pytest.raises(Incomplete, match="try again"):
            lose()
        assert rows(database) == [100]


def test_postgres_without_its_driver(start, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "torchkeep.core.db.postgres", raising=False)
    with pytest.raises(MissingExtra, match=r"torchkeep\[postgres\]"):
        start("postgresql://127.0.0.1/test")


def test_the_driver_is_imported_only_when_needed():
    check = "import sys, torchkeep.core.db; sys.exit('psycopg' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
