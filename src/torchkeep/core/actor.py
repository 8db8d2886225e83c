"""Who acts: the access principal where access control is set up, else the user of the machine."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    Attributes:
        name: Principal or user name.
        authenticated: False for a name that the actor's own machine asserts.
    """

    name: str
    authenticated: bool = False

    def __str__(self) -> str:
        return self.name if self.authenticated else f"{self.name} (self-asserted)"


_acting: ContextVar[Actor | None] = ContextVar("torchkeep_actor", default=None)


def current() -> Actor:
    """The principal that acts in this context, else the operating system's user."""
    return _acting.get() or Actor(_os_user())


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Let ``actor`` be the one who acts inside the ``with`` block (task- and thread-local)."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user id without a name; no pwd
        return "unknown"
