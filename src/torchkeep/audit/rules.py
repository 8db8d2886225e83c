"""What an audit asks about the project itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from torchkeep.audit import secrets
from torchkeep.core import source
from torchkeep.core.errors import SourceError
from torchkeep.core.finding import Finding, Location, Measured, State
from torchkeep.core.messages import message
from torchkeep.core.project import FILE, Project
from torchkeep.core.rule import Control, Rule, Ruleset

_TEXT_LIMIT: Final = 16 << 20  # bytes; a larger file is looked at up to here, and the row says so


def _readable(project: Project) -> Iterator[Finding]:
    for path, reason in project.tree.unreadable:
        yield Finding(
            rule="TK-AUDIT-001",
            subject=path,
            state=State.NOT_MEASURED,
            reason=message("audit.unreadable", reason=reason),
            location=Location(path=path),
            fix=_explain("TK-AUDIT-001"),
        )
    if not project.tree.unreadable:
        yield Finding(
            rule="TK-AUDIT-001",
            subject=project.name,
            state=State.PASS,
            reason=message("audit.all-read", skipped=len(project.tree.skipped)),
            measured=Measured(value=len(project.tree.files), unit="files"),
        )


def _secrets(project: Project) -> Iterator[Finding]:
    count: Counter[str] = Counter()
    for entry in project.tree.files:
        try:
            with source.open(project.root / entry.path) as opened:
                data = opened.read(0, min(opened.size, _TEXT_LIMIT))
        except SourceError:
            yield _unread(entry.path)
            count["open"] += 1
            continue
        if not secrets.is_text(data):
            count["binary"] += 1
            continue
        count["cut"] += entry.size > _TEXT_LIMIT
        for secret in secrets.find(data):
            count["open"] += 1
            yield _exposed(entry.path, secret)
    if not count["open"]:
        yield Finding(
            rule="TK-AUDIT-002",
            subject=project.name,
            state=State.PASS,
            reason=message("audit.no-secrets", binary=count["binary"], cut=count["cut"]),
            measured=Measured(value=len(project.tree.files) - count["binary"], unit="text files"),
        )


def _exposed(path: str, secret: secrets.Secret) -> Finding:
    return Finding(
        rule="TK-AUDIT-002",
        subject=path,
        state=State.FAIL,
        reason=message("audit.secret", kind=message(f"audit.secret-kinds.{secret.kind}")),
        required=message("audit.secret-required"),
        location=Location(path=path, line=secret.line),
        fix=_explain("TK-AUDIT-002"),
    )


def _unread(path: str) -> Finding:
    return Finding(
        rule="TK-AUDIT-002",
        subject=path,
        state=State.NOT_MEASURED,
        reason=message("audit.secret-unread"),
        location=Location(path=path),
        fix=_explain("TK-AUDIT-002"),
    )


def _declared(project: Project) -> Iterator[Finding]:
    if project.file is None:
        yield Finding(
            rule="TK-AUDIT-003",
            subject=project.name,
            state=State.WARN,
            reason=message("audit.no-project"),
            fix=("torchkeep", "init"),
        )
    else:
        yield Finding(
            rule="TK-AUDIT-003",
            subject=project.file.name,
            state=State.PASS,
            reason=message("audit.project", profile=project.profile),
            location=Location(path=FILE),
        )


def _statements(project: Project) -> Iterator[Finding]:
    damaged = list(project.statements.damaged())
    for path, error in damaged:
        name = path.relative_to(project.root).as_posix()
        yield Finding(
            rule="TK-AUDIT-005",
            subject=name,
            state=State.FAIL,
            reason=message("audit.statement-damaged", error=error.message),
            location=Location(path=name),
            fix=_explain("TK-AUDIT-005"),
        )
    if not damaged:
        count = project.statements.count()
        yield Finding(
            rule="TK-AUDIT-005",
            subject=project.name,
            state=State.PASS if count else State.NOT_APPLICABLE,
            reason=message("audit.statements" if count else "audit.no-statements", count=count),
        )


def _found_elsewhere(_project: Project) -> Iterator[Finding]:
    """For rules whose findings arise while the audit itself runs."""
    return iter(())


def _explain(rule: str) -> tuple[str, ...]:
    return ("torchkeep", "explain", rule)


RULESET = Ruleset(
    room="audit",
    rules=(
        Rule(id="TK-AUDIT-001", item="practice.project", check=_readable),
        Rule(
            id="TK-AUDIT-002",
            item="practice.secrets",
            check=_secrets,
            controls=(Control("OWASP AISVS", "1.0", "C5.1.2"), Control("CWE", "4.17", "CWE-312")),
        ),
        Rule(id="TK-AUDIT-003", item="practice.project", check=_declared),
        Rule(id="TK-AUDIT-004", item="practice.project", check=_found_elsewhere),
        Rule(id="TK-AUDIT-005", item="practice.project", check=_statements),
        Rule(id="TK-AUDIT-006", item="practice.project", check=_found_elsewhere),
    ),
)
