"""The SARIF report holds every finding and keeps to the specification whatever names a file has."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from doubles import reports
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sarif_pydantic import Sarif

from torchkeep.audit import run
from torchkeep.audit.render import render
from torchkeep.core import sarif
from torchkeep.core.finding import Location, State
from torchkeep.core.messages import message
from torchkeep.core.project import Project
from torchkeep.core.rule import Ruleset
from torchkeep.core.text import is_plain

KINDS = {
    "fail": ("fail", "error"),
    "warn": ("fail", "warning"),
    "not-measured": ("open", "none"),
    "error": ("open", "none"),
    "waived": ("fail", "error"),
}


def read(report):
    """The one run of the report, checked against the model and the rules of the specification."""
    text = render(report, "sarif")
    assert text.isascii()
    assert all(map(is_plain, text.split("\n")))
    Sarif.model_validate_json(text)
    document = json.loads(text)
    assert document["version"] == "2.1.0"
    (found,) = document["runs"]
    check(found)
    return found


def check(found):
    rules = found["tool"]["driver"]["rules"]
    ids = [rule["id"] for rule in rules]
    assert len(set(ids)) == len(ids)
    for rule in rules:
        for name in ("shortDescription", "fullDescription", "help"):
            if name in rule:
                assert all(plain(text) for text in rule[name].values())
    for result in found["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert (result["level"] == "none") == (result["kind"] != "fail")
        assert plain(result["message"]["text"])
        assert is_plain(result["message"]["text"])
        assert result["locations"]
        for place in result["locations"]:
            check_place(place["physicalLocation"])
    (invocation,) = found["invocations"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", invocation["endTimeUtc"])


def check_place(place):
    artifact = place["artifactLocation"]
    assert re.fullmatch(r"(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})+", artifact["uri"])
    address = urlsplit(artifact["uri"])
    assert (address.scheme, address.netloc, address.path[:1] == "/") == ("", "", False)
    assert artifact["uriBaseId"] == "ROOT"
    for name, value in place.get("region", {}).items():
        assert value >= {"startLine": 1, "byteOffset": 0}[name]


def plain(text):
    """Not empty, and without placeholders [3.11.5] and embedded links [3.11.6]."""
    assert "](" not in text
    assert not re.search(r"[{}]", text.replace("{{", "").replace("}}", ""))
    return bool(text)


def shown(report):
    return Counter((f["rule"], f["subject"], f["state"]) for f in report.to_json()["findings"])


def rows(found):
    """Every finding as in the JSON report: those that are open, then those that are settled."""
    facts = [{"rule": r["ruleId"], **r["properties"]} for r in found["results"]]
    return facts + found["properties"]["settled"]


def results(found):
    return Counter((row["rule"], row["subject"], row["state"]) for row in rows(found))


def test_every_finding_is_there():
    report = reports.everything()
    assert results(read(report)) == shown(report)


@given(st.lists(st.tuples(reports.names, st.sampled_from(State)), max_size=6))
def test_names_can_be_anything(found):
    made = [
        reports.finding(name, state, location=Location(path=name, line=3), fix=("run", name))
        for name, state in found
    ]
    report = reports.report(made)
    assert results(read(report)) == shown(report)


@pytest.mark.parametrize("guard", ["plain", "uri"])
def test_a_guard_that_is_gone_is_noticed(monkeypatch, guard):
    monkeypatch.setattr(sarif, guard, lambda text: text)
    with pytest.raises((AssertionError, ValidationError)):
        read(reports.everything())


@pytest.mark.parametrize("state", ["pass", "not-applicable"])
def test_what_is_settled_is_no_result(state):
    """Code hosts show every result as a problem, whatever its kind."""
    found = read(reports.report([reports.finding("a.pt", state)]))
    assert found["results"] == []
    assert [row["state"] for row in found["properties"]["settled"]] == [state]


def test_every_state_is_told():
    assert {state.value for state in State} == {*KINDS, "pass", "not-applicable"}


@pytest.mark.parametrize("state", KINDS)
def test_state_becomes_kind_and_level(state):
    found = reports.finding("a.pt", state, waiver=reports.WAIVER)
    (result,) = read(reports.report([found]))["results"]
    assert (result["kind"], result["level"]) == KINDS[state]
    assert result["properties"]["state"] == state
    assert ("suppressions" in result) == (state == "waived")


def test_a_waiver_suppresses_with_its_reason():
    found = reports.finding("a.pt", "waived", waiver=reports.WAIVER)
    (result,) = read(reports.report([found]))["results"]
    justification = "security@example.org, until 2027-03-01: never leaves <the site>"
    assert result["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": justification}
    ]


def test_every_fact_of_the_json_report_is_there():
    report = reports.everything()
    facts = report.to_json()
    found = read(report)
    settled = [fact for fact in facts["findings"] if fact["state"] not in KINDS]
    assert rows(found) == [
        *(fact for fact in facts.pop("findings") if fact["state"] in KINDS),
        *settled,
    ]
    tool = found["tool"]["driver"]
    assert {"tool": {key: tool[key] for key in ("name", "version")}, **found["properties"]} == (
        facts | {"settled": settled}
    )


PLACES = [
    (None, {"uri": "torchkeep.toml"}, None),
    (Location(path="a b/ü.py", line=7), {"uri": "a%20b/%C3%BC.py"}, {"startLine": 7}),
    (Location(path="w.pt", offset=212), {"uri": "w.pt"}, {"byteOffset": 212}),
    (Location(path="w.pt", member="data.pkl", offset=212), {"uri": "w.pt"}, None),
    (Location(path="javascript:alert(1)"), {"uri": "javascript%3Aalert%281%29"}, None),
    (Location(path="//evil.example/x"), {"uri": "evil.example/x"}, None),
    (Location(path="\udcff.pt"), {"uri": "%FF.pt"}, None),
]


@pytest.mark.parametrize(("location", "artifact", "region"), PLACES)
def test_places(location, artifact, region):
    found = read(reports.report([reports.finding(location=location)]))
    (place,) = found["results"][0]["locations"]
    assert place["physicalLocation"]["artifactLocation"] == artifact | {"uriBaseId": "ROOT"}
    assert place["physicalLocation"].get("region") == region
    member = location and location.member
    names = [entry["fullyQualifiedName"] for entry in place.get("logicalLocations", [])]
    assert names == ([member] if member else [])


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_a_place_names_the_very_file(name):
    found = read(reports.report([reports.finding(location=Location(path=os.fsdecode(name)))]))
    (place,) = found["results"][0]["locations"]
    assert unquote_to_bytes(place["physicalLocation"]["artifactLocation"]["uri"]) == name


def fingerprint(**changes):
    (result,) = read(reports.report([reports.finding(**changes)]))["results"]
    return result["partialFingerprints"]["torchkeepFinding/v1"]


def test_fingerprints_stay_and_differ():
    at = {"subject": "a.pt", "location": Location(path="a.pt", member="data.pkl", offset=1)}
    moved = at | {"location": Location(path="a.pt", member="data.pkl", offset=9), "state": "waived"}
    assert fingerprint(**at) == fingerprint(**moved)
    others = [
        at,
        at | {"subject": "b.pt"},
        at | {"location": Location(path="a.pt", member="code.pkl")},
        at | {"location": None},
        at | {"rule": "TK-SCAN-001"},
        at
        | {"reason": message("audit.secret", kind=message("audit.secret-kinds.aws-key"), lines=1)},
        at
        | {"reason": message("audit.secret", kind=message("audit.secret-kinds.age-key"), lines=1)},
    ]
    assert len({fingerprint(**other) for other in others}) == len(others)


def test_the_same_report_gives_the_same_text():
    report = reports.everything()
    turned = reports.report(report.findings, *reversed(report.rules.values()))
    assert render(report, "sarif") == render(turned, "sarif") == render(report, "sarif", "zh")
    later = reports.report(
        report.findings, *report.rules.values(), finished=reports.MOMENT + timedelta(days=1)
    )
    pairs = zip(
        render(report, "sarif").split("\n"), render(later, "sarif").split("\n"), strict=True
    )
    assert all("2026-08-14" in one for one, other in pairs if one != other)


EXITS = [
    (["pass"], True, 0),
    (["fail"], True, 1),
    (["not-measured"], True, 3),
    (["error"], False, 3),
]


@pytest.mark.parametrize(("states", "successful", "code"), EXITS)
def test_the_invocation_says_how_it_ended(states, successful, code):
    found = read(reports.report([reports.finding("a.pt", state) for state in states]))
    (invocation,) = found["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (successful, code)
    assert len(invocation["toolExecutionNotifications"]) == (not successful)


def test_the_time_is_utc():
    there = timezone(timedelta(hours=8))
    report = reports.report([], finished=datetime(2026, 8, 15, 1, 30, 0, 999999, tzinfo=there))
    assert read(report)["invocations"][0]["endTimeUtc"] == "2026-08-14T17:30:00.999Z"


def test_a_rule_that_crashes_is_a_notification(tmp_path):
    def crash(project):
        raise RuntimeError("hunter2")

    rule = reports.rule("TK-TEST-001", check=crash)
    found = read(run(Project.open(tmp_path), rulesets=[Ruleset(room="test", rules=(rule,))]))
    (notification,) = found["invocations"][0]["toolExecutionNotifications"]
    assert notification["level"] == "error"
    place = notification["associatedRule"]
    assert found["tool"]["driver"]["rules"][place["index"]]["id"] == place["id"] == "TK-TEST-001"
    assert "hunter2" not in json.dumps(found)


def test_rules_are_explained_with_what_they_support():
    rules = {r["id"]: r for r in read(reports.everything())["tool"]["driver"]["rules"]}
    test = rules["TK-TEST-001"]
    assert test["shortDescription"]["text"] == "Title of the test"
    assert test["fullDescription"]["text"] == "First line of <threat>.\nSecond line."
    assert "How it is measured: By {{hand}}, with __care__." in test["help"]["text"]
    assert "By {{hand}}, with \\_\\_care\\_\\_." in test["help"]["markdown"]
    assert "\\<threat\\>" in test["help"]["markdown"]
    control = {"framework": "OWASP AISVS", "edition": "1.0", "id": "C6.1.1"}
    assert test["properties"]["controls"] == [{"relation": "supports", **control}]
    for poor in ("ACME 7 <b>", "TK-NOWHERE-001"):
        assert rules[poor]["shortDescription"]["text"] == poor
    assert "-000" in rules["TK-ROBUST-000"]["fullDescription"]["text"]
