"""Turns guards on and off; the first one patches the loaders, the last one puts them back."""

from __future__ import annotations

import os
import threading

from torchkeep.scan.loading import active, hook, patches
from torchkeep.scan.loading.terms import Terms

_lock = threading.RLock()


def enter(given: Terms) -> None:
    """Activate a guard."""
    with _lock:
        is_first = active.terms() is None
        active.add(given)
        if is_first:
            hook.insert()
            patches.apply_all()


def leave(given: Terms) -> None:
    """Deactivate a guard."""
    with _lock:
        active.drop(given)
        if active.terms() is None:
            hook.remove()
            patches.undo_all()


def _renew() -> None:
    """In a child: whoever held the lock is in another process now."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)
