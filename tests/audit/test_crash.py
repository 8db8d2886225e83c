"""A rule that ends badly is a row and exit status 3, and hides nothing that was seen before."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from makers.reports import finding, forms, shown

from torchkeep.audit import Verdict, run
from torchkeep.audit.render import render
from torchkeep.core.errors import ProjectError
from torchkeep.core.finding import Finding, Location, Measured, State
from torchkeep.core.messages import Message, message, plain
from torchkeep.core.project import Project
from torchkeep.core.rule import Rule, Ruleset

ID = "ACME-1"
SECRET = "hunter2-of-the-project"


class Custom(BaseException):
    """No Exception, and no name that anybody knows."""


class Unprintable:
    """Has a text as long as nobody asks for it."""

    def __str__(self) -> str:
        raise ValueError(SECRET)


def good(**changes) -> Finding:
    given = {"rule": ID, "subject": "m.pt", "state": State.PASS, "reason": plain("fine")}
    return Finding(**(given | changes))


def raising(error: BaseException):
    def check(_project):
        raise error

    return check


def yielding(*found):
    return lambda _project: iter(found)


def endless(project):
    return endless(project)


def greedy(_project):
    yield good(subject=str(bytearray(1 << 62)))


def half(_project):
    yield good(subject="seen.pt", state=State.FAIL)
    raise ValueError(SECRET)


CRASHES = {
    "ValueError": raising(ValueError(SECRET)),
    "KeyError": raising(KeyError(SECRET)),
    "OSError": raising(OSError(5, SECRET, SECRET)),
    "UnicodeDecodeError": raising(UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET)),
    "ProjectError": raising(ProjectError(SECRET, path=Path(SECRET))),
    "RecursionError": endless,
    "MemoryError": greedy,
    "SystemExit": raising(SystemExit(0)),
    "GeneratorExit": raising(GeneratorExit(SECRET)),
    "CancelledError": raising(asyncio.CancelledError(SECRET)),
    "Custom": raising(Custom(SECRET)),
    "ExceptionGroup": raising(ExceptionGroup(SECRET, [ValueError(SECRET)])),
    "nothing": lambda _project: None,
    "no iterable": lambda _project: 7,
    "not callable": SECRET,
    "text": yielding(SECRET),
    "none": yielding(None),
    "json": yielding(good().to_json()),
    "another's id": yielding(good(rule="TK-SCAN-001")),
    "waived by itself": yielding(good(state=State.WAIVED)),
    "waiver of its own": yielding(finding(State.WAIVED, rule=ID).with_(state=State.PASS)),
    "state as text": yielding(good(state="pass")),
    "no state": yielding(good(state=None)),
    "subject is no text": yielding(good(subject=Path("m.pt"))),
    "reason as text": yielding(good(reason=SECRET)),
    "no reason": yielding(good(reason=None)),
    "reason without text": yielding(good(reason=Message("", {}))),
    "reason not in the catalogue": yielding(good(reason=message("audit.nowhere"))),
    "reason of no room": yielding(good(reason=message("nowhere.at-all"))),
    "reason lacks a value": yielding(good(reason=message("audit.unreadable"))),
    "only Chinese breaks": yielding(good(required=plain("fine", Unprintable()))),
    "fix as text": yielding(good(fix="rm -rf")),
    "fix of numbers": yielding(good(fix=(1, 2))),
    "measured is no number": yielding(good(measured=Measured(value=object()))),
    "measured as number": yielding(good(measured=7)),
    "location as text": yielding(good(location="m.pt")),
    "location of no text": yielding(good(location=Location(path=Path("m.pt")))),
}


def audit(folder, check, item: object = "models.loading", profile: str = "baseline"):
    rule = Rule(id=ID, item=item, check=check)
    project = Project(root=folder, name="sample", profile=profile)
    return run(project, rulesets=[Ruleset(room="acme", rules=(rule,))])


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_is_an_error_in_every_form(tmp_path, crash):
    report = audit(tmp_path, CRASHES[crash])
    assert report.verdict is Verdict.INCOMPLETE
    assert [f.state for f in report.findings if f.rule == ID] == [State.ERROR]
    for form in forms():
        for language in ("en", "zh"):
            text = render(report, form, language)
            assert SECRET not in text
            assert shown(report, form, language)[ID, "sample", "error"] == 1


@pytest.mark.parametrize("crash", [name for name in CRASHES if name.isidentifier()])
def test_the_kind_of_error_is_named(tmp_path, crash):
    report = audit(tmp_path, CRASHES[crash])
    if crash not in ("nothing", "text", "none", "json"):
        assert crash in next(f for f in report.findings if f.rule == ID).reason.text()


def test_what_was_seen_before_the_crash_stays_and_one_beats_three(tmp_path):
    report = audit(tmp_path, half)
    states = {(f.subject, f.state) for f in report.findings if f.rule == ID}
    assert states == {("seen.pt", State.FAIL), ("sample", State.ERROR)}
    assert report.verdict is Verdict.FAIL


def test_the_other_rules_still_speak(tmp_path):
    fine = Rule(id="ACME-2", item="models.loading", check=yielding(good(rule="ACME-2")))
    broken = Rule(id=ID, item="models.loading", check=raising(SystemExit(0)))
    project = Project(root=tmp_path, name="sample")
    report = run(project, rulesets=[Ruleset(room="acme", rules=(broken, fine))])
    assert {"ACME-1", "ACME-2"} <= {f.rule for f in report.findings}


def test_an_interrupt_is_no_finding(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        audit(tmp_path, raising(KeyboardInterrupt()))


@pytest.mark.parametrize("item", ["models.nowhere", "", None, ["models.loading"]])
def test_an_unknown_item_is_an_error(tmp_path, item):
    report = audit(tmp_path, yielding(good()), item=item)
    assert [f.state for f in report.findings if f.rule == ID] == [State.ERROR]
    assert report.verdict is Verdict.INCOMPLETE
    for form in forms():
        assert shown(report, form)[ID, "sample", "error"] == 1


def test_numbers_that_json_lacks_are_no_crash(tmp_path):
    measured = Measured(value=float("inf"), interval=(float("-inf"), float("nan")), n=3)
    report = audit(tmp_path, yielding(good(measured=measured, fix=["torchkeep", "scan"])))
    assert [f.state for f in report.findings if f.rule == ID] == [State.PASS]
    found = json.loads(render(report, "json"), parse_constant=pytest.fail)
    row = next(entry for entry in found["findings"] if entry["rule"] == ID)
    assert row["measured"]["value"] == "inf"


def test_a_rule_cannot_take_its_item_from_the_finding(tmp_path):
    report = audit(tmp_path, yielding(good(item="data.privacy")))
    assert Counter(f.item for f in report.findings if f.rule == ID) == {"models.loading": 1}
    assert any(f.item == "data.privacy" and f.rule == "TK-PRIVACY-000" for f in report.findings)
