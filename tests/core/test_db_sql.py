"""Where the words, literals and placeholders of a statement lie."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchkeep.core.db.sql import parse, split, with_types
from torchkeep.core.errors import UsageError

TYPES = {"id": "BIGINT KEY", "int": "BIGINT", "text": "TEXT"}

NUMBERED = [
    ("SELECT ?", "SELECT $1"),
    ("SELECT a FROM t WHERE a=? AND b<>?;", "SELECT a FROM t WHERE a=$1 AND b<>$2"),
    ("SELECT '?', ?", "SELECT '?', $1"),
    ("SELECT 'it''s ? %s', ? % 2", "SELECT 'it''s ? %s', $1 % 2"),
    ("SELECT '\\', ?, '\\'", "SELECT '\\', $1, '\\'"),
    ('SELECT "odd?""name", ?', 'SELECT "odd?""name", $1'),
    ("SELECT 1 -- ? ; '\n, ?", "SELECT 1 , $1"),
    ("SELECT 1 -- ? ; '\r\n, ?", "SELECT 1 , $1"),
    ("/* ? ; ' */ SELECT ? -- end", "SELECT $1"),
    ("SELECT 2-?, 2/?, -1", "SELECT 2-$1, 2/$2, -1"),
    ("SELECT '/*', ?, '*/'", "SELECT '/*', $1, '*/'"),
    ("SELECT '--', ?", "SELECT '--', $1"),
    ("SELECT ';' AS a ; ", "SELECT ';' AS a"),
]


@pytest.mark.parametrize(("sql", "numbered"), NUMBERED)
def test_placeholders_are_numbered_outside_of_literals(sql, numbered):
    statement = parse(sql)
    assert statement.numbered == numbered
    assert statement.holes == numbered.count("$")


STRANGE = [
    "SELECT 'no end",
    "SELECT 'no end''",
    'SELECT "no end',
    "SELECT 1 /* no end",
    "SELECT 1 /* in /* another */ */",  # SQLite ends it at the first, PostgreSQL at the second
    "SELECT 1 -- to the end of\r the line",  # ends for PostgreSQL, goes on for SQLite
    r"SELECT E'\' ?'",
    "SELECT e'?'",
    "SELECT x'00'",
    "SELECT $$ ? $$",
    "SELECT $1",
    "SELECT a$b",
    "SELECT :name",
    "SELECT @name",
    "SELECT ?1",
    "SELECT a ?? b",
    "SELECT `a?`",
    "SELECT [a?]",
    "SELECT 1::int",
    "SELECT 'a\0b'",
    "SELECT '\ud800'",
    "SELECT\xa01",
    "SELECT {int}",
    "SELECT 1; SELECT 2",
    "SELECT 1;; DELETE FROM t",
    "",
    " ; -- nothing",
    "?",
]


@pytest.mark.parametrize("sql", STRANGE)
def test_what_the_engines_read_differently_is_refused(sql):
    with pytest.raises(UsageError):
        parse(sql)


def test_the_message_names_the_line():
    with pytest.raises(UsageError, match="line 3"):
        parse("SELECT 1,\n\n`a`")


text = st.text(st.sampled_from("ab?%;'\"-/*$\\\n{}éx "), max_size=8)
pieces = st.one_of(
    st.builds(lambda value: ("'" + value.replace("'", "''") + "'", value), text),
    st.just(("?", None)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    parts=st.lists(pieces, min_size=1, max_size=5),
    comment=st.sampled_from([" ", " -- ' ? ;\n", "/* ' ? ; -- */"]),
    params=st.lists(text, min_size=5, max_size=5),
)
def test_literals_and_parameters_reach_the_engine_as_they_are(database, parts, comment, params):
    """The oracle is the engine: each column must be the literal, or the parameter of its place."""
    columns = [f"{sql} AS c{index}" for index, (sql, _) in enumerate(parts)]
    given_ = iter(params)
    expected = [next(given_) if value is None else value for _, value in parts]
    holes = sum(value is None for _, value in parts)
    with database.read() as tx:
        row = tx.one(f"SELECT{comment}" + f"{comment},".join(columns) + comment, params[:holes])
    assert row == {f"c{index}": value for index, value in enumerate(expected)}


@settings(deadline=None)
@given(st.text(st.sampled_from("a1 ?%;'\"-/*\n$`[]:"), max_size=24))
def test_any_text_is_refused_or_cut_as_sqlite_cuts_it(sql):
    try:
        statements = list(split(f"SELECT {sql}"))
    except UsageError:
        return
    for statement in statements:
        assert sqlite3.complete_statement(f"{statement.text} ;")
        assert not sqlite3.complete_statement(statement.text)


def test_type_words_are_put_outside_of_literals():
    sql = "CREATE TABLE t (a {id}, b {text} DEFAULT '{int}', c {int}) -- {none}"
    assert with_types(sql, TYPES) == (
        "CREATE TABLE t (a BIGINT KEY, b TEXT DEFAULT '{int}', c BIGINT) -- {none}"
    )


@pytest.mark.parametrize("word", ["INTEGER", "real", "Blob", "BIGINT", "text", "SERIAL", "{blob}"])
def test_a_type_of_one_engine_is_refused(word):
    with pytest.raises(UsageError, match=r"\{int\}"):
        with_types(f"CREATE TABLE t (a {word})", TYPES)
