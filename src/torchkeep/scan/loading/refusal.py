"""The error that a guarded loader raises, and the way there."""

from __future__ import annotations

from typing import NoReturn

from torchkeep.core import events
from torchkeep.core.errors import Refused
from torchkeep.core.text import visible
from torchkeep.scan import files
from torchkeep.scan.job import Followed
from torchkeep.scan.loading.recording import Recording
from torchkeep.scan.loading.terms import Terms
from torchkeep.scan.verdict import FileReport, Verdict

_NEXT = (
    "look at the file with: torchkeep scan FILE; "
    "its tensors alone come out with: torchkeep convert FILE"
)


class Unsafe(Refused):
    """A file or a pickle is not clean, and was not loaded.

    Attributes:
        report: What the scan says about it; None where code was refused and not a file.
    """

    code = "unsafe"

    def __init__(
        self, message: str, *, next: str = _NEXT, report: FileReport | None = None
    ) -> None:
        super().__init__(message, next=next)
        self.report = report


def scan(reading: Recording, terms: Terms) -> tuple[FileReport, list[Followed]]:
    """Scan what is about to be loaded; what it read stays in memory.

    Returns:
        What is said about it, and the pickles that were followed.

    Raises:
        Unsafe: It is not clean.
    """
    followed: list[Followed] = []
    tier, allowed = terms.tier, terms.allowed
    report = files.opened(reading, tier=tier, allowed=allowed, followed=followed)
    require_clean(report)
    return report, followed


def require_clean(report: FileReport) -> None:
    """Refuse what is not clean. What is no model is left to its loader to complain about.

    Raises:
        Unsafe: It is not clean.
    """
    if report.verdict not in (Verdict.CLEAN, Verdict.NOT_A_MODEL):
        worst = min(report.issues, key=lambda issue: issue.severity.rank)
        deny(report.path, visible(worst.message.text()), rule=worst.rule, report=report)


def deny(
    name: str, why: str, *, rule: str = "", next: str = _NEXT, report: FileReport | None = None
) -> NoReturn:
    """Tell whoever keeps a record, and raise.

    Raises:
        Unsafe: Always.
    """
    details = {"verdict": report.verdict.value if report else "refused", "rule": rule, "why": why}
    events.emit("scan.refused", name, details, durable=False)
    raise Unsafe(f"{name} was not loaded: {why}", next=next, report=report)
