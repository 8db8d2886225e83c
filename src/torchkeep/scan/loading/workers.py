"""Processes that are started under a guard: it goes along."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torchkeep.scan.loading import active
from torchkeep.scan.loading.terms import Terms


class _Inherited:
    """A guard that becomes active where it is unpickled.

    A process that is forked has the guard already; one that is started anew unpickles what it
    shall run, and this with it.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def __reduce__(self) -> tuple[Any, ...]:
        from torchkeep.scan.loading.switch import enter

        return enter, (self._terms,)


def start(original: Callable[..., Any]) -> Callable[..., Any]:
    """``BaseProcess.start``."""

    @wraps(original)
    def guarded(self: Any) -> Any:
        terms = active.terms()
        if terms is None:
            return original(self)
        self._torchkeep_guard = _Inherited(terms)
        try:
            return original(self)
        finally:
            del self._torchkeep_guard

    return guarded
