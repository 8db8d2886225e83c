"""Values: both engines keep the same ones alike, and refuse the same."""

from __future__ import annotations

import enum
import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchkeep.core import db
from torchkeep.core.errors import UsageError

INSERT = "INSERT INTO things (name, stock) VALUES (?, ?)"


def kept_any(database: db.Database) -> bool:
    with database.read() as tx:
        return bool(tx.query("SELECT id FROM things"))


class Colour(enum.StrEnum):
    RED = "r"


class Sly(str):
    """A driver that is given it, and not the text itself, asks it what to store."""

    def __conform__(self, _protocol):
        return "something else"


VALUES = [
    ("stock", 0, 0),
    ("stock", 2**63 - 1, 2**63 - 1),
    ("stock", True, 1),
    ("ratio", -1.5, -1.5),
    ("ratio", 5e-324, 5e-324),
    ("ratio", 1.7976931348623157e308, 1.7976931348623157e308),
    ("ratio", math.inf, math.inf),
    ("ratio", 3, 3.0),
    ("ratio", None, None),
    ("name", "", ""),
    ("name", "it's 100 % of ? \\ \x01 \n 数据 😀", "it's 100 % of ? \\ \x01 \n 数据 😀"),
    ("name", Colour.RED, "r"),
    ("name", Sly("text"), "text"),
    ("data", bytes(range(256)), bytes(range(256))),
    ("data", bytearray(b""), b""),
    ("data", memoryview(b"\0'"), b"\0'"),
]


@pytest.mark.parametrize(("column", "value", "kept"), VALUES)
def test_values_come_back_as_they_were_given(database, column, value, kept):
    with database.write() as tx:
        tx.execute("INSERT INTO things (name) VALUES (?)", ("x",))
        assert tx.execute(f"UPDATE things SET {column} = ?", (value,)) == 1
    with database.read() as tx:
        got = tx.one(f"SELECT {column} AS got, {column} IS NOT NULL AS there FROM things")
    assert got == {"got": kept, "there": int(kept is not None)}
    assert type(got["got"]) is type(kept)
    assert type(got["there"]) is int


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    whole=st.integers(-(2**63), 2**63 - 1),
    real=st.floats(allow_nan=False),
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    data=st.binary(),
)
def test_every_value_survives(database, whole, real, text, data):
    with database.write() as tx:
        tx.execute("DELETE FROM things")
        tx.execute(
            "INSERT INTO things (name, stock, ratio, data) VALUES (?, ?, ?, ?)",
            (text, abs(whole) % 2**63, real, data),
        )
        row = tx.one("SELECT name, stock, ratio, data FROM things WHERE name = ?", (text,))
    assert row == {"name": text, "stock": abs(whole) % 2**63, "ratio": real, "data": data}


REFUSED = [
    (2**63, "64"),
    (-(2**63) - 1, "64"),
    (10**100, "64"),
    (math.nan, "NaN"),
    ("a\0b", "NUL"),
    ("\ud800", "UTF-8"),
    (Decimal(1), "Decimal"),
    (datetime.now(UTC), "microseconds"),
    ([1], "list"),
]


@pytest.mark.parametrize(("value", "said"), REFUSED)
def test_values_that_one_engine_would_keep_otherwise_are_refused(database, value, said):
    with pytest.raises(UsageError, match=said), database.write() as tx:
        tx.execute("INSERT INTO things (name, ratio) VALUES (?, ?)", ("x", value))
    assert not kept_any(database)


@pytest.mark.parametrize(
    ("column", "value"), [("stock", "much"), ("ratio", "much"), ("stock", b"\x01")]
)
def test_a_value_of_another_type_than_its_column_is_refused(database, column, value):
    with pytest.raises((UsageError, db.Conflict)), database.write() as tx:
        tx.execute(f"INSERT INTO things (name, {column}) VALUES (?, ?)", ("x", value))
    assert not kept_any(database)


def test_sums_averages_and_arithmetic_have_the_same_types(database):
    with database.write() as tx:
        tx.execute(INSERT, ("a", 2**40))
        tx.execute(INSERT, ("b", 2**40))
        row = tx.one(
            "SELECT sum(stock) AS s, avg(stock) AS a, count(*) AS n, ? + ? AS p, max(ratio) AS m "
            "FROM things",
            (30_000, 30_000),
        )
    assert row == {"s": 2**41, "a": 2.0**40, "n": 2, "p": 60_000, "m": None}
    assert [type(value) for value in row.values()] == [int, float, int, int, type(None)]


def test_text_sorts_by_code_point(database):
    words = ["ä", "a", "Z", "z", "_", "数", "A b", "Ab"]
    with database.write() as tx:
        for word in words:
            tx.execute(INSERT, (word, 0))
        rows = tx.query("SELECT name FROM things ORDER BY name")
    assert [row["name"] for row in rows] == sorted(words)
