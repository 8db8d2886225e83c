"""What a project says about scans: the table ``[policy.scan]`` of its file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, Literal

from pydantic import Field, field_validator

from torchkeep.core.project import LONGEST_WAIVER, Project
from torchkeep.core.schema import Table, Words
from torchkeep.scan.pickle.dangerous import is_dangerous
from torchkeep.scan.pickle.policy import PLAIN, Policy, Tier

_NAME: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


class AllowTable(Table):
    """``[[policy.scan.allow]]``: a name that pickles may look up until a date.

    Attributes:
        name: Module and name, joined by a dot.
        use: What may be done with it.
        reason: Why it is harmless.
        expires: The last day on which it is allowed.
    """

    name: str
    use: Literal["class", "call", "value"]
    reason: Words
    expires: date

    @field_validator("name")
    @classmethod
    def _harmless(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("expected one name with its module, such as 'package.module.Class'")
        if is_dangerous(value):
            raise ValueError(f"{value} is known to run code and cannot be allowed")
        return value

    @field_validator("expires")
    @classmethod
    def _near(cls, value: date) -> date:
        latest = date.today() + LONGEST_WAIVER
        if value > latest:
            raise ValueError(
                f"{value} is more than {LONGEST_WAIVER.days} days ahead;"
                f" choose a date up to {latest}"
            )
        return value


class ScanTable(Table):
    """``[policy.scan]``.

    Attributes:
        tier: How much of a model may lie in a pickle.
        exclude: Shell patterns of paths that are left out.
        allow: Names that are allowed beside those of the tier.
    """

    tier: Literal["weights", "module"] = "module"
    exclude: list[Words] = Field(default_factory=list)
    allow: list[AllowTable] = Field(default_factory=list)

    @field_validator("allow")
    @classmethod
    def _once(cls, value: list[AllowTable]) -> list[AllowTable]:
        names = [entry.name for entry in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is there more than once")
        return value


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a project's files are scanned.

    Attributes:
        tier: How much of a model may lie in a pickle.
        exclude: Shell patterns of paths that are left out.
        allowed: Names that are allowed beside those of the tier.
        expired: Names that were, each with the last day on which it was.
    """

    tier: Tier = Tier.MODULE
    exclude: tuple[str, ...] = ()
    allowed: Policy = field(default_factory=dict)
    expired: tuple[tuple[str, date], ...] = ()


def terms(project: Project) -> Terms:
    """The terms of a project, as they are today.

    Raises:
        ProjectError: Its table is wrong.
    """
    table, today = project.policy("scan", ScanTable), date.today()
    return Terms(
        tier=Tier(table.tier),
        exclude=tuple(table.exclude),
        allowed={
            _key(entry.name): replace(PLAIN[entry.use], until=entry.expires)
            for entry in table.allow
            if entry.expires >= today
        },
        expired=tuple(
            (entry.name, entry.expires) for entry in table.allow if entry.expires < today
        ),
    )


def _key(name: str) -> tuple[str, str]:
    """Module and name; a name that has dots itself cannot be written, and is never allowed."""
    module, _, last = name.rpartition(".")
    return module, last
