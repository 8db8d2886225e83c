"""``core.finding``: what a rule saw, in a form that every report can carry."""

import json
import math
from datetime import date

import pytest
from doubles.mutants import killed
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core import finding
from torchkeep.core.finding import Finding, Location, Measured, State, Waiver, encodable, worst
from torchkeep.core.messages import plain

WORST_FIRST = ["fail", "error", "not-measured", "warn", "waived", "pass", "not-applicable"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters()), inner) | st.tuples(inner)
    ),
    max_leaves=12,
)


def a_finding(**changes):
    fields = {"rule": "TK-X-1", "subject": "a.pt", "state": State.FAIL, "reason": plain("why")}
    return Finding(**fields | changes)


def test_the_order_of_states():
    assert [state.value for state in sorted(State, key=lambda state: state.rank)] == WORST_FIRST


@given(st.lists(st.sampled_from(list(State))))
def test_a_total_is_the_worst_and_unknown_where_there_is_nothing(states):
    total = worst(states)
    assert total in (states or [State.NOT_MEASURED])
    assert all(total.rank <= state.rank for state in states)


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        (Measured(value=2.413, unit=""), "2.413"),
        (Measured(value=32561, unit="rows"), "32561 rows"),
        (Measured(value="pickle"), "pickle"),
        (
            Measured(value=0.61, interval=(0.58, 0.64), n=1000),
            "0.61 (95% CI 0.58 to 0.64, n = 1,000)",
        ),
        (Measured(value=0.0, interval=(-0.2, -0.1)), "0 (95% CI -0.2 to -0.1)"),
        (Measured(value=0.5, interval=(0.0, 0.0)), "0.5 (95% CI 0 to 0)"),
        (Measured(value=0.5, interval=(0.4, 0.6), confidence=0.999), "0.5 (99.9% CI 0.4 to 0.6)"),
        (Measured(value=0.5, interval=(0.4, 0.6), confidence=0.29), "0.5 (29% CI 0.4 to 0.6)"),
        (Measured(value=math.inf, unit="epsilon"), "inf epsilon"),
        (Measured(value=1, n=0), "1 (n = 0)"),
    ],
)
def test_a_measured_value_is_shown_with_what_makes_it_honest(measured, shown):
    assert str(measured) == shown


@pytest.mark.parametrize(
    ("measured", "data"),
    [
        (Measured(value=2.5), {"value": 2.5}),
        (Measured(value=0, n=0), {"value": 0, "n": 0}),
        (Measured(value=True, unit="u"), {"value": True, "unit": "u"}),
        (
            Measured(value=0.5, interval=(0.0, 1.0), confidence=0.9),
            {"value": 0.5, "interval": [0.0, 1.0], "confidence": 0.9},
        ),
        (Measured(value=math.nan), {"value": "nan"}),
        (
            Measured(value=math.inf, interval=(1.0, math.inf)),
            {"value": "inf", "interval": [1.0, "inf"], "confidence": 0.95},
        ),
        (Measured(value="a\udcff"), {"value": "a\\udcff"}),
    ],
)
def test_a_measured_value_as_json(measured, data):
    assert measured.to_json() == data


@pytest.mark.parametrize(
    ("location", "shown", "data"),
    [
        (Location(path="a"), "a", {"path": "a"}),
        (Location(path="a", line=3), "a:3", {"path": "a", "line": 3}),
        (Location(path="a", offset=0), "a@0", {"path": "a", "offset": 0}),
        (
            Location(path="a.pt", member="x/data.pkl", offset=212),
            "a.pt!x/data.pkl@212",
            {"path": "a.pt", "member": "x/data.pkl", "offset": 212},
        ),
        (Location(path="a\udcff"), "a\udcff", {"path": "a\\udcff"}),
    ],
)
def test_a_place(location, shown, data):
    assert str(location) == shown
    assert location.to_json() == data


@pytest.mark.parametrize(
    ("rule", "subject", "covered"),
    [
        ("TK-X-1", None, True),
        ("TK-X-1", "a.pt", True),
        ("TK-X-1", "b.pt", False),
        ("TK-X-1", "", False),
        ("TK-X-2", None, False),
        ("TK-X-2", "a.pt", False),
        ("TK-X", None, False),
    ],
)
def test_a_waiver_covers_its_rule_and_subject_only(rule, subject, covered):
    waiver = Waiver(rule=rule, subject=subject, reason="r", owner="o", expires=date(2027, 3, 1))
    assert waiver.covers(a_finding()) == covered


def test_everything_that_is_known_is_in_the_json():
    waiver = Waiver(rule="TK-X-1", reason="r", owner="o", expires=date(2027, 3, 1))
    full = a_finding(
        measured=Measured(value=1),
        required=plain("2"),
        fix=("torchkeep", "scan", "a.pt"),
        location=Location(path="a.pt"),
        item="models.loading",
        waiver=waiver,
    )
    assert full.to_json() == {
        "rule": "TK-X-1",
        "item": "models.loading",
        "subject": "a.pt",
        "state": "fail",
        "reason": "why",
        "measured": {"value": 1},
        "required": "2",
        "fix": ["torchkeep", "scan", "a.pt"],
        "location": {"path": "a.pt"},
        "waiver": {"reason": "r", "owner": "o", "expires": "2027-03-01"},
    }
    empty = a_finding().to_json()
    assert {name for name, value in empty.items() if value is None} == {
        *("measured", "required", "location", "waiver")
    }
    assert empty["fix"] == []


def check_stray_bytes():
    """A name that UTF-8 cannot carry is written out, and no command stands for another file."""
    data = a_finding(
        subject="m\udcff.pt",
        fix=("torchkeep", "scan", "m\udcff.pt"),
        location=Location(path="m\udcff.pt"),
        reason=plain("m\udcff.pt"),
    ).to_json()
    assert json.dumps(data, ensure_ascii=False).encode()
    assert data["subject"] == data["reason"] == data["location"]["path"] == "m\\udcff.pt"
    assert data["fix"] == []


def check_numbers():
    value = [math.nan, {"a": (-math.inf, 1.5)}]
    assert finding.encodable(value) == ["nan", {"a": ["-inf", 1.5]}]


def test_a_name_of_stray_bytes():
    check_stray_bytes()


def test_numbers_that_json_lacks():
    check_numbers()


@given(json_values)
def test_anything_can_be_carried_by_strict_json_in_utf_8(value):
    carried = encodable(value)
    text = json.dumps(carried, allow_nan=False, ensure_ascii=False).encode()
    assert json.loads(text) == carried
    assert encodable(carried) == carried


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()))
def test_plain_data_stays_as_it_is(value):
    assert encodable(value) == value
    assert json.loads(json.dumps(encodable(value))) == value


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("is_encodable", lambda _text: True),
        ("encodable", lambda value: value),
        ("encodable", lambda value: str(value) if isinstance(value, float) else value),
    ],
)
def test_mutants_die(monkeypatch, name, mutant):
    assert killed(monkeypatch, finding, name, mutant, check_stray_bytes, check_numbers)


def test_a_copy_with_changes_leaves_the_original():
    before = a_finding()
    after = before.with_(state=State.WAIVED)
    assert (before.state, after.state) == (State.FAIL, State.WAIVED)
    assert after.with_(state=State.FAIL) == before
    assert len({before, after, a_finding()}) == 2
