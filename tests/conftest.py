"""Fixtures for every room."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers.postgres import postgres, postgres_url

__all__ = ["db_location", "postgres", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgres"])
def db_location(request, tmp_path: Path) -> str:
    """Where a new database may be made: the test runs once on each engine."""
    if request.param == "sqlite":
        return str(tmp_path / "keep.db")
    return request.getfixturevalue("postgres_url")
