"""``core.progress``: silent in a library, told where somebody asked for it."""

import threading
from contextlib import contextmanager

import pytest

from torchkeep.core.progress import shown_by, task, track


class Bars:
    """A display that remembers what it was told."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def __call__(self, label, total):
        self.seen.append(("open", label, total))
        try:
            yield lambda units: self.seen.append(units)
        finally:
            self.seen.append("closed")


def test_nothing_is_said_unless_asked_for(capfd):
    with task("hashing", 3) as advance:
        advance(1)
    assert list(track("ab", "reading")) == ["a", "b"]
    assert capfd.readouterr() == ("", "")


def test_a_display_is_told_of_each_step():
    bars = Bars()
    with shown_by(bars):
        with task("hashing", 3) as advance:
            advance(1)
            advance(2)
        assert list(track("ab", "reading", 2)) == ["a", "b"]
    with task("unseen"):
        pass
    assert bars.seen == [
        *(("open", "hashing", 3), 1, 2, "closed"),
        *(("open", "reading", 2), 1, 1, "closed"),
    ]


def test_a_bar_moves_only_when_the_work_on_an_item_is_done():
    bars = Bars()
    with shown_by(bars):
        items = track("ab", "reading")
        assert next(items) == "a"
        assert bars.seen == [("open", "reading", None)]
        items.close()
    assert bars.seen[-1] == "closed"


def test_a_failure_closes_the_bar_and_forgets_the_display():
    bars = Bars()
    with pytest.raises(ZeroDivisionError), shown_by(bars), task("hashing"):
        raise ZeroDivisionError
    with task("unseen"):
        pass
    assert bars.seen == [("open", "hashing", None), "closed"]


def test_displays_nest_and_stay_in_their_thread():
    outer, inner = Bars(), Bars()

    def elsewhere():
        with task("elsewhere"):
            pass

    with shown_by(outer):
        with shown_by(inner), task("inner"):
            pass
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with task("outer"):
            pass
    assert [entry[1] for entry in outer.seen[::2]] == ["outer"]
    assert [entry[1] for entry in inner.seen[::2]] == ["inner"]
