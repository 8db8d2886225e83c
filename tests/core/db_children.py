"""What the processes of ``test_db_races.py`` do; each function is the main of one."""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from torchkeep.core import db
from torchkeep.core.errors import Incomplete, UsageError

ROUNDS = 200
SPENT = "SELECT coalesce(sum(cost), 0) AS spent FROM spends WHERE round = ?"
SPEND = "INSERT INTO spends (round, owner, cost) VALUES (?, ?, 1)"
LARGE = "INSERT INTO spends (round, owner, cost, receipt) VALUES (?, ?, 1, ?)"


def spend(
    location: str, folder: Path, fault: str, barrier: Barrier, told: Queue[tuple[list[int], int]]
):
    """In each round two processes see a budget of 1, and each would spend it."""
    kept, refused = [], 0
    with db.open(location, room="test", migrations=folder, timeout=20) as database:
        if fault == "no lock":
            remove_lock()
        for number in range(ROUNDS):
            barrier.wait()
            try:
                if (check_first if fault == "check first" else check_and_spend)(database, number):
                    kept.append(number)
            except Incomplete:
                refused += 1
    told.put((kept, refused))


def check_and_spend(database: db.Database, number: int) -> bool:
    with database.write() as tx:
        if tx.one(SPENT, (number,))["spent"] + 1 > 1:
            return False
        tx.execute(SPEND, (number, os.getpid()))
    return True


def check_first(database: db.Database, number: int) -> bool:
    """The planted fault: what is checked may have changed when it is written."""
    with database.read() as tx:
        if tx.one(SPENT, (number,))["spent"] + 1 > 1:
            return False
    with database.write() as tx:
        tx.execute(SPEND, (number, os.getpid()))
    return True


def remove_lock() -> None:
    """The other planted fault: blocks that write begin as blocks that read."""
    from torchkeep.core.db.postgres import PostgresConnection
    from torchkeep.core.db.sqlite import SqliteConnection

    PostgresConnection.begin = functools.partialmethod(PostgresConnection.begin, lock="")
    begin = SqliteConnection.begin
    SqliteConnection.begin = lambda connection, *, write: begin(connection, write=False)


def write_pairs(location: str, folder: Path, told: Queue[int]) -> None:
    """Write pairs of rows until killed, telling each pair that was kept."""
    with db.open(location, room="test", migrations=folder, timeout=20) as database:
        for number in range(1_000_000):
            with database.write() as tx:
                tx.execute(SPEND, (number, os.getpid()))
                tx.execute(SPEND, (number, os.getpid()))
            told.put(number)


def open_at_once(location: str, folder: Path, barrier: Barrier, told: Queue[str]) -> None:
    barrier.wait()
    try:
        db.open(location, room="test", migrations=folder, timeout=20).close()
        told.put("opened")
    except Exception as error:
        told.put(repr(error))


def fork_between_blocks(location: str, folder: Path) -> None:
    """Parent and children go on with the same Database object at the same time."""
    with db.open(location, room="test", migrations=folder, timeout=20) as database:
        check_and_spend(database, 0)
        children = []
        for child in range(1, 4):
            pid = os.fork()
            if pid == 0:
                spend_all(database, range(child * 20, child * 20 + 20))
                sys.exit(0)  # with all that Python does at its end
            children.append(pid)
        spend_all(database, range(20))
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0


def spend_all(database: db.Database, numbers: range) -> None:
    for number in numbers:
        check_and_spend(database, number)


def fork_in_a_block(location: str, folder: Path) -> None:
    """The child leaves the parent's block and ends; the parent's block is kept none the less."""
    database = db.open(location, room="test", migrations=folder, timeout=20)
    parent = os.getpid()
    with suppress(UsageError), database.write() as tx:  # in the child: another process's block
        write_much(tx)
        if pid := os.fork():
            assert os.waitpid(pid, 0)[1] == 0
            tx.execute(SPEND, (2, os.getpid()))
    if os.getpid() != parent:
        del tx  # the last that leads to the connection, which would be closed
        gc.collect()
        refuses(database, location, folder)
        sys.exit(0)
    check_and_spend(database, 3)
    assert_much_is_kept(database)


def fork_beside_a_block(location: str, folder: Path) -> None:
    """A child of a thread, forked while another thread is in a block."""
    database = db.open(location, room="test", migrations=folder, timeout=20)
    inside, forked = threading.Event(), threading.Event()

    def write() -> None:
        with database.write() as tx:
            write_much(tx)
            inside.set()
            forked.wait(20)

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait(20)
    pid = os.fork()
    if pid == 0:
        refuses(database, location, folder)
        gc.collect()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    forked.set()
    thread.join()
    check_and_spend(database, 2)
    assert_much_is_kept(database)


def write_much(tx: db.Transaction) -> None:
    """More than SQLite keeps in memory, so that its log has some of it before the block ends."""
    for _ in range(8):
        tx.execute(LARGE, (1, os.getpid(), bytes(1 << 20)))


def assert_much_is_kept(database: db.Database) -> None:
    with database.read() as tx:
        assert tx.one("SELECT sum(length(receipt)) AS size FROM spends") == {"size": 8 << 20}
    database.close()


def refuses(database: db.Database, location: str, folder: Path) -> None:
    """Neither the inherited object nor a new one may be used in this process."""
    with pytest.raises(UsageError, match="forked while a transaction"):
        check_and_spend(database, 9)
    with pytest.raises(UsageError, match="forked while a transaction"):
        check_and_spend(db.open(location, room="test", migrations=folder), 9)


def hold(location: str, folder: Path, told: Queue[str]) -> None:
    """Stay in a block that has written, until killed."""
    with (
        db.open(location, room="test", migrations=folder) as database,
        database.write() as tx,
    ):
        tx.execute(SPEND, (1, os.getpid()))
        told.put("in the block")
        time.sleep(600)
