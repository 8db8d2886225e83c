"""``core.actor``: who acts is known where the act is, and nowhere else."""

import asyncio
import getpass
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from doubles.mutants import killed

from torchkeep.core import actor
from torchkeep.core.actor import Actor, acting_as, current

ANNA, BOB = Actor("anna", authenticated=True), Actor("bob", authenticated=True)


def test_without_a_principal_it_is_the_user_who_says_so(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "me")
    assert current() == Actor("me", authenticated=False)
    assert str(current()) == "me (self-asserted)"
    assert str(ANNA) == "anna"


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no name"), ImportError("pwd")])
def test_a_user_without_a_name(monkeypatch, error):
    def getuser():
        raise error

    monkeypatch.setattr(getpass, "getuser", getuser)
    assert current() == Actor("unknown")


def test_nested_and_undone():
    before = current()
    with acting_as(ANNA):
        with acting_as(BOB):
            assert current() == BOB
        assert current() == ANNA
        with pytest.raises(ZeroDivisionError), acting_as(BOB):
            raise ZeroDivisionError
        assert current() == ANNA
    assert current() == before


def check_threads():
    """Each of many threads acts as somebody else at the same moment."""
    names = [f"user-{n}" for n in range(8)]
    together = threading.Barrier(len(names))

    def act(name):
        with acting_as(Actor(name)):
            together.wait(10)
            seen = current().name
            together.wait(10)
        return seen

    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(act, names)) == names


def check_tasks():
    """Tasks that wait for each other inside their blocks do not mix."""

    async def act(name):
        with acting_as(Actor(name)):
            await asyncio.sleep(0)
            seen = current().name
            await asyncio.sleep(0)
        return seen

    async def main():
        return await asyncio.gather(*(act(name) for name in "abcd"))

    assert asyncio.run(main()) == list("abcd")


def check_new_threads():
    """A thread that somebody else's block has started does not act for them unasked."""
    seen = []
    with acting_as(ANNA):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [current()]


@pytest.mark.parametrize("check", [check_threads, check_tasks, check_new_threads])
def test_local_to_task_and_thread(check):
    check()


def test_a_task_inherits_who_started_it():
    async def main():
        with acting_as(ANNA):
            task = asyncio.create_task(inner())
        return await task

    async def inner():
        return current()

    assert asyncio.run(main()) == ANNA


class Global:
    """A mutant: one value for all."""

    value = None

    def get(self):
        return self.value

    def set(self, value):
        before, self.value = self.value, value
        return before

    def reset(self, before):
        self.value = before


class PerThread(Global, threading.local):
    """A mutant that forgets about tasks."""


@pytest.mark.parametrize("mutant", [Global, PerThread])
def test_mutants_die(monkeypatch, mutant):
    assert killed(
        monkeypatch, actor, "_acting", mutant(), check_threads, check_tasks, check_new_threads
    )
