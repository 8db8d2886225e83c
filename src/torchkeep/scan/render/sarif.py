"""The scan as SARIF 2.1.0 (:mod:`torchkeep.core.sarif`): one result for each issue.

Code hosts take every result for a problem and show no notifications. So a clean file has no result
and stands in ``properties.files`` of the run, and what was not scanned has one of the kind
``open`` [3.27.9]: it is not known whether there is a problem, and unknown is no pass.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from torchkeep.core import sarif
from torchkeep.core.finding import Location
from torchkeep.core.messages import Message
from torchkeep.core.rule import SECTIONS, words
from torchkeep.core.text import visible
from torchkeep.scan.verdict import FileReport, Issue, Report, Verdict

# What is not a failure has no level [3.27.10].
_KINDS: Final = {
    Verdict.DANGEROUS: ("fail", "error"),
    Verdict.MALFORMED: ("fail", "error"),
    Verdict.NEEDS_REVIEW: ("fail", "warning"),
    Verdict.NOT_SCANNED: ("open", "none"),
}

_URL: Final = re.compile(r"(https?|file|s3|gs|az)://", re.IGNORECASE)
_STRAY: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def render(report: Report) -> str:
    """SARIF text, in English; names of files start from the current folder."""
    facts = report.to_json()
    ids = sorted({issue.rule for file in report.files for issue in file.issues})
    places = {name: place for place, name in enumerate(ids)}
    entries = facts.pop("files")
    results = [
        result | {"ruleIndex": places[result["ruleId"]]}
        for file, entry in zip(report.files, entries, strict=True)
        for result in _results(file, entry.pop("findings"))
    ]
    return sarif.document(
        map(_rule, ids),
        results,
        invocation={"executionSuccessful": True, "exitCode": report.verdict.exit_code},
        root="The folder in which torchkeep ran.",
        properties=facts | {"files": entries},
    )


def _rule(id: str) -> dict[str, Any]:
    texts = {name: found.text() for name in SECTIONS if (found := words(id, name))}
    return sarif.descriptor(id, texts) | {"properties": {"tags": ["security"]}}


def _results(file: FileReport, facts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for issue, entry in zip(file.issues, facts, strict=True):
        place = _location(file, issue)
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        parts = [issue.rule, uri, issue.member, issue.opcode, *_told(issue.message)]
        seen[str(parts)] += 1  # the same once more, elsewhere: offsets move, their order stays
        kind, level = _KINDS[issue.severity]
        yield {
            "ruleId": entry.pop("rule"),
            "kind": kind,
            "level": level,
            "message": {"text": sarif.plain(visible(f"{file.path}: {issue.message.text()}"))},
            "locations": [place],
            "partialFingerprints": sarif.fingerprint(*parts, seen[str(parts)]),
            "properties": entry,
        }


def _told(reason: Message) -> Iterator[object]:
    """Which sentence it is, and the names in it; numbers may change from run to run."""
    yield sarif.identity(reason)
    for value in reason.args.values():
        if isinstance(value, Message):
            yield from _told(value)
        elif isinstance(value, str):
            yield value


def _location(file: FileReport, issue: Issue) -> dict[str, Any]:
    below = Path(os.path.relpath(file.path))
    member = issue.member or None
    out = sarif.location(Location(path=below.as_posix(), member=member, offset=issue.offset))
    if _URL.match(file.path):
        uri = _STRAY.sub("%25", quote(visible(file.path), safe="/:%"))
        out["physicalLocation"]["artifactLocation"] = {"uri": uri}
    elif below.parts[:1] == (os.pardir,):  # the root has no name for it
        uri = f"file:///{sarif.uri(os.path.abspath(file.path))}"  # noqa: PTH100 (links stay)
        out["physicalLocation"]["artifactLocation"] = {"uri": uri}
    return out
