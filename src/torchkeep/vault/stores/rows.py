"""The rows of a store's check: rules 11 to 18 of the room."""

from __future__ import annotations

from typing import Final

from torchkeep.core.finding import Finding, Measured, State
from torchkeep.core.messages import Message, message

PUBLIC: Final = "011"
ENCRYPTED: Final = "012"
ON_THE_WAY: Final = "013"
VERSIONED: Final = "014"
LOCKED: Final = "015"
KEPT: Final = "016"
WRITABLE: Final = "017"
SPACE: Final = "018"

BUCKET: Final = (PUBLIC, ENCRYPTED, ON_THE_WAY, VERSIONED, LOCKED, KEPT)
"""What is looked at of a bucket."""

ISSUES: Final = tuple(f"TK-VAULT-{rule}" for rule in (*BUCKET, WRITABLE, SPACE))

_ITEM: Final = "data.storage"
_CLOSED: Final = (State.PASS, State.NOT_APPLICABLE)


def row(
    rule: str,
    subject: str,
    state: State,
    reason: Message,
    *,
    measured: Measured | None = None,
    fix: tuple[str, ...] = (),
) -> Finding:
    """A row; without a command that closes it, an open one names its page."""
    is_open = state not in _CLOSED
    name = f"TK-VAULT-{rule}"
    return Finding(
        rule=name,
        subject=subject,
        state=state,
        reason=reason,
        measured=measured,
        required=message(f"vault.required-{rule}") if is_open else None,
        fix=(fix or ("torchkeep", "explain", name)) if is_open else (),
        item=_ITEM,
    )
