"""Data sets: each record by itself, in workers that are forked and in workers that are spawned."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import sys

import pytest
from makers.sealed import KEY, PUBLIC, SECRET, SMALL, flip, stranger, write
from torch.utils.data import DataLoader

from torchkeep import vault
from torchkeep.core.errors import UsageError
from torchkeep.vault import bech32, opening
from torchkeep.vault.records import Records, seal_records

RANDOM = random.Random(6)
ROWS = [RANDOM.randbytes(RANDOM.choice([0, 1, 50, 900, SMALL, SMALL + 1])) for _ in range(120)]


@pytest.fixture
def path(tmp_path):
    seal_records(tmp_path / "d.tks", iter(ROWS), [PUBLIC])
    return tmp_path / "d.tks"


def own():
    """What a worker that is spawned can call."""
    return KEY


def worker(records, number):
    return records[number]


def test_records_in_any_order(path):
    records = Records(path, KEY)
    order = list(range(-len(ROWS), len(ROWS)))
    RANDOM.shuffle(order)
    assert len(records) == len(ROWS)
    assert [records[number] for number in order] == [ROWS[number] for number in order]
    for number in (len(ROWS), -len(ROWS) - 1):
        with pytest.raises(IndexError):
            records[number]
    records.close()
    records = Records(path, KEY, decode=len)
    assert list(records) == [len(row) for row in ROWS]
    records.close()


def test_one_record_costs_its_own_chunks(tmp_path):
    path = tmp_path / "d"
    seal_records(path, (RANDOM.randbytes(500) for _ in range(4000)), [PUBLIC])
    records = Records(path, KEY)
    records[7]
    source = records._sealed.frame.source
    before = source.bytes_read
    records[2000]
    assert source.bytes_read - before <= 500 + 2 * SMALL + 36 * 1024
    records.close()


def test_none_is_kept_in_memory_while_they_are_sealed(tmp_path):
    def rows():
        for number in range(200):
            yield bytes([number]) * SMALL

    receipt = seal_records(tmp_path / "d", rows(), [PUBLIC])
    assert receipt.items == 200
    records = Records(tmp_path / "d", KEY)
    assert records[199] == bytes([199]) * SMALL
    records.close()


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")
def test_workers_that_are_forked(path):
    records = Records(path, KEY)
    records[0]  # a pool and a position that the children must not share
    loader = DataLoader(
        records, batch_size=8, num_workers=2, collate_fn=list, multiprocessing_context="fork"
    )
    assert [row for batch in loader for row in batch] == ROWS
    assert records[1] == ROWS[1]
    records.close()


def test_workers_that_are_spawned(path):
    records = Records(path, own)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.starmap(worker, [(records, number) for number in (0, 7, 99)])
    assert found == [ROWS[number] for number in (0, 7, 99)]
    records.close()


def test_a_handle_takes_no_key_along(path, tmp_path):
    file = tmp_path / "alice.key"
    file.write_text(bech32.encode("AGE-SECRET-KEY-", SECRET) + "\n")
    file.chmod(0o600)
    for identity in (own, file, str(file)):
        records = Records(path, identity)
        handle = pickle.dumps(records)
        key = records._sealed.file_key
        assert not any(secret[:8] in handle for secret in (key, SECRET))
        again = pickle.loads(handle)
        assert again[5] == ROWS[5]
        records.close()
        again.close()
    for identity in (KEY, [KEY]):
        records = Records(path, identity)
        with pytest.raises(UsageError, match="open keys"):
            pickle.dumps(records)
        records.close()


def test_what_is_no_table(tmp_path):
    write(tmp_path / "x", ("f", b"x"), ("a", [b"1"]), ("b", [b"2"]))
    for path in (None, "c", "f"):
        with pytest.raises(UsageError, match="tables of records"):
            Records(tmp_path / "x", KEY, path=path)
    records = Records(tmp_path / "x", KEY, path="b")
    assert list(records) == [b"2"]
    records.close()


def test_who_may_not_read(path):
    with pytest.raises(vault.NoIdentity):
        Records(path, stranger()[0])
    with opening.framed(path) as frame:
        at = frame.places.data
    flip(path, at)
    records = Records(path, KEY)
    with pytest.raises(vault.Damaged):
        records[0]
    assert records[100] == ROWS[100]
    records.close()


def test_a_data_set_is_not_written_over(path):
    before = path.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        seal_records(path, [b"x"], [PUBLIC])
    with pytest.raises(ZeroDivisionError):
        seal_records(path, (1 / 0 for _ in range(1)), [PUBLIC], overwrite=True)
    assert path.read_bytes() == before
