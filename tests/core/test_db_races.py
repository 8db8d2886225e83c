"""Several processes on one database: nothing is spent twice, lost, or half done."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from core import db_children

from torchkeep.core import db

SCHEMA = """
CREATE TABLE spends (
    id {id},
    round {int} NOT NULL,
    owner {int} NOT NULL,
    cost {int} NOT NULL,
    receipt {bytes}
);
CREATE INDEX spends_round ON spends (round);
"""
# spawn, as on every system: what a fork inherits has tests of its own
SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def running(target: Callable[..., None], *args: object, times: int = 1) -> Iterator[BaseProcess]:
    processes = [SPAWN.Process(target=target, args=args, daemon=True) for _ in range(times)]
    for process in processes:
        process.start()
    try:
        yield processes[0]
    finally:
        for process in processes:
            process.join(60)
            process.kill()
            process.join()
            process.close()


@pytest.fixture
def folder(migrations) -> Path:
    return migrations(SCHEMA)


def read(location: str, folder: Path, sql: str) -> list[db.Row]:
    with db.open(location, room="test", migrations=folder) as database, database.read() as tx:
        return tx.query(sql)


def race(location: str, folder: Path, fault: str) -> tuple[list[int], list[int], int]:
    """What two processes say they spent, what the database holds, and how often one was refused."""
    told = SPAWN.Queue()
    barrier = SPAWN.Barrier(2, timeout=30)
    with running(db_children.spend, location, folder, fault, barrier, told, times=2):
        (first, refused), (second, refused_too) = told.get(timeout=60), told.get(timeout=60)
    held = read(location, folder, "SELECT round FROM spends ORDER BY round")
    return sorted(first + second), [row["round"] for row in held], refused + refused_too


def test_two_processes_never_overspend_and_never_lose_a_spend(db_location, folder):
    claimed, held, refused = race(db_location, folder, "")
    assert held == claimed == list(range(db_children.ROUNDS))
    assert refused == 0


def test_planted_fault_a_check_in_a_block_of_its_own_overspends(db_location, folder):
    claimed, held, _ = race(db_location, folder, "check first")
    assert held == claimed
    assert len(held) > db_children.ROUNDS


def test_planted_fault_without_the_lock_a_race_overspends_or_is_refused(db_location, folder):
    claimed, held, refused = race(db_location, folder, "no lock")
    assert held == claimed
    overspent = len(held) > db_children.ROUNDS
    assert refused if db_location.endswith("keep.db") else overspent


def test_a_killed_writer_leaves_whole_blocks_and_all_that_were_kept(db_location, folder):
    kept: list[int] = []
    for kill in range(4):
        told = SPAWN.Queue()
        with running(db_children.write_pairs, db_location, folder, told) as writer:
            for _ in range(5):
                kept.append(told.get(timeout=30))
            time.sleep(kill * 0.0007)  # another place in the block each time
            writer.kill()
    rows = read(
        db_location, folder, "SELECT round, owner, count(*) AS n FROM spends GROUP BY round, owner"
    )
    assert {row["n"] for row in rows} == {2}
    assert len(rows) >= len(kept) == 20


def test_a_writer_killed_in_its_block_leaves_the_old_state_and_the_way_free(db_location, folder):
    told = SPAWN.Queue()
    with running(db_children.hold, db_location, folder, told) as writer:
        told.get(timeout=30)
        writer.kill()
    with db.open(db_location, room="test", migrations=folder, timeout=20) as database:
        assert db_children.check_and_spend(database, 1)
    assert read(db_location, folder, "SELECT count(*) AS n FROM spends") == [{"n": 1}]


def test_processes_that_open_a_new_database_at_once(db_location, folder, migrations):
    folder = migrations(SCHEMA, "INSERT INTO spends (round, owner, cost) VALUES (1, 1, 1);")
    told = SPAWN.Queue()
    barrier = SPAWN.Barrier(4, timeout=30)
    with running(db_children.open_at_once, db_location, folder, barrier, told, times=4):
        assert [told.get(timeout=60) for _ in range(4)] == ["opened"] * 4
    assert read(db_location, folder, "SELECT count(*) AS n FROM spends") == [{"n": 1}]


FORKS = [
    (db_children.fork_between_blocks, list(range(80))),
    (db_children.fork_in_a_block, [1] * 8 + [2, 3]),
    (db_children.fork_beside_a_block, [1] * 8 + [2]),
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("main", "held"), FORKS)
def test_a_fork_takes_no_connection_along(db_location, folder, main, held):
    with running(main, db_location, folder) as process:
        process.join(60)
        assert process.exitcode == 0
    rows = read(db_location, folder, "SELECT round FROM spends ORDER BY round")
    assert [row["round"] for row in rows] == held
