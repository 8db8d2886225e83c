"""Waivers accept what is known, until their day, and never what is not known."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from makers.projects import project
from makers.reports import finding, forms

from torchkeep.audit import Verdict, run
from torchkeep.audit.render import render
from torchkeep.audit.run import BASELINE
from torchkeep.core.errors import ProjectError
from torchkeep.core.finding import State, Waiver
from torchkeep.core.project import Project
from torchkeep.core.rule import Rule, Ruleset

TODAY = date(2026, 11, 23)
LATER = TODAY + timedelta(days=30)
EARLIER = TODAY - timedelta(days=1)
ID = "TK-SCAN-001"


def audit(folder, states, *waivers: Waiver):
    """An audit in which one rule sees ``states`` and all the others pass."""
    seen = [finding(state, rule=ID, subject=subject) for subject, state in states.items()]
    rules = [Rule(id=ID, item="models.loading", check=lambda _: seen)]
    for name in sorted(BASELINE - {ID}):
        passed = [finding(State.PASS, rule=name)]
        rules.append(Rule(id=name, item="models.loading", check=lambda _, passed=passed: passed))
    found = Project(root=folder, name="sample", waivers=waivers)
    return run(found, rulesets=[Ruleset(room="x", rules=tuple(rules))], today=TODAY)


def waiver(expires: date = LATER, rule: str = ID, subject: str | None = None) -> Waiver:
    return Waiver(rule=rule, reason="known", owner="me", expires=expires, subject=subject)


# What is seen, the waivers, what it becomes, and the verdict.
WAIVED = [
    (State.FAIL, [waiver()], State.WAIVED, Verdict.PASS),
    (State.WARN, [waiver()], State.WAIVED, Verdict.PASS),
    (State.NOT_MEASURED, [waiver()], State.WAIVED, Verdict.PASS),
    (State.PASS, [waiver()], State.PASS, Verdict.PASS),
    (State.NOT_APPLICABLE, [waiver()], State.NOT_APPLICABLE, Verdict.PASS),
    (State.FAIL, [waiver(TODAY)], State.WAIVED, Verdict.PASS),  # the last day counts
    (State.FAIL, [waiver(EARLIER)], State.FAIL, Verdict.FAIL),
    (State.WARN, [waiver(EARLIER)], State.FAIL, Verdict.FAIL),
    (State.NOT_MEASURED, [waiver(EARLIER)], State.FAIL, Verdict.FAIL),
    (State.PASS, [waiver(EARLIER)], State.PASS, Verdict.PASS),
    (State.FAIL, [waiver(subject="m.pt")], State.WAIVED, Verdict.PASS),
    (State.FAIL, [waiver(subject="other.pt")], State.FAIL, Verdict.FAIL),
    (State.FAIL, [waiver(rule="TK-SCAN-002")], State.FAIL, Verdict.FAIL),
    (State.FAIL, [waiver(rule=ID.lower())], State.FAIL, Verdict.FAIL),
    (State.FAIL, [waiver(EARLIER), waiver()], State.WAIVED, Verdict.PASS),
    (State.FAIL, [waiver(), waiver(EARLIER, subject="m.pt")], State.WAIVED, Verdict.PASS),
    # What nobody knows, nobody can accept.
    (State.ERROR, [waiver()], State.ERROR, Verdict.INCOMPLETE),
    (State.ERROR, [waiver(EARLIER)], State.ERROR, Verdict.INCOMPLETE),
    (State.ERROR, [waiver(subject="m.pt")], State.ERROR, Verdict.INCOMPLETE),
]


@pytest.mark.parametrize(("seen", "waivers", "becomes", "verdict"), WAIVED)
def test_one_finding(tmp_path, seen, waivers, becomes, verdict):
    report = audit(tmp_path, {"m.pt": seen}, *waivers)
    (row,) = [f for f in report.findings if f.rule == ID]
    assert (row.state, report.verdict) == (becomes, verdict)
    touched = becomes is State.WAIVED or (becomes, verdict) == (State.FAIL, Verdict.FAIL)
    covering = [w for w in waivers if w.rule == ID and w.subject in (None, "m.pt")]
    assert (row.waiver in waivers) == bool(touched and covering)


def idle(report) -> set[str]:
    rows = [f for f in report.findings if f.rule == "TK-AUDIT-004"]
    assert {row.state for row in rows} <= {State.WARN}
    return {row.subject for row in rows}


@pytest.mark.parametrize(
    ("seen", "waivers", "expected"),
    [
        (State.FAIL, [waiver()], set()),
        (State.FAIL, [waiver(EARLIER)], set()),
        (State.PASS, [waiver()], {ID}),
        (State.NOT_APPLICABLE, [waiver()], {ID}),
        (State.ERROR, [waiver()], {ID}),
        (State.FAIL, [waiver(), waiver(EARLIER)], set()),
        (State.FAIL, [waiver(rule="TK-SCAN-002")], {"TK-SCAN-002"}),
        (State.FAIL, [waiver(subject="gone.pt")], {f"{ID} gone.pt"}),
        (State.FAIL, [waiver(rule="TK-AUDIT-004")], {"TK-AUDIT-004"}),
    ],
)
def test_a_waiver_that_covers_nothing_is_warned_of(tmp_path, seen, waivers, expected):
    assert idle(audit(tmp_path, {"m.pt": seen}, *waivers)) == expected


def test_a_waiver_of_one_subject_leaves_the_others(tmp_path):
    seen = {"a.pt": State.FAIL, "b.pt": State.FAIL}
    report = audit(tmp_path, seen, waiver(subject="a.pt"))
    states = {f.subject: f.state for f in report.findings if f.rule == ID}
    assert states == {"a.pt": State.WAIVED, "b.pt": State.FAIL}
    assert report.verdict is Verdict.FAIL


def test_a_row_that_nothing_measures_can_be_waived(tmp_path):
    report = audit(tmp_path, {"m.pt": State.PASS}, waiver(rule="TK-MARK-000"))
    assert [f.state for f in report.findings if f.rule == "TK-MARK-000"] == [State.WAIVED]


def test_an_expired_waiver_says_so_and_keeps_the_reason(tmp_path):
    report = audit(tmp_path, {"m.pt": State.FAIL}, waiver(EARLIER))
    (row,) = [f for f in report.findings if f.rule == ID]
    assert row.reason.text() == f"waived until {EARLIER}, which is past: because"
    for form in forms():
        assert EARLIER.isoformat() in render(report, form)


FILE = """
[project]
name = "sample"

[[waivers]]
rule = "TK-SCAN-001"
reason = "known"
owner = "me"
expires = {expires}
"""


def test_a_waiver_of_a_file_on_disk(tmp_path):
    days = [date.today() + timedelta(days=180), date.today(), date.today() - timedelta(days=1)]
    pickle = {"m.pt": b"\x80\x02}."}
    verdicts = [
        run(project(tmp_path, pickle | {"torchkeep.toml": FILE.format(expires=day)})).verdict
        for day in days
    ]
    assert verdicts == [Verdict.PASS, Verdict.PASS, Verdict.FAIL]


def test_a_waiver_for_more_than_half_a_year_is_refused(tmp_path):
    late = FILE.format(expires=date.today() + timedelta(days=181))
    with pytest.raises(ProjectError, match=r"torchkeep\.toml:9: waivers\[0\]\.expires: .*180"):
        project(tmp_path, {"torchkeep.toml": late})
