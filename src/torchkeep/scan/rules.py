"""What an audit asks about model files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Final

from torchkeep.core import progress
from torchkeep.core.finding import Finding, Location, Measured, State
from torchkeep.core.messages import Message, message
from torchkeep.core.project import FILE, Project
from torchkeep.core.rule import Control, Rule, Ruleset
from torchkeep.scan import allowlist, files, shards
from torchkeep.scan.formats.texts import MODEL_SUFFIXES
from torchkeep.scan.verdict import FileReport, Verdict

_STATES: Final = {
    Verdict.CLEAN: State.PASS,
    Verdict.NOT_A_MODEL: State.NOT_APPLICABLE,
    Verdict.NOT_SCANNED: State.NOT_MEASURED,
}

# Rules of single issues in a file: `scan` reports them, the audit sums them up in TK-SCAN-002.
_NUMBERS: Final = (*range(10, 21), *range(30, 35), *range(36, 39), *range(40, 49), *range(52, 59))
ISSUES: Final = tuple(f"TK-SCAN-{number:03}" for number in (*_NUMBERS, *range(60, 68)))


def scanned(project: Project) -> dict[str, FileReport]:
    """What a scan says about each model file of a project: named by it, or named like one."""
    terms, paths = project.once(allowlist.terms), project.once(_paths)
    models = sorted(paths & _named(project) | (project.once(_candidates) - project.once(_excluded)))
    found = {
        path: files.file(project.root / path, tier=terms.tier, allowed=terms.allowed)
        for path in progress.track(models, "scanning", len(models))
    }
    return found | {
        path: shards.absent(path)
        for path in shards.missing(project.root, paths)
        if not files.matches(path, terms.exclude)
    }


def _paths(project: Project) -> set[str]:
    """The project's files, and links that lead out of it to one: a loader follows them."""
    links = files.left_out(project.root, project.tree)
    return {entry.path for entry in project.tree.files} | {
        path for path in links if (project.root / path).is_file()
    }


def _candidates(project: Project) -> set[str]:
    return {path for path in project.once(_paths) if _is_named_like_model(path)}


def _excluded(project: Project) -> set[str]:
    """What the project's patterns leave out; weights that it names are never among them."""
    patterns = project.once(allowlist.terms).exclude
    out = {path for path in project.once(_candidates) if files.matches(path, patterns)}
    return out - _named(project)


def _named(project: Project) -> set[str]:
    return {normpath(table.weights) for table in project.models.values() if table.weights}


def _formats(project: Project) -> Iterator[Finding]:
    for path, report in project.once(scanned).items():
        if report.verdict is Verdict.NOT_A_MODEL:
            continue
        if report.has_pickle:
            yield _finding(1, path, State.WARN, message("scan.is-pickle"), report)
        elif report.verdict is Verdict.NOT_SCANNED:
            yield _finding(1, path, State.NOT_MEASURED, message("scan.not-looked-into"), report)
        else:
            yield _finding(1, path, State.PASS, message("scan.no-pickle"), report)
    yield from _nothing(project, 1)


def _contents(project: Project) -> Iterator[Finding]:
    for path, report in project.once(scanned).items():
        state = _STATES.get(report.verdict, State.FAIL)
        if not report.issues and report.allowed:
            reason = message("scan.clean-allowed", names=", ".join(sorted(report.allowed)))
        elif not report.issues:
            reason = message("scan.clean" if state is State.PASS else "scan.no-model-file")
        else:
            worst = min(report.issues, key=lambda issue: issue.severity.rank)
            more = len(report.issues) - 1
            text = "scan.issue-and-more" if more else "scan.issue"
            reason = message(text, issue=worst.message, rule=worst.rule, more=more)
        yield _finding(2, path, state, reason, report)
    yield from _nothing(project, 2)
    yield from _terms(project)


def _terms(project: Project) -> Iterator[Finding]:
    """What the project's own terms no longer allow, and what they keep from being looked at."""
    for name, until in project.once(allowlist.terms).expired:
        reason = message("scan.allowed-no-more", name=name, until=until)
        finding = _finding(2, name, State.WARN, reason)
        yield finding.with_(required=message("scan.renew"), location=Location(path=FILE))
    if left := project.once(_excluded):
        reason = message("scan.left-out", count=len(left))
        yield _finding(2, "policy.scan.exclude", State.NOT_APPLICABLE, reason)


def _nothing(project: Project, rule: int) -> Iterator[Finding]:
    """Weights that are named and not among the files, and a project without any model."""
    reports = project.once(scanned)
    named = _named(project)
    for path in sorted(named - reports.keys()):
        yield _finding(rule, path, State.NOT_MEASURED, message("scan.not-there"))
    if not named | reports.keys():
        yield _finding(rule, project.name, State.NOT_APPLICABLE, message("scan.no-models"))


def _finding(
    rule: int, subject: str, state: State, reason: Message, report: FileReport | None = None
) -> Finding:
    is_open = state in (State.FAIL, State.WARN, State.NOT_MEASURED)
    value = None
    if report is not None:
        value = report.format if rule == 1 else report.verdict.value
    return Finding(
        rule=f"TK-SCAN-{rule:03}",
        subject=subject,
        state=state,
        reason=reason,
        measured=Measured(value=value) if value else None,
        required=message(f"scan.required-{rule}") if is_open else None,
        location=_location(subject, report if rule == 2 else None) if report else None,
        fix=_fix(rule, subject, report) if is_open else (),
    )


def _fix(rule: int, path: str, report: FileReport | None) -> tuple[str, ...]:
    takes = (Verdict.CLEAN, Verdict.NEEDS_REVIEW)
    if rule == 1 and report and report.is_checkpoint and report.verdict in takes:
        return ("torchkeep", "convert", f"./{path}")
    return ("torchkeep", "explain", f"TK-SCAN-{rule:03}")


def _location(path: str, report: FileReport | None) -> Location:
    """Where the worst issue lies; the file itself where there is none."""
    if report is None or not report.issues:
        return Location(path=path)
    worst = min(report.issues, key=lambda issue: issue.severity.rank)
    return Location(path=path, member=worst.member or None, offset=worst.offset)


def _is_named_like_model(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in MODEL_SUFFIXES or shards.is_index(path)


_CONTROLS: Final = (
    Control("OWASP AISVS", "1.0", "C6.1.1"),
    Control("MITRE ATLAS", "5.6.0", "AML.T0011.000"),
    Control("CWE", "4.17", "CWE-502"),
)

RULESET = Ruleset(
    room="scan",
    rules=(
        Rule(id="TK-SCAN-001", item="models.loading", check=_formats, controls=_CONTROLS),
        Rule(id="TK-SCAN-002", item="models.loading", check=_contents, controls=_CONTROLS),
    ),
    policy=allowlist.ScanTable,
    issues=ISSUES,
)
