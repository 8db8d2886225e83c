"""The scan for people: the worst first, one line for each file and each issue.

Lines are never folded, so that a program finds a file and what is said of it on one line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from torchkeep.core.messages import message
from torchkeep.core.text import visible
from torchkeep.scan.verdict import FileReport, Issue, Report, Verdict

MOST_CLEAN: Final = 20
"""Clean files up to which each has a line; one that only the project makes clean always has."""

Paint = Callable[[str, Verdict], str]
"""Gives the word for a verdict its colour."""


def unpainted(word: str, _verdict: Verdict) -> str:
    """The word as it is."""
    return word


def render(
    report: Report,
    language: str = "en",
    *,
    every: bool = False,
    paint: Paint = unpainted,
) -> str:
    """The report as lines, those of clean files last.

    Args:
        report: What was seen.
        language: ``en`` or ``zh``.
        every: Whether clean files have a line each, however many there are.
        paint: Gives the word for a verdict its colour.
    """
    shown = [file for file in report.files if file.verdict is not Verdict.NOT_A_MODEL]
    shown.sort(key=lambda file: (file.verdict.rank, not file.allowed))
    notable = [file for file in shown if file.verdict is not Verdict.CLEAN or file.allowed]
    unlisted = len(shown) - len(notable)
    lines = []
    for file in shown if every or unlisted <= MOST_CLEAN else notable:
        word = paint(_word(file.verdict, language), file.verdict)
        lines += [f"{word}  {visible(file.path)}  ({file.format})", *_details(file, language)]
    if not every and unlisted > MOST_CLEAN:
        lines.append(message("scan.unlisted", count=unlisted).text(language))
    return "\n".join([*lines, _summary(report, language)]) + "\n"


def _details(file: FileReport, language: str) -> Iterator[str]:
    for issue in file.issues:
        text = visible(issue.message.text(language))
        place = _place(issue)
        yield f"    {issue.rule}  {text}" + (f"  [{place}]" if place else "")
    for name, until in sorted(file.allowed.items()):
        note = message("scan.allowed-until" if until else "scan.allowed", name=name, until=until)
        yield f"    {visible(note.text(language))}"


def _place(issue: Issue) -> str:
    place = visible(issue.member)
    return place if issue.offset is None else f"{place}@{issue.offset}"


def _summary(report: Report, language: str) -> str:
    counts = Counter(file.verdict for file in report.files)
    parts = [
        f"{counts[verdict]} {_word(verdict, language)}" for verdict in Verdict if counts[verdict]
    ] or [message("scan.no-models").text(language)]
    if report.excluded:
        parts.append(message("scan.excluded", count=report.excluded).text(language))
    return ", ".join(parts)


def _word(verdict: Verdict, language: str) -> str:
    return message(f"scan.verdicts.{verdict.value}").text(language)
