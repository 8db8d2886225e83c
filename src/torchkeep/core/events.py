"""How a room says what happened, without knowing who keeps it.

Rooms at or below ``record`` cannot call it. They emit, and whoever opened the project has
subscribed its record. An event that must not be lost is durable: without a subscriber that keeps
it, emitting raises, so that the act it stands for does not take place unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torchkeep.core import actor
from torchkeep.core.errors import NoSink


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        kind: What, e.g. ``vault.open``.
        subject: To what: a digest, or a name that is no secret.
        details: More of it; never inputs, keys or passwords.
        durable: Whether it must be kept before the act goes on.
        actor: Who did it.
    """

    kind: str
    subject: str
    details: Mapping[str, Any]
    durable: bool
    actor: actor.Actor


Sink = Callable[[Event], None]

_sinks: dict[object, tuple[Sink, bool]] = {}  # by subscription, in their order


def subscribe(sink: Sink, *, keeps: bool = False) -> Callable[[], None]:
    """Call ``sink`` with every event from now on.

    Args:
        sink: Returns only when the event is kept, if ``keeps``; what it raises reaches the emitter.
        keeps: Whether the sink keeps events durably.

    Returns:
        A function that ends the subscription; calling it again does nothing.
    """
    subscription = object()  # the same sink may subscribe twice
    _sinks[subscription] = (sink, keeps)

    def unsubscribe() -> None:
        _sinks.pop(subscription, None)

    return unsubscribe


def emit(
    kind: str, subject: str, details: Mapping[str, Any] | None = None, *, durable: bool = False
) -> None:
    """Tell every subscriber that something happens, before it happens.

    Raises:
        NoSink: The event is durable and nobody keeps it.
    """
    event = Event(kind, subject, dict(details or {}), durable, actor.current())
    sinks = tuple(_sinks.values())
    if durable and not any(keeps for _, keeps in sinks):
        raise NoSink(
            f"{kind} must be recorded and no record is open",
            next="open the project first, so that its record keeps the event",
        )
    for sink, _ in sinks:
        sink(event)
