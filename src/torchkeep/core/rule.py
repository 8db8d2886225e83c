"""Rules: what an audit looks for. A room lists its own; others add theirs by entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from torchkeep.core.messages import Message, message, template

if TYPE_CHECKING:
    from torchkeep.core.finding import Finding
    from torchkeep.core.project import Project
    from torchkeep.core.schema import Table

GROUP: Final = "torchkeep.rules"
"""Entry-point group whose values are :class:`Ruleset` objects."""

SECTIONS: Final = ("title", "threat", "measured", "limits", "fix")
"""What is written about a rule, in the order in which ``explain`` prints it."""


@dataclass(frozen=True, slots=True)
class Control:
    """A published control that a rule supports (never: complies with).

    Attributes:
        framework: E.g. ``OWASP AISVS``.
        edition: E.g. ``1.0``.
        id: E.g. ``C6.1.1``.
    """

    framework: str
    edition: str
    id: str

    def __str__(self) -> str:
        return f"{self.framework} {self.edition} {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One demand and how it is checked.

    Attributes:
        id: Stable, ``TK-ROOM-NNN``; third parties use a prefix of their own.
        item: Key of the item it measures (:mod:`torchkeep.core.items`).
        check: Yields one finding per subject; a subject that is fine yields a pass. It runs none
            of the project's code and executes nothing from a file.
        controls: Published controls that it supports.
        texts: What is written about it, by section. The rules of torchkeep leave it empty: theirs
            is in the catalogue.
    """

    id: str
    item: str
    check: Callable[[Project], Iterable[Finding]]
    controls: tuple[Control, ...] = ()
    texts: Mapping[str, Message] = field(default_factory=dict)

    def text(self, section: str) -> Message | None:
        """What is written about the rule under ``section`` of :data:`SECTIONS`, if anything."""
        if self.texts or not self.id.startswith("TK-"):
            return self.texts.get(section)
        return words(self.id, section)


def words(rule: str, section: str) -> Message | None:
    """What the catalogue says under ``section`` about one of torchkeep's own rules."""
    name = f"{rule.split('-')[1].lower()}.{rule}.{section}"
    try:
        template(name)
    except KeyError:  # a third party's rule under our prefix: it has no text, and may still run
        return None
    return message(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """What a room, or a third party, gives to the audit.

    Attributes:
        room: Name of the room and of its table in ``[policy]``.
        rules: Its rules.
        policy: Closed model of its policy table; None where it has no settings.
        issues: Ids of what the room's own commands report in more detail than the audit does.
    """

    room: str
    rules: tuple[Rule, ...]
    policy: type[Table] | None = None
    issues: tuple[str, ...] = ()
