"""Waivers: findings that their owner accepts until a date."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from torchkeep.core.finding import Finding, Location, State, Waiver
from torchkeep.core.messages import message
from torchkeep.core.project import FILE, Project

# An error is a rule that could not speak: nobody can accept what is not known.
WAIVABLE: Final = frozenset({State.FAIL, State.WARN, State.NOT_MEASURED})


def apply(project: Project, findings: Iterable[Finding], today: date) -> list[Finding]:
    """Mark what is waived, fail what was waived for too long, and warn of idle waivers."""
    findings = list(findings)
    out = [_judge(finding, project.waivers, today) for finding in findings]
    for waiver in project.waivers:
        if not any(waiver.covers(f) and f.state in WAIVABLE for f in findings):
            out.append(_idle(waiver))
    return out


def _judge(finding: Finding, waivers: Iterable[Waiver], today: date) -> Finding:
    if finding.state not in WAIVABLE:
        return finding
    covering = [waiver for waiver in waivers if waiver.covers(finding)]
    if not covering:
        return finding
    waiver = max(covering, key=lambda waiver: waiver.expires)
    if waiver.expires >= today:
        return finding.with_(state=State.WAIVED, waiver=waiver)
    reason = message("audit.waiver-expired", expires=waiver.expires, reason=finding.reason)
    return finding.with_(state=State.FAIL, waiver=waiver, reason=reason)


def _idle(waiver: Waiver) -> Finding:
    return Finding(
        rule="TK-AUDIT-004",
        item="practice.project",
        subject=waiver.rule if waiver.subject is None else f"{waiver.rule} {waiver.subject}",
        state=State.WARN,
        reason=message("audit.waiver-idle", owner=waiver.owner, expires=waiver.expires),
        location=Location(path=FILE),
        fix=("torchkeep", "explain", "TK-AUDIT-004"),
    )
