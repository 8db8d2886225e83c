"""What an audit asks about the project itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from torchkeep.audit import secrets
from torchkeep.core import source
from torchkeep.core.errors import SourceError
from torchkeep.core.finding import Finding, Location, State
from torchkeep.core.messages import message
from torchkeep.core.project import FILE, Project
from torchkeep.core.rule import Control, Rule, Ruleset

_TEXT_LIMIT: Final = 16 << 20  # bytes; a larger file is looked at up to here, and a row says so
_HEAD: Final = 8192  # bytes that show whether a file is text


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
            reason=message(
                "audit.all-read", files=len(project.tree.files), skipped=len(project.tree.skipped)
            ),
        )


def _secrets(project: Project) -> Iterator[Finding]:
    count: Counter[str] = Counter()
    for entry in project.tree.files:
        try:
            text = _text(project.root / entry.path)
        except SourceError:
            count["open"] += 1
            yield _unread(entry.path)
            continue
        count["binary"] += text is None
        count["cut"] += text is not None and entry.size > _TEXT_LIMIT
        for secret in secrets.find(text or b""):
            count["open"] += 1
            yield _exposed(entry.path, secret)
    if count["cut"] or not count["open"]:
        yield _searched(project, count)


def _text(path: Path) -> bytes | None:
    """The start of a text file, as much of it as is searched; None for a binary file."""
    with source.open(path) as opened:
        head = opened.read(0, min(opened.size, _HEAD))
        if not secrets.is_text(head):
            return None
        return head + opened.read(len(head), min(opened.size, _TEXT_LIMIT) - len(head))


def _searched(project: Project, count: Mapping[str, int]) -> Finding:
    """What the search covered; where a file was cut, nobody can say that it holds no secret."""
    cut, binary = count["cut"], count["binary"]
    found = {"text": len(project.tree.files) - binary, "binary": binary, "cut": cut}
    return Finding(
        rule="TK-AUDIT-002",
        subject=project.name,
        state=State.WARN if cut else State.PASS,
        reason=message("audit.secrets-cut" if cut else "audit.no-secrets", **found),
        fix=_explain("TK-AUDIT-002") if cut else (),
    )


def _exposed(path: str, secret: secrets.Secret) -> Finding:
    more = secret.count - len(secret.lines)
    return Finding(
        rule="TK-AUDIT-002",
        subject=path,
        state=State.FAIL,
        reason=message(
            "audit.secrets" if more else "audit.secret",
            kind=message(f"audit.secret-kinds.{secret.kind}"),
            lines=secret.lines,
            more=more,
        ),
        required=message("audit.secret-required"),
        location=Location(path=path, line=secret.lines[0]),
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
            fix=("torchkeep", "init", *_folder(project)),
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


def found_elsewhere(_project: Project) -> Iterator[Finding]:
    """For rules whose findings arise while the audit itself runs."""
    return iter(())


def _folder(project: Project) -> tuple[str, ...]:
    """The project's folder as arguments of a command that takes the current one unless told."""
    return () if project.root == Path() else ("--", str(project.root))


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
        Rule(id="TK-AUDIT-004", item="practice.project", check=found_elsewhere),
        Rule(id="TK-AUDIT-005", item="practice.project", check=_statements),
        Rule(id="TK-AUDIT-006", item="practice.project", check=found_elsewhere),
    ),
)
