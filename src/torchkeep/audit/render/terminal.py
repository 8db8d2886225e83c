"""The report as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from torchkeep.audit.report import Report, Verdict
from torchkeep.core.finding import Finding, State
from torchkeep.core.messages import message
from torchkeep.core.text import shell_command, visible, width

_COLOURS: Final = {
    State.PASS: "32",
    State.FAIL: "1;31",
    State.WARN: "33",
    State.NOT_MEASURED: "35",
    State.NOT_APPLICABLE: "2",
    State.ERROR: "1;31",
    State.WAIVED: "36",
}
_VERDICT_COLOURS: Final = {
    Verdict.PASS: "1;32",
    Verdict.FAIL: "1;31",
    Verdict.INCOMPLETE: "1;35",
}
_STATE_WIDTH: Final = 15
_RULE_WIDTH: Final = 19
_INDENT: Final = 2 + _STATE_WIDTH + _RULE_WIDTH
_PIECES: Final = re.compile(r"\s+|[\u2e80-\uffef]|[^\s\u2e80-\uffef]+")
_SGR: Final = re.compile(r"\x1b\[[0-9;]*m")
_NEVER_FIRST: Final = frozenset("，。；：、）！？”")


def render(
    report: Report, language: str = "en", *, colour: bool = False, columns: int = 100
) -> str:
    """Plain text; with ``colour``, states are coloured as well as named.

    Args:
        report: What to show.
        language: ``en`` or ``zh``.
        colour: Whether the reader is a terminal that shows colours.
        columns: Width at which lines are folded.
    """
    page = _Page(report.project, language, colour, max(columns, 60))
    lines = list(page.head(report))
    for chapter, findings in report.chapters().items():
        lines += ["", page.paint(page.word(f"report.chapters.{chapter}"), "1")]
        for finding in findings:
            lines += page.row(finding)
    return "\n".join([*lines, "", *page.foot(report)]) + "\n"


class _Page:
    """Writes rows in one language and width."""

    def __init__(self, project: str, language: str, colour: bool, columns: int) -> None:
        self.project = project
        self.language = language
        self.colour = colour
        self.columns = columns
        self.colon = self.word("audit.colon")

    def word(self, name: str, **args: object) -> str:
        return visible(message(name, **args).text(self.language))

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def head(self, report: Report) -> Iterator[str]:
        verdict = self.word(f"report.verdicts.{report.verdict.value}")
        counts = self.word(
            "audit.scope",
            models=report.models,
            tables=report.tables,
            files=report.files,
            profile=report.profile,
        )
        yield from self.fold(f"{visible(report.project)}   {counts}", 0)
        lead = self.paint(verdict, _VERDICT_COLOURS[report.verdict])
        text = ""
        if worst := report.worst:
            text = f"{worst.rule} {worst.subject}{self.colon}{worst.reason.text(self.language)}"
            lead += self.colon
        yield from self.fold(visible(text), 2, lead)

    def row(self, finding: Finding) -> Iterator[str]:
        state = self.pad(self.word(f"report.states.{finding.state.value}"), _STATE_WIDTH)
        rule = self.pad(visible(finding.rule), _RULE_WIDTH)
        text = finding.reason.text(self.language)
        if finding.subject != self.project or finding.location:
            text = f"{_where(finding)}{self.colon}{text}"
        if finding.measured:
            text += f" [{finding.measured}]"
        lead = f"  {self.paint(state, _COLOURS[finding.state])}{rule}"
        yield from self.fold(visible(text), _INDENT, lead)
        yield from self.notes(finding)

    def notes(self, finding: Finding) -> Iterator[str]:
        """What is needed, who waived it, and the command that closes it."""
        if finding.required:
            yield from self.note("report.columns.required", finding.required.text(self.language))
        if finding.waiver:
            kind = "waived" if finding.state is State.WAIVED else "waiver-expired"
            waived = self.word(
                f"report.labels.{kind}",
                owner=finding.waiver.owner,
                expires=finding.waiver.expires,
                reason=finding.waiver.reason,
            )
            yield from self.fold(waived, _INDENT)
        # A row that nothing measures has nothing to run; `explain` of its rule stands in the foot.
        if finding.fix and not finding.rule.endswith("-000"):
            command = shell_command(finding.fix)
            if command is None:
                yield from self.note("report.columns.fix", self.word("report.labels.no-command"))
            else:  # never folded: it is there to be copied
                yield f"{'':{_INDENT}}{self.word('report.columns.fix')}{self.colon}{command}"

    def note(self, label: str, text: str) -> Iterator[str]:
        yield from self.fold(f"{self.word(label)}{self.colon}{visible(text)}", _INDENT)

    def foot(self, report: Report) -> Iterator[str]:
        counts = [
            self.word(f"report.counts.{state.value}", count=count)
            for state, count in report.counts.items()
        ]
        waived = [f.waiver.expires for f in report.findings if f.state is State.WAIVED and f.waiver]
        until = self.word("audit.first-expiry", date=min(waived)) if waived else ""
        yield from self.fold(self.word("report.counts.between").join(counts) + until, 0)
        if report.skipped:
            more = f" (+{len(report.skipped) - 5})" if len(report.skipped) > 5 else ""
            yield from self.fold(self.word("audit.skipped", names=report.skipped[:5]) + more, 0)
        if State.NOT_MEASURED in report.counts:
            yield from self.fold(self.word("audit.unknown"), 0)

    def pad(self, text: str, columns: int) -> str:
        return text + " " * max(columns - width(text), 1)

    def fold(self, text: str, indent: int, lead: str = "") -> Iterator[str]:
        """``lead`` and then ``text``, folded so that every further line starts at ``indent``."""
        lead = lead or " " * indent
        taken = width(_SGR.sub("", lead))
        first, *others = _fold(text, self.columns - taken, self.columns - indent)
        yield lead + first
        for line in others:
            yield " " * indent + line


def _where(finding: Finding) -> str:
    """The subject, and the place in the project where that does not say the same."""
    place = finding.location
    if place is None:
        return finding.subject
    return str(place) if place.path == finding.subject else f"{finding.subject} ({place})"


def _fold(text: str, first: int, columns: int) -> list[str]:
    """Break a line at spaces and between Chinese characters; a longer word overflows."""
    lines = [""]
    used, limit = 0, first
    for piece in _PIECES.findall(text):
        if used and used + width(piece) > limit and piece not in _NEVER_FIRST:
            lines.append("")
            used, limit = 0, columns
        if used or not piece.isspace():
            lines[-1] += piece
            used += width(piece)
    return [line.rstrip() for line in lines]
