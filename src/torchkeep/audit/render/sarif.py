"""The report as SARIF 2.1.0, which code hosts and editors show beside the code.

Follows https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/, section numbers in brackets.
Every finding is a result, passes too; ``properties.state`` holds the state that SARIF has no word
for. English, and the same for the same report.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final
from urllib.parse import quote

from torchkeep.audit.report import Report
from torchkeep.core.finding import Finding, Location, State, encodable
from torchkeep.core.messages import Message, message
from torchkeep.core.project import FILE
from torchkeep.core.rule import SECTIONS, Rule
from torchkeep.core.statement import REPOSITORY
from torchkeep.core.text import visible

_SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_ROOT: Final = "ROOT"

# What is not a failure has no level [3.27.10].
_KINDS: Final[Mapping[State, tuple[str, str]]] = {
    State.PASS: ("pass", "none"),
    State.FAIL: ("fail", "error"),
    State.WARN: ("fail", "warning"),
    State.NOT_MEASURED: ("open", "none"),
    State.NOT_APPLICABLE: ("notApplicable", "none"),
    State.ERROR: ("open", "none"),
    State.WAIVED: ("fail", "error"),
}


def render(report: Report, _language: str = "en") -> str:
    """SARIF text; characters outside ASCII are escaped, so it is harmless wherever it is shown."""
    facts = report.to_json()
    findings = facts.pop("findings")
    tool = facts.pop("tool")
    rules = {name: _rule(rule) for name, rule in report.rules.items()}
    for finding in report.findings:
        rules.setdefault(finding.rule, _stand_in(finding))
    places = {name: place for place, name in enumerate(sorted(rules))}
    driver = {**tool, "informationUri": REPOSITORY, "rules": [rules[name] for name in places]}
    run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(report, places)],
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The folder of the project."}}},
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(finding, places[finding.rule], entry)
            for finding, entry in zip(report.findings, findings, strict=True)
        ],
        "properties": facts,
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, allow_nan=False)


def _rule(rule: Rule) -> dict[str, Any]:
    texts = {name: found.text() for name in SECTIONS if (found := rule.text(name))}
    title = texts.pop("title", "") or rule.id
    descriptor: dict[str, Any] = {
        "id": rule.id,
        "shortDescription": {"text": _plain(title)},
        "fullDescription": {"text": _plain(texts.get("threat", title))},
    }
    if texts:
        descriptor["help"] = _help(texts)
    controls = [
        {"relation": "supports", "framework": c.framework, "edition": c.edition, "id": c.id}
        for c in rule.controls
    ]
    return descriptor | {"properties": {"item": rule.item, "controls": controls}}


def _stand_in(finding: Finding) -> dict[str, Any]:
    """For an id that no rule stands behind: the row that says that nothing measured an item."""
    return {
        "id": finding.rule,
        "shortDescription": {"text": message("audit.unmeasured-rule.title").text()},
        "fullDescription": {"text": message("report.unmeasured.text").text()},
        "properties": {"controls": []},
    }


def _help(texts: Mapping[str, str]) -> dict[str, str]:
    parts = [
        (message(f"report.sections.{name}").text(), _plain(text)) for name, text in texts.items()
    ]
    return {
        "text": "\n\n".join(f"{label}: {text}" for label, text in parts),
        "markdown": "\n\n".join(f"**{label}.** {_markdown(text)}" for label, text in parts),
    }


def _result(finding: Finding, place: int, facts: dict[str, Any]) -> dict[str, Any]:
    kind, level = _KINDS[finding.state]
    result: dict[str, Any] = {
        "ruleId": facts.pop("rule"),
        "ruleIndex": place,
        "kind": kind,
        "level": level,
        "message": _sentence(finding),
        "locations": [_location(finding.location)],
        "partialFingerprints": {"torchkeepFinding/v1": _fingerprint(finding)},
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
                "locations": [_location(finding.location)],
            }
            for finding in errors
        ],
    }


def _location(location: Location | None) -> dict[str, Any]:
    """Where a finding lies; the project file stands for findings without a place."""
    place = location or Location(path=FILE)
    artifact = {"uri": _uri(place.path) or FILE, "uriBaseId": _ROOT}
    physical: dict[str, Any] = {"artifactLocation": artifact}
    out: dict[str, Any] = {"physicalLocation": physical}
    if place.member:  # line and offset count inside the member, which SARIF viewers cannot open
        name = encodable(place.member)
        out["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "member"}]
    elif place.line:
        physical["region"] = {"startLine": place.line}
    elif place.offset is not None:
        physical["region"] = {"byteOffset": place.offset}
    return out


def _uri(path: str) -> str:
    """A relative reference: it names no scheme and no host whatever the file is called."""
    try:
        name = path.encode("utf-8", "surrogateescape")  # stray bytes of a file name, as they are
    except UnicodeEncodeError:
        name = visible(path).encode()
    return quote(name.lstrip(b"/"), safe="/")


def _fingerprint(finding: Finding) -> str:
    """Equal for the same finding in two runs, wherever in the file it has moved to."""
    member = finding.location.member if finding.location else None
    parts = json.dumps([finding.rule, finding.subject, member, _identity(finding.reason)])
    return hashlib.sha256(parts.encode()).hexdigest()


def _identity(reason: Message) -> list[Any]:
    """Which sentence it is, without numbers and lines that change from run to run."""
    kinds = [_identity(value) for value in reason.args.values() if isinstance(value, Message)]
    return [reason.id or reason.text(), *kinds]


def _sentence(finding: Finding) -> dict[str, str]:
    return {"text": _plain(visible(f"{finding.subject}: {finding.reason.text()}"))}


def _plain(text: str) -> str:
    """Text in which nothing is a placeholder [3.11.5] or a link [3.11.6]."""
    lines = "\n".join(map(visible, text.split("\n")))
    return lines.replace("{", "{{").replace("}", "}}").replace("](", "] (")


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>#|~&!])", r"\\\1", text)
