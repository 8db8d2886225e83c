"""A table of numbers, for tests that look at what was kept."""

from __future__ import annotations

from torchkeep.core import db

CREATE = "CREATE TABLE t (n {int} NOT NULL, filler {bytes});"
ADD = "INSERT INTO t (n) VALUES (?)"


def add(database: db.Database, *numbers: int) -> None:
    with database.write() as tx:
        for number in numbers:
            tx.execute(ADD, (number,))


def rows(database: db.Database) -> list[int]:
    with database.read() as tx:
        return [row["n"] for row in tx.query("SELECT n FROM t ORDER BY n")]
