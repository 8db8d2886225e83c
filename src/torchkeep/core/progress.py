"""How long work tells that it goes on. A library is silent; a command shows a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

Advance = Callable[[int], None]
"""Called with the number of units done since the last call."""

Display = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Opens one bar: called with what is being done and the total number of units (None: unknown)."""


def _silent(_label: str, _total: int | None) -> AbstractContextManager[Advance]:
    return nullcontext(lambda _units: None)


_display: ContextVar[Display] = ContextVar("torchkeep_progress", default=_silent)


def task(label: str, total: int | None = None) -> AbstractContextManager[Advance]:
    """Open a bar where a display is set, else do nothing.

    >>> with task("hashing", 2) as advance:
    ...     advance(2)
    """
    return _display.get()(label, total)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items``, moving a bar by one after each."""
    with task(label, total) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def shown_by(display: Display) -> Iterator[None]:
    """Show the work done inside the ``with`` block on ``display``."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)
