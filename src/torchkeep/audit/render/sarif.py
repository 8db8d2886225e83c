"""The report as SARIF 2.1.0 (:mod:`torchkeep.core.sarif`).

Every finding that is not settled is a result; ``properties.state`` holds the state that SARIF has
no word for. Code hosts take every result for a problem, whatever its kind, so what passes or does
not apply stands in ``properties.settled`` of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any, Final

from torchkeep.audit.report import Report
from torchkeep.core import sarif
from torchkeep.core.finding import Finding, Location, State
from torchkeep.core.messages import message
from torchkeep.core.project import FILE
from torchkeep.core.rule import SECTIONS, Rule
from torchkeep.core.text import visible

# What is not a failure has no level [3.27.10].
_KINDS: Final[Mapping[State, tuple[str, str]]] = {
    State.FAIL: ("fail", "error"),
    State.WARN: ("fail", "warning"),
    State.NOT_MEASURED: ("open", "none"),
    State.ERROR: ("open", "none"),
    State.WAIVED: ("fail", "error"),
}


def render(report: Report, _language: str = "en") -> str:
    """SARIF text, in English."""
    facts = report.to_json()
    del facts["tool"]
    pairs = list(zip(report.findings, facts.pop("findings"), strict=True))
    rules = {name: _rule(rule) for name, rule in report.rules.items()}
    for finding in report.findings:
        rules.setdefault(finding.rule, _stand_in(finding))
    places = {name: place for place, name in enumerate(sorted(rules))}
    settled = [entry for finding, entry in pairs if finding.state not in _KINDS]
    return sarif.document(
        [rules[name] for name in places],
        [
            _result(finding, places[finding.rule], entry)
            for finding, entry in pairs
            if finding.state in _KINDS
        ],
        invocation=_invocation(report, places),
        root="The folder of the project.",
        properties=facts | {"settled": settled},
    )


def _rule(rule: Rule) -> dict[str, Any]:
    texts = {name: found.text() for name in SECTIONS if (found := rule.text(name))}
    controls = [
        {"relation": "supports", "framework": c.framework, "edition": c.edition, "id": c.id}
        for c in rule.controls
    ]
    properties = {"item": rule.item, "controls": controls}
    return sarif.descriptor(rule.id, texts) | {"properties": properties}


def _stand_in(finding: Finding) -> dict[str, Any]:
    """For an id that no rule stands behind: the row that says that nothing measured an item."""
    return {
        "id": finding.rule,
        "shortDescription": {"text": message("audit.unmeasured-rule.title").text()},
        "fullDescription": {"text": message("report.unmeasured.text").text()},
        "properties": {"controls": []},
    }


def _result(finding: Finding, place: int, facts: dict[str, Any]) -> dict[str, Any]:
    kind, level = _KINDS[finding.state]
    result: dict[str, Any] = {
        "ruleId": facts.pop("rule"),
        "ruleIndex": place,
        "kind": kind,
        "level": level,
        "message": _sentence(finding),
        "locations": [_location(finding)],
        "partialFingerprints": _fingerprint(finding),
        "properties": facts,
    }
    if finding.state is State.WAIVED and (waiver := finding.waiver):
        reason = f"{waiver.owner}, until {waiver.expires}: {waiver.reason}"
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": visible(reason)}
        ]
    return result


def _invocation(report: Report, places: Mapping[str, int]) -> dict[str, Any]:
    errors = [finding for finding in report.findings if finding.state is State.ERROR]
    finished = report.finished.astimezone(UTC)
    return {
        "executionSuccessful": not errors,
        "exitCode": report.verdict.exit_code,
        "endTimeUtc": f"{finished:%Y-%m-%dT%H:%M:%S}.{finished.microsecond // 1000:03}Z",
        "toolExecutionNotifications": [
            {
                "level": "error",
                "message": _sentence(finding),
                "associatedRule": {"id": finding.rule, "index": places[finding.rule]},
                "locations": [_location(finding)],
            }
            for finding in errors
        ],
    }


def _location(finding: Finding) -> dict[str, Any]:
    """Where a finding lies; the project file stands for findings without a place."""
    place = finding.location or Location(path=FILE)
    return sarif.location(place if sarif.uri(place.path) else replace(place, path=FILE))


def _fingerprint(finding: Finding) -> dict[str, str]:
    """Equal for the same finding in two runs, wherever in the file it has moved to."""
    member = finding.location.member if finding.location else None
    identity = sarif.identity(finding.reason)
    return sarif.fingerprint(finding.rule, finding.subject, member, identity)


def _sentence(finding: Finding) -> dict[str, str]:
    return {"text": sarif.plain(visible(f"{finding.subject}: {finding.reason.text()}"))}
