from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from core.db_rows import CREATE
from doubles.http import DATA, FileServer

from torchkeep.core import db

THINGS = """
CREATE TABLE things (
    id {id},
    name {text} NOT NULL UNIQUE,
    stock {int} NOT NULL DEFAULT 0 CHECK (stock >= 0),
    ratio {real},
    data {bytes},
    parent {int} REFERENCES things (id),
    later {int} REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED
);
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of migrations: one text a file, numbered from 1."""

    def make(*texts: str, folder: str = "migrations") -> Path:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        for number, text in enumerate(texts, 1):
            (path / f"{number:04}_step.sql").write_text(text)
        return path

    return make


@pytest.fixture
def database(db_location: str, migrations: Callable[..., Path]) -> Iterator[db.Database]:
    """A database with a table ``things``, on each engine."""
    with db.open(db_location, room="test", migrations=migrations(THINGS), timeout=5) as database:
        yield database


@pytest.fixture
def start(migrations: Callable[..., Path]) -> Callable[..., db.Database]:
    """Opens a database with the table ``t`` of ``db_rows``."""
    return functools.partial(db.open, room="test", migrations=migrations(CREATE), timeout=2)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    with FileServer(DATA) as running:
        yield running


@pytest.fixture
def naps(monkeypatch):
    """Sleeps, noted in place of slept."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept
