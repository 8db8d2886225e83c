"""What is said about a model file, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from torchkeep.core.finding import encodable
from torchkeep.core.messages import Message

if TYPE_CHECKING:
    from torchkeep.core.statement import Subject

SCHEMA_VERSION = 1


class Verdict(StrEnum):
    """Whether a file is safe to load. Only ``clean`` says that it is."""

    DANGEROUS = "dangerous"
    MALFORMED = "malformed"
    NEEDS_REVIEW = "needs-review"
    NOT_SCANNED = "not-scanned"
    CLEAN = "clean"
    NOT_A_MODEL = "not-a-model"

    @property
    def rank(self) -> int:
        """Place in the worst-of order, 0 the worst."""
        return _RANKS[self]

    @property
    def exit_code(self) -> int:
        """Exit status of a scan that ends with this verdict."""
        if self in (Verdict.CLEAN, Verdict.NOT_A_MODEL):
            return 0
        return 3 if self is Verdict.NOT_SCANNED else 1


_RANKS: Final = {verdict: rank for rank, verdict in enumerate(Verdict)}


def worst(verdicts: list[Verdict]) -> Verdict:
    """The worst of ``verdicts``; ``not-a-model`` where there are none."""
    return min(verdicts, key=lambda verdict: verdict.rank, default=Verdict.NOT_A_MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One reason why a file is not clean.

    Attributes:
        rule: Stable id, ``TK-SCAN-NNN``.
        severity: The verdict that it alone would give.
        message: What was seen.
        member: Where inside the file: ``archive/data.pkl``, and ``a.tar!b.pkl`` for a nested one.
        offset: Byte offset in the member.
        opcode: The pickle opcode there.
    """

    rule: str
    severity: Verdict
    message: Message
    member: str = ""
    offset: int | None = None
    opcode: str = ""

    def to_json(self) -> dict[str, Any]:
        """The issue as JSON data."""
        out: dict[str, Any] = {
            "rule": self.rule,
            "severity": self.severity.value,
            "message": encodable(self.message.text()),
            "member": encodable(self.member),
            "offset": self.offset,
        }
        return out | ({"opcode": self.opcode} if self.opcode else {})


@dataclass(slots=True, kw_only=True)
class FileReport:
    """What is said about one file.

    Attributes:
        path: Its name, as it was given.
        format: What it is, by its content.
        issues: Why it is not clean; empty where it is, and for what is no model.
        is_model: Whether a loader would open it.
        has_pickle: Whether a pickle stands in it, so that loading it runs an unpickler.
        is_checkpoint: Whether ``torch.save`` wrote it, so that its tensors can be converted.
        allowed: Names in it that only the project allows, each with the last day on which it does.
        subject: Its digests, where they were asked for.
    """

    path: str
    format: str = "unknown"
    issues: list[Issue] = field(default_factory=list)
    is_model: bool = True
    has_pickle: bool = False
    is_checkpoint: bool = False
    allowed: dict[str, date | None] = field(default_factory=dict)
    subject: Subject | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of what its issues say."""
        if self.issues:
            return worst([issue.severity for issue in self.issues])
        return Verdict.CLEAN if self.is_model else Verdict.NOT_A_MODEL

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "path": encodable(self.path),
            "format": self.format,
            "verdict": self.verdict.value,
            "findings": [issue.to_json() for issue in self.issues],
            "allowed": [
                {"name": encodable(name), "until": until.isoformat() if until else None}
                for name, until in sorted(self.allowed.items())
            ],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What is said about several files.

    Attributes:
        files: Those that were looked at.
        excluded: How many were left out by a pattern.
    """

    files: tuple[FileReport, ...]
    excluded: int = 0

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of any file."""
        return worst([file.verdict for file in self.files])

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict.value,
            "files": [file.to_json() for file in self.files],
            "excluded": self.excluded,
        }
