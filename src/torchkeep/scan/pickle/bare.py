"""Pickles that do not say that they are one.

Protocols 0 and 1 have no header, so any file may be such a pickle, prose too: ``N.`` is one. It is
taken for one where an unpickler would get far enough to matter.
"""

from __future__ import annotations

import re
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.pickle.dangerous import is_dangerous
from torchkeep.scan.pickle.hits import What
from torchkeep.scan.pickle.machine import Machine, Outcome
from torchkeep.scan.pickle.opcodes import NAMES
from torchkeep.scan.pickle.policy import Policy
from torchkeep.scan.pickle.stream import Broken
from torchkeep.scan.pickle.values import Global, Made

_MODULE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_MOST_SPACE: Final = 64  # white space that an editor or a transfer may leave behind a pickle


class Bare(Machine):
    """Follows bytes that may be no pickle at all.

    It ends where an unpickler would fail for want of a module: at a name that no module can have.

    Attributes:
        calls: Calls, and state that is set, after a name was looked up.
    """

    calls = 0

    def look_up(self, module: str, name: str) -> Global:
        """As a machine does, for names that can exist."""
        if not _MODULE.fullmatch(module) or not _MODULE.fullmatch(name):
            raise Broken(f"no module is called {module!r:.60}")
        return super().look_up(module, name)

    def call(self, maker: Any, args: Any) -> Made:
        """Count it."""
        self.calls += isinstance(maker, Global)
        return super().call(maker, args)

    def new(self, maker: Any, args: Any, kwargs: Any = None) -> Made:
        """Count it."""
        self.calls += isinstance(maker, Global)
        return super().new(maker, args, kwargs)

    def build(self, target: Any, state: Any) -> None:
        """Count it."""
        self.calls += isinstance(target, Global)
        super().build(target, state)

    def persist(self, id: Any) -> Any:
        """Nobody resolves an id in a file that does not even say that it is a pickle."""
        raise Broken("an unpickler has nobody to ask for an object from outside")


def is_bare(source: Readable, policy: Policy) -> bool:
    """Whether a file without the header of a pickle is one to an unpickler.

    It is where the pickle takes the whole file, or looks up a name and calls it before it ends, or
    looks up one that is known to run code.
    """
    if not source.size or not NAMES[source.read(0, 1)[0]]:
        return False
    machine = Bare(source, 0, policy)
    outcome = machine.run()
    if machine.calls or known_dangers(outcome):
        return True
    return not outcome.broken and _is_all(source, outcome.end)


def known_dangers(outcome: Outcome) -> list[str]:
    """Names that a pickle looks up and that are known to run code."""
    about = (hit.about for hit in outcome.hits if hit.what in (What.GLOBAL, What.DOTTED))
    return [name for name in about if is_dangerous(name)]


def _is_all(source: Readable, end: int) -> bool:
    rest = source.size - end
    return rest <= _MOST_SPACE and not source.read(end, rest).strip(b"\0 \t\r\n")
