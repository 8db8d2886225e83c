"""Planted faults: a test proves that it would catch them by failing while they are in place."""

from collections.abc import Callable
from typing import Any

import pytest


def killed(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, mutant: Any, *checks: Callable[[], Any]
) -> bool:
    """Whether at least one of ``checks`` fails while ``owner.name`` is ``mutant``."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, mutant)
        for check in checks:
            try:
                check()
            except (Exception, pytest.fail.Exception):  # the latter is none of the former
                return True
    return False
