"""Fixtures for every room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from servers.postgres import postgres, postgres_url
from servers.s3 import s3, s3_server

__all__ = ["db_location", "postgres", "postgres_url", "s3", "s3_server"]


@pytest.fixture(params=["sqlite", "postgres"])
def db_location(request, tmp_path: Path) -> str:
    """Where a new database may be made: the test runs once on each engine."""
    if request.param == "sqlite":
        return str(tmp_path / "keep.db")
    return request.getfixturevalue("postgres_url")


# A bounded share in `make test`, long counts in `make soak`; machines differ too much for
# deadlines.
settings.register_profile("share", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=20_000)
settings.load_profile("soak" if os.environ.get("TORCHKEEP_SOAK") else "share")
