"""One file being scanned: what was found so far, and how much may still be read."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from torchkeep.core.messages import Message, message
from torchkeep.scan.pickle.policy import Policy, Tier, of
from torchkeep.scan.verdict import FileReport, Issue, Verdict

DEEPEST: Final = 4
"""Containers within containers that are opened."""

MOST_UNPACKED: Final = 4 << 30
"""Bytes that are unpacked from compressed members of one file."""

MOST_ISSUES: Final = 200
"""Issues that are kept of one file; more add nothing to its verdict."""


class Followed(NamedTuple):
    """A pickle that was followed, by its bytes.

    Attributes:
        length: How many there are.
        digest: Their SHA-256.
        names: Every name that it looks up.
    """

    length: int
    digest: bytes
    names: frozenset[tuple[str, str]]


@dataclass(slots=True)
class Job:
    """The scan of one file. Formats note what they see with :meth:`issue`.

    Attributes:
        report: What is said about the file.
        tier: How much of a model may lie in a pickle.
        allowed: Names that the project allows; of those that the tier lists it can change nothing.
        unpacked: Bytes that were unpacked so far.
        followed: Where pickles that were followed are noted; None where nobody asks.
        policy: What a pickle in the file may look up.
    """

    report: FileReport
    tier: Tier = Tier.MODULE
    allowed: Policy = field(default_factory=dict)
    unpacked: int = 0
    followed: list[Followed] | None = None
    policy: Policy = field(init=False)
    _worst: int = field(init=False, default=len(Verdict))  # rank of the worst issue

    def __post_init__(self) -> None:
        base = of(self.tier)
        # What the tier says of a name holds: an entry of a project would come without its checks.
        self.allowed = {name: self.allowed[name] for name in self.allowed.keys() - base.keys()}
        self.policy = {**base, **self.allowed} if self.allowed else base

    def note_allowed(self, names: Set[tuple[str, str]]) -> None:
        """Note which of some names only the project allows."""
        for module, name in names & self.allowed.keys():
            self.report.allowed[f"{module}.{name}"] = self.allowed[module, name].until

    def issue(
        self,
        rule: int,
        severity: Verdict,
        text: Message | str,
        *,
        member: str = "",
        offset: int | None = None,
        opcode: str = "",
        **args: object,
    ) -> None:
        """Note something.

        Args:
            rule: Number of the rule: 10 is ``TK-SCAN-010``.
            severity: The verdict that it alone would give.
            text: What was seen: an entry of the catalogue below ``scan.``, or a message.
            member: Where inside the file.
            offset: Byte offset in the member.
            opcode: The pickle opcode there.
            args: Values for the entry's placeholders.
        """
        issues = self.report.issues
        is_full = len(issues) >= MOST_ISSUES
        if is_full and severity.rank >= self._worst:
            return
        self._worst = min(self._worst, severity.rank)
        issue = Issue(
            rule=f"TK-SCAN-{rule:03}",
            severity=severity,
            message=text if isinstance(text, Message) else message(f"scan.{text}", **args),
            member=member,
            offset=offset,
            opcode=opcode,
        )
        if is_full:
            issues[-1] = issue  # what is worse than all that is kept is never lost
        else:
            issues.append(issue)

    def may_unpack(self, length: int, member: str) -> bool:
        """Whether ``length`` more bytes may be unpacked; notes it where they may not."""
        self.unpacked += length
        if self.unpacked > MOST_UNPACKED:
            self.issue(33, Verdict.NOT_SCANNED, "over-budget", member=member)
            return False
        return True
