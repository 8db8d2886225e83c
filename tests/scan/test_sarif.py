"""A scan as SARIF: one result for each issue, whatever names a file has."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from urllib.parse import unquote

import pytest
from doubles.reports import NASTY, names
from hypothesis import given
from hypothesis import strategies as st
from makers.projects import safetensors, write
from pydantic import ValidationError
from sarif_pydantic import Sarif

from torchkeep import scan
from torchkeep.core import sarif as shared
from torchkeep.core.messages import message, plain
from torchkeep.core.text import is_plain
from torchkeep.scan import FileReport, Issue, Report, Verdict
from torchkeep.scan.render import render, sarif
from torchkeep.scan.rules import ISSUES

TWO = b"\x80\x02cos\nsystem\n0cposix\nsystem\n."
KINDS = {
    Verdict.DANGEROUS: ("fail", "error"),
    Verdict.MALFORMED: ("fail", "error"),
    Verdict.NEEDS_REVIEW: ("fail", "warning"),
    Verdict.NOT_SCANNED: ("open", "none"),
}


def read(report):
    """The one run, held against the model and the rules of the specification."""
    text = render(report, "sarif")
    assert text.isascii()
    assert all(map(is_plain, text.rstrip("\n").split("\n")))
    Sarif.model_validate_json(text)
    (run,) = json.loads(text)["runs"]
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(ids)) == len(ids)
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert (result["level"] == "none") == (result["kind"] != "fail")
        said = result["message"]["text"]
        assert "](" not in said
        assert not re.search(r"[{}]", said.replace("{{", "").replace("}}", ""))
        (place,) = result["locations"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"(?:[A-Za-z0-9._~/:-]|%[0-9A-Fa-f]{2})+", uri)
    return run


def issue(severity=Verdict.DANGEROUS, **changes):
    settings = {"rule": "TK-SCAN-010", "message": plain("seen by the test")}
    return Issue(severity=severity, **(settings | changes))


def report(*issues, path="m.pt"):
    return Report((FileReport(path=path, issues=list(issues)),))


def fingerprints(*reports):
    return [
        result["partialFingerprints"]["torchkeepFinding/v1"]
        for one in reports
        for result in read(one)["results"]
    ]


def artifact(path):
    (result,) = read(report(issue(), path=path))["results"]
    return result["locations"][0]["physicalLocation"]["artifactLocation"]


@pytest.mark.parametrize("verdict", KINDS)
def test_a_verdict_becomes_kind_and_level(verdict):
    """What was not scanned is a result as well: viewers show no notifications."""
    run = read(report(issue(verdict)))
    (result,) = run["results"]
    assert (result["kind"], result["level"]) == KINDS[verdict]
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": verdict.exit_code}]


def test_every_verdict_that_an_issue_can_give_has_a_kind():
    assert KINDS.keys() == set(Verdict) - {Verdict.CLEAN, Verdict.NOT_A_MODEL}


def test_it_holds_every_fact_of_the_json_report(tmp_path, monkeypatch):
    monkeypatch.chdir(
        write(
            tmp_path,
            {
                "danger.pkl": TWO,
                "clean.safetensors": safetensors(a=b"1"),
                "cut.safetensors": safetensors(a=b"12")[:-1],
                "unknown.onnx": bytes(100),
                "words.txt": b"words",
            },
        )
    )
    found = scan.paths(["."])
    run, facts = read(found), found.to_json()
    files = facts.pop("files")
    issues = [entry for file in files for entry in file.pop("findings")]
    assert [{"rule": r["ruleId"], **r["properties"]} for r in run["results"]] == issues
    assert run["properties"] == facts | {"files": files}
    assert run["invocations"][0]["exitCode"] == 1


def test_what_is_clean_is_no_result():
    run = read(Report((FileReport(path="m.pt"), FileReport(path="a.txt", is_model=False))))
    assert run["results"] == []
    assert run["invocations"][0]["exitCode"] == 0
    assert [file["verdict"] for file in run["properties"]["files"]] == ["clean", "not-a-model"]


@given(st.lists(st.tuples(names, names, st.sampled_from(list(KINDS))), max_size=4))
def test_names_can_be_anything(rows):
    files = [
        FileReport(
            path=path or ".", issues=[issue(verdict, member=member, message=plain(member or "x"))]
        )
        for path, member, verdict in rows
    ]
    found = Report(tuple(files))
    shown = Counter(r["properties"]["severity"] for r in read(found)["results"])
    assert shown == Counter(verdict.value for _, _, verdict in rows)


@pytest.mark.parametrize("guard", ["plain", "uri"])
def test_a_guard_that_is_gone_is_noticed(monkeypatch, guard):
    monkeypatch.setattr(shared, guard, lambda text: text)
    hostile = [FileReport(path=name or ".", issues=[issue()]) for name in NASTY]
    with pytest.raises((AssertionError, ValidationError)):
        read(Report(tuple(hostile)))


def test_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    below = {"uriBaseId": "ROOT"}
    assert artifact("a b/ü.pt") == {"uri": "a%20b/%C3%BC.pt"} | below
    assert artifact("./a/../m.pt") == {"uri": "m.pt"} | below
    assert artifact(str(tmp_path / "m.pt")) == {"uri": "m.pt"} | below
    assert artifact("<stdin>") == {"uri": "%3Cstdin%3E"} | below
    assert artifact("javascript:alert(1)") == {"uri": "javascript%3Aalert%281%29"} | below
    assert artifact("../m.pt") == {"uri": (tmp_path.parent / "m.pt").as_uri()}
    assert artifact("..m.pt") == {"uri": "..m.pt"} | below
    assert artifact("https://a.example/m%20%.pt") == {"uri": "https://a.example/m%20%25.pt"}


def test_where_in_a_file():
    (inside, plainly, nowhere) = (
        result["locations"][0]
        for result in read(report(issue(member="a/data.pkl", offset=7), issue(offset=7), issue()))[
            "results"
        ]
    )
    assert inside["logicalLocations"] == [{"fullyQualifiedName": "a/data.pkl", "kind": "member"}]
    assert "region" not in inside["physicalLocation"]
    assert plainly["physicalLocation"]["region"] == {"byteOffset": 7}
    assert nowhere.keys() == {"physicalLocation"}


def test_fingerprints_stay_and_differ(tmp_path, monkeypatch):
    moved = [issue(offset=1, message=message("scan.zip-prefix", about=1))]
    again = [issue(offset=9, message=message("scan.zip-prefix", about=8))]
    assert fingerprints(report(*moved)) == fingerprints(report(*again))
    others = [
        issue(),
        issue(member="data.pkl"),
        issue(opcode="GLOBAL"),
        issue(rule="TK-SCAN-011"),
        issue(message=message("scan.unread", why="this")),
        issue(message=message("scan.unread", why="that")),
        issue(message=message("scan.issue", issue=message("scan.unread", why="x"), rule="y")),
        issue(message=message("scan.issue", issue=message("scan.unread", why="z"), rule="y")),
    ]
    found = fingerprints(*map(report, others), report(issue(), path="n.pt"))
    assert len(set(found)) == len(found)
    monkeypatch.chdir(tmp_path)
    one, other = report(issue(), path="m.pt"), report(issue(), path=str(tmp_path / "m.pt"))
    assert fingerprints(one) == fingerprints(other)


def test_the_same_twice_in_a_file_are_two():
    first, second = fingerprints(report(issue(offset=1), issue(offset=5)))
    assert first != second
    assert [first] == fingerprints(report(issue(offset=7)))
    assert [first, second] == fingerprints(report(issue(offset=2), issue(offset=9)))


@pytest.mark.parametrize("rule", ISSUES)
def test_every_issue_is_explained(rule):
    (found,) = read(report(issue(rule=rule)))["tool"]["driver"]["rules"]
    assert found["id"] == rule
    assert found["shortDescription"]["text"] not in ("", rule)
    assert "What to do" in found["help"]["text"]
    assert found["properties"]["tags"] == ["security"]


def test_the_same_report_gives_the_same_text():
    found = report(issue(), issue(Verdict.NOT_SCANNED, rule="TK-SCAN-061"))
    assert render(found, "sarif") == render(found, "sarif", "zh") == sarif.render(found) + "\n"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=20))
def test_a_place_names_the_very_file(name):
    if name in (".", "..") or "://" in name:
        return
    assert unquote(artifact(name)["uri"]) == os.path.normpath(name)
