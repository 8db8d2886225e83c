"""The chapters of the page: one row for every finding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from torchkeep.audit.render.html.markup import Html, tag
from torchkeep.audit.render.html.words import Words, by_item, count, place
from torchkeep.audit.report import Report
from torchkeep.core.finding import Finding, State, Waiver
from torchkeep.core.text import shell_command

_COLUMNS: Final = ("state", "rule", "finding", "measured", "required")
_LONG: Final = 240  # characters that fit into the height which the style sheet gives


def chapter(words: Words, report: Report, name: str, findings: list[Finding]) -> Html:
    """One chapter; its rows stand under the item that they speak about."""
    heading = tag("h2", words.say(f"chapters.{name}"))
    if not findings:
        return tag("section", heading, tag("p", words.say("labels.empty-chapter")), id=name)
    bodies = (_item(words, report, item, rows) for item, rows in by_item(findings).items())
    table = words.table(words.counts(count(findings)), _COLUMNS, *bodies, kind="findings")
    return tag("section", heading, table, id=name)


def _item(words: Words, report: Report, item: str, findings: list[Finding]) -> Html:
    title = tag("th", words.item(item), colspan=str(len(_COLUMNS)), scope="rowgroup")
    rows = (_row(words, report, finding) for finding in findings)
    return tag("tbody", tag("tr", title), *rows, id=item)


def _row(words: Words, report: Report, finding: Finding) -> Html:
    needed = finding.state is State.NOT_MEASURED and report.blocks(finding)
    note = tag("small", words.say("labels.required")) if needed else Html()
    return tag(
        "tr",
        tag("td", words.state(finding.state), note),
        tag("th", words.rule(report, finding.rule), scope="row"),
        *_cells(words, report, finding),
        data_rule=finding.rule,
        data_state=finding.state.value,
        data_subject=finding.subject,
    )


def _cells(words: Words, report: Report, finding: Finding) -> Iterator[Html]:
    """The finding, what was measured, what is required; without the two, the first has the room."""
    parts = _finding(words, report, finding)
    if finding.measured is None and finding.required is None:
        yield tag("td", *parts, colspan="3")
    else:
        yield tag("td", *parts)
        yield tag("td", str(finding.measured) if finding.measured else "")
        yield tag("td", finding.required.text(words.language) if finding.required else "")


def _finding(words: Words, report: Report, finding: Finding) -> Iterator[Html]:
    """What it is about, why, who waived it, and the command that closes it."""
    if finding.subject != report.project or finding.location:
        yield _part("b", place(finding))
    yield _part("p", finding.reason.text(words.language))
    if finding.waiver:
        waiver = _waiver(words, finding.waiver, finding.state is State.WAIVED)
        yield _part("p", waiver, class_="note")
    # A row that nothing measures has nothing to run; what is said about it stands below.
    if finding.fix and not finding.rule.endswith("-000"):
        command = shell_command(finding.fix)
        if command is None:
            yield tag("p", words.say("labels.no-command"), class_="note")
        else:
            yield _part("code", command)


def _part(name: str, text: str, **attributes: str) -> Html:
    """A part of a finding; one that is long enough to scroll can be reached with the keyboard."""
    if len(text) > _LONG:
        attributes["tabindex"] = "0"
    return tag(name, text, **attributes)


def _waiver(words: Words, waiver: Waiver, holds: bool) -> str:
    return words.say(
        "labels.waived" if holds else "labels.waiver-expired",
        owner=waiver.owner,
        expires=waiver.expires,
        reason=waiver.reason,
    )
