"""``core.events``: what must be kept is kept before anybody acts, or the act does not happen."""

import pytest

from torchkeep.core import actor, events
from torchkeep.core.actor import Actor
from torchkeep.core.errors import NoSink
from torchkeep.core.events import Event, emit, subscribe


@pytest.fixture(autouse=True)
def _nobody_listens(monkeypatch):
    monkeypatch.setattr(events, "_sinks", type(events._sinks)())


def test_every_sink_hears_in_the_order_of_subscription():
    heard = []
    subscribe(lambda event: heard.append(("first", event)))
    subscribe(lambda event: heard.append(("second", event)), keeps=True)
    with actor.acting_as(Actor("anna", authenticated=True)):
        emit("vault.open", "abc", {"why": "test"}, durable=True)
    event = Event("vault.open", "abc", {"why": "test"}, True, Actor("anna", authenticated=True))
    assert heard == [("first", event), ("second", event)]


def test_an_event_needs_no_listener_unless_it_is_durable():
    emit("scan.done", "abc")
    with pytest.raises(NoSink, match=r"vault\.open must be recorded") as caught:
        emit("vault.open", "abc", durable=True)
    assert caught.value.next
    assert caught.value.exit_code == 2


def check_no_keeper_no_act():
    heard = []
    stop = subscribe(heard.append)
    try:
        with pytest.raises(NoSink):
            emit("vault.open", "abc", durable=True)
        assert heard == []
        emit("scan.done", "abc")
        assert len(heard) == 1
    finally:
        stop()


def check_each_subscription_ends_once():
    heard = []
    first, second = subscribe(heard.append), subscribe(heard.append)
    emit("a", "b")
    assert len(heard) == 2
    first()
    first()  # again does nothing: the other one is the same sink and stays
    emit("a", "b")
    assert len(heard) == 3
    second()
    emit("a", "b")
    assert len(heard) == 3


def test_without_a_keeper_no_sink_acts():
    check_no_keeper_no_act()


def test_a_subscription_ends_once():
    check_each_subscription_ends_once()


def tells_before_it_looks(kind, subject, details=None, *, durable=False):
    """A mutant of ``emit``."""
    event = Event(kind, subject, dict(details or {}), durable, actor.current())
    for sink, _ in tuple(events._sinks.values()):
        sink(event)
    if durable and not any(keeps for _, keeps in events._sinks.values()):
        raise NoSink("nobody keeps it")


def never_raises(kind, subject, details=None, *, durable=False):
    """A mutant of ``emit``."""
    event = Event(kind, subject, dict(details or {}), durable, actor.current())
    for sink, _ in tuple(events._sinks.values()):
        sink(event)


def by_equality(sink, *, keeps=False):
    """A mutant of ``subscribe``: tells subscriptions apart by what they call."""
    events._sinks.setdefault(len(events._sinks), (sink, keeps))

    def unsubscribe():
        for key, entry in list(events._sinks.items()):
            if entry == (sink, keeps):
                del events._sinks[key]
                return

    return unsubscribe


@pytest.mark.parametrize("mutant", [tells_before_it_looks, never_raises])
def test_mutants_of_emit_die(monkeypatch, mutant):
    monkeypatch.setitem(globals(), "emit", mutant)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_no_keeper_no_act()


def test_mutants_of_subscribe_die(monkeypatch):
    monkeypatch.setitem(globals(), "subscribe", by_equality)
    with pytest.raises(AssertionError):
        check_each_subscription_ends_once()


def test_what_a_sink_raises_reaches_the_emitter_and_stops_the_others():
    heard = []

    def full(_event):
        raise OSError("disk full")

    subscribe(full, keeps=True)
    subscribe(heard.append)
    with pytest.raises(OSError, match="disk full"):
        emit("vault.open", "abc", durable=True)
    assert heard == []


def test_a_sink_may_subscribe_and_leave_while_it_is_told():
    heard = []

    def once(event):
        stop()
        subscribe(lambda event: heard.append(("later", event.kind)))
        heard.append(("once", event.kind))

    stop = subscribe(once)
    emit("a", "x")
    emit("b", "x")
    assert heard == [("once", "a"), ("later", "b")]


def test_details_are_those_of_the_moment():
    heard = []
    subscribe(heard.append)
    details = {"n": 1}
    emit("a", "b", details)
    details["n"] = 2
    assert heard[0].details == {"n": 1}
