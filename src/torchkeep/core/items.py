"""The security items that a project is judged by, in five chapters.

Every item has a row in every report. Where no rule has measured it, that row says so; it never
says that the item is fine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torchkeep.core.messages import Message, message


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a team must keep safe.

    Attributes:
        key: ``chapter.name``, stable.
        room: The room that measures it.
        command: The command of that room which leaves the evidence.
    """

    key: str
    room: str
    command: str

    @property
    def chapter(self) -> str:
        """The chapter it stands in."""
        return self.key.partition(".")[0]

    @property
    def title(self) -> Message:
        """Its name for a reader."""
        return message(f"items.{self.key}")

    @property
    def rule(self) -> str:
        """Id of the row that says that nothing has measured it."""
        return f"TK-{self.room.upper()}-000"


CHAPTERS: Final = ("models", "attacks", "access", "data", "practice")

ITEMS: Final = (
    Item("models.loading", "scan", "torchkeep scan"),
    Item("models.encryption", "vault", "torchkeep seal"),
    Item("models.signature", "vault", "torchkeep verify"),
    Item("models.obfuscation", "obfuscate", "torchkeep obfuscate score"),
    Item("models.watermark", "mark", "torchkeep mark verify"),
    Item("attacks.evaluation", "robust", "torchkeep robust evaluate"),
    Item("attacks.training", "robust", "torchkeep robust harden"),
    Item("attacks.distillation", "robust", "torchkeep robust harden"),
    Item("attacks.preprocessing", "robust", "torchkeep robust screen"),
    Item("attacks.regularisation", "robust", "torchkeep robust harden"),
    Item("access.authentication", "access", "torchkeep access init"),
    Item("access.roles", "access", "torchkeep access who"),
    Item("access.log", "record", "torchkeep log verify"),
    Item("access.monitoring", "serve", "torchkeep serve"),
    Item("data.deidentification", "deid", "torchkeep deid profile"),
    Item("data.privacy", "privacy", "torchkeep budget status"),
    Item("data.leakage", "privacy", "torchkeep leakage"),
    Item("data.encryption", "vault", "torchkeep seal"),
    Item("data.storage", "vault", "torchkeep store check"),
    Item("data.backup", "backup", "torchkeep backup drill"),
    Item("practice.project", "audit", "torchkeep audit"),
    Item("practice.secrets", "audit", "torchkeep audit"),
    Item("practice.vulnerabilities", "advisories", "torchkeep advisories check"),
    Item("practice.training", "learn", "torchkeep learn"),
)

BY_KEY: Final = {item.key: item for item in ITEMS}
