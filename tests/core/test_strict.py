"""``core.strict``: JSON that two readers could take differently is refused."""

import json

import pytest
from doubles.mutants import killed
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core import strict

REFUSED = {
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice, spelled differently": b'{"a": 1, "\\u0061": 2}',
    "a key twice, deep": b'[{"b": {"a": 1, "a": 1}}]',
    "NaN": b'{"a": NaN}',
    "Infinity": b"[Infinity]",
    "-Infinity": b"[-Infinity]",
    "a number no float holds": b"[1e999]",
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "UTF-16 without mark": '{"a": 1}'.encode("utf-16-le"),
    "UTF-32": "{}".encode("utf-32"),
    "Latin-1": b'["\xe9"]',
    "too deep": b"[" * 100_000,
    "too deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "digits without end": b"1" * 100_000,
    "a comma too many": b"[1,]",
    "a comment": b"{} // x",
    "two documents": b"{}{}",
    "nothing": b"",
    "a control character": b'["\n"]',
    "single quotes": b"{'a': 1}",
}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def is_refused(data):
    try:
        strict.loads(data)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_readers_take_differently_is_refused(data):
    assert is_refused(data)


@given(values)
def test_what_they_take_alike_is_read(value):
    assert strict.loads(json.dumps(value).encode()) == value
    assert strict.loads(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary())
def test_bytes_are_json_or_a_value_error(data):
    try:
        value = strict.loads(data)
    except ValueError:
        return
    assert json.loads(data) == value


@pytest.mark.parametrize(
    ("name", "mutant"), [("_unique", dict), ("_finite", float)], ids=["last wins", "any number"]
)
def test_mutants_die(monkeypatch, name, mutant):
    def check():
        assert all(map(is_refused, REFUSED.values()))

    assert killed(monkeypatch, strict, name, mutant, check)
