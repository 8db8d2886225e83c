"""Which guards are active in this process."""

from __future__ import annotations

from torchkeep.scan.loading.terms import Terms, agreed

_guards: list[Terms] = []
_agreed: Terms | None = None


def terms() -> Terms | None:
    """What all active guards let through; None where none is active."""
    return _agreed


def add(given: Terms) -> None:
    """From now on this guard must agree, too."""
    _guards.append(given)
    _settle()


def drop(given: Terms) -> None:
    """This guard need not agree any more."""
    _guards.remove(given)
    _settle()


def _settle() -> None:
    global _agreed
    _agreed = agreed(_guards) if _guards else None
