"""Findings: what a rule saw, in a form that every report shows alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any

from torchkeep.core.messages import Message
from torchkeep.core.text import is_encodable, visible


class State(StrEnum):
    """What is known about a demand. Unknown never passes."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    WARN = "warn"
    NOT_MEASURED = "not-measured"
    NOT_APPLICABLE = "not-applicable"
    ERROR = "error"
    WAIVED = "waived"

    @property
    def rank(self) -> int:
        """Place in the worst-of order, 0 the worst."""
        return _WORST_FIRST.index(self)


_WORST_FIRST = (
    State.FAIL,
    State.ERROR,
    State.NOT_MEASURED,
    State.WARN,
    State.WAIVED,
    State.PASS,
    State.NOT_APPLICABLE,
)


def worst(states: Iterable[State]) -> State:
    """The worst of ``states``; ``not-measured`` where there are none."""
    return min(states, key=lambda state: state.rank, default=State.NOT_MEASURED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measured value with what makes it honest.

    Attributes:
        value: The value itself.
        unit: Its unit; empty for a bare number or a word.
        interval: Its confidence interval, in the same unit.
        confidence: Level of that interval.
        n: How many samples it rests on.
    """

    value: float | int | str | bool
    unit: str = ""
    interval: tuple[float, float] | None = None
    confidence: float = 0.95
    n: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.value:g}" if isinstance(self.value, float) else str(self.value)]
        if self.unit:
            parts.append(self.unit)
        notes = []
        if self.interval:
            low, high = self.interval
            notes.append(f"{self.confidence * 100:g}% CI {low:g} to {high:g}")
        if self.n is not None:
            notes.append(f"n = {self.n:,}")
        if notes:
            parts.append(f"({', '.join(notes)})")
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON data; the interval's level only where there is an interval."""
        out: dict[str, Any] = {"value": self.value}
        if self.unit:
            out["unit"] = self.unit
        if self.interval:
            out |= {"interval": self.interval, "confidence": self.confidence}
        if self.n is not None:
            out["n"] = self.n
        return _json(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where in the project a finding lies.

    Attributes:
        path: Path relative to the project's root, with forward slashes.
        line: 1-based line, in a text file.
        member: Entry inside a container, e.g. ``archive/data.pkl``.
        offset: Byte offset inside the file or member.
    """

    path: str
    line: int | None = None
    member: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        text = f"{self.path}:{self.line}" if self.line else self.path
        if self.member:
            text += f"!{self.member}"
        return f"{text}@{self.offset}" if self.offset is not None else text

    def to_json(self) -> dict[str, Any]:
        """The location as JSON data, without the parts that are unknown."""
        out = {"path": self.path, "line": self.line, "member": self.member, "offset": self.offset}
        return _json({key: value for key, value in out.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A finding that its owner accepts until a date.

    Attributes:
        rule: Id of the rule whose findings are waived.
        reason: Why the risk is accepted.
        owner: Who accepts it.
        expires: Last day on which it holds.
        subject: Only findings about this subject; all of the rule's where None.
    """

    rule: str
    reason: str
    owner: str
    expires: date
    subject: str | None = None

    def covers(self, finding: Finding) -> bool:
        """Whether the waiver speaks about ``finding``, expired or not."""
        return finding.rule == self.rule and self.subject in (None, finding.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule saw about one subject.

    Attributes:
        rule: Stable id, e.g. ``TK-SCAN-001``.
        subject: What it is about: a path relative to the project, a name, or a digest.
        state: What is known.
        reason: Why, in one sentence.
        measured: The measured value, where there is one.
        required: What the policy demands, where it demands something.
        fix: The command that closes it, as an argument list; empty where none does.
        location: Where it lies.
        item: Key of the article's item (:mod:`torchkeep.core.items`); the audit fills it in from
            the rule.
        waiver: The waiver that turned this finding into ``waived``, or that has expired.
    """

    rule: str
    subject: str
    state: State
    reason: Message
    measured: Measured | None = None
    required: Message | None = None
    fix: tuple[str, ...] = field(default=())
    location: Location | None = None
    item: str = ""
    waiver: Waiver | None = None

    def with_(self, **changes: Any) -> Finding:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON data: the same facts as every other report shows."""
        return _json(
            {
                "rule": self.rule,
                "item": self.item,
                "subject": self.subject,
                "state": self.state.value,
                "reason": self.reason.text(),
                "measured": self.measured and self.measured.to_json(),
                "required": self.required and self.required.text(),
                # A name written with escapes is that of another file: no command for it.
                "fix": self.fix if all(map(is_encodable, self.fix)) else (),
                "location": self.location and self.location.to_json(),
                "waiver": self.waiver
                and {
                    "reason": self.waiver.reason,
                    "owner": self.waiver.owner,
                    "expires": self.waiver.expires.isoformat(),
                },
            }
        )


def encodable(value: Any) -> Any:
    """``value`` in a form that JSON in UTF-8 can carry, whatever it holds.

    A string of stray bytes (a file name) is written with escapes; a number that JSON lacks becomes
    ``"nan"``, ``"inf"`` or ``"-inf"``. Mappings and sequences are searched through.
    """
    if isinstance(value, str):
        return value if is_encodable(value) else visible(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {encodable(key): encodable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(entry) for entry in value]
    return value


def _json(table: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = encodable(table)
    return out
