"""How much work the pickles of one file may make, all of them together.

A file can hold any number of pickles, and a few kilobytes unpack to gigabytes of opcodes: a bound
on each pickle is no bound on the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

MOST: Final = 24_000_000
"""Opcodes, and values on the stack, that are followed for one file: some seconds of work."""


@dataclass(slots=True)
class Budget:
    """What is left."""

    left: int = MOST


_shared: ContextVar[Budget | None] = ContextVar("shared", default=None)


@contextmanager
def shared() -> Iterator[None]:
    """Within: all machines draw on one budget."""
    token = _shared.set(Budget())
    try:
        yield
    finally:
        _shared.reset(token)


def current() -> Budget:
    """The budget that is shared here; one of its own where there is none."""
    return _shared.get() or Budget()
