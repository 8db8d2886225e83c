"""The scorecard: every finding of one audit, and the verdict that they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from torchkeep import __version__
from torchkeep.core.finding import Finding, State, encodable
from torchkeep.core.items import BY_KEY, CHAPTERS
from torchkeep.core.rule import Rule

SCHEMA_VERSION: Final = 1


class Verdict(StrEnum):
    """What an audit says of a project."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    INCOMPLETE = "incomplete"

    @property
    def exit_code(self) -> int:
        """Exit status of a command that ends with this verdict."""
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCOMPLETE: 3}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One audit of one project.

    Attributes:
        project: Name of the project.
        models: Number of its models.
        tables: Number of its tables and texts.
        files: Number of files that were looked at.
        skipped: Folders and links that were not, by path.
        profile: The policy profile.
        required: Ids of the rules that must have been measured; None: all.
        findings: In the order of chapters and items; within an item, worst first.
        rules: The rules that ran, by id.
        finished: When the audit ended.
    """

    project: str
    models: int
    tables: int
    files: int
    skipped: tuple[str, ...]
    profile: str
    required: frozenset[str] | None
    findings: tuple[Finding, ...]
    rules: Mapping[str, Rule]
    finished: datetime

    @property
    def verdict(self) -> Verdict:
        """Fail where a demand is broken; incomplete where a required one could not be measured."""
        if any(finding.state is State.FAIL for finding in self.findings):
            return Verdict.FAIL
        if any(self.blocks(finding) for finding in self.findings):
            return Verdict.INCOMPLETE
        return Verdict.PASS

    @property
    def worst(self) -> Finding | None:
        """The finding that the verdict rests on most; None where nothing is open."""
        blocking = [finding for finding in self.findings if self.blocks(finding)]
        return min(blocking, key=lambda finding: finding.state.rank, default=None)

    @property
    def counts(self) -> dict[State, int]:
        """How many findings are in each state that occurs, worst first."""
        counter = Counter(finding.state for finding in self.findings)
        return {state: counter[state] for state in sorted(counter, key=lambda state: state.rank)}

    def blocks(self, finding: Finding) -> bool:
        """Whether ``finding`` keeps the verdict from ``pass``."""
        if finding.state is State.NOT_MEASURED:
            return self.required is None or finding.rule in self.required
        return finding.state in (State.FAIL, State.ERROR)

    def chapters(self) -> dict[str, list[Finding]]:
        """The findings by chapter, in the order of the chapters."""
        out: dict[str, list[Finding]] = {chapter: [] for chapter in CHAPTERS}
        for finding in self.findings:
            out[BY_KEY[finding.item].chapter].append(finding)
        return out

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data: the same facts as every other form shows."""
        out: dict[str, Any] = encodable(
            {
                "schema_version": SCHEMA_VERSION,
                "tool": {"name": "torchkeep", "version": __version__},
                "project": self.project,
                "models": self.models,
                "tables": self.tables,
                "files": self.files,
                "skipped": self.skipped,
                "profile": self.profile,
                "finished": self.finished.isoformat(),
                "verdict": self.verdict.value,
                "counts": {state.value: count for state, count in self.counts.items()},
                "findings": [
                    finding.to_json()
                    | {
                        "required_by_profile": self.required is None
                        or finding.rule in self.required
                    }
                    for finding in self.findings
                ],
            }
        )
        return out
