"""Killed at every call of the system, and at any moment: the old file or the new one, never torn.

A kill loses no page cache; what a power cut does is in ``test_rewrap.py`` and ``test_append.py``.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from unittest import mock

import pytest
from makers.sealed import KEY, PUBLIC, contents, stranger, write

from torchkeep import vault
from torchkeep.core import files
from torchkeep.vault import opening, rewrapping, sealing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it forks and kills")

KILLS = 300 if os.environ.get("TORCHKEEP_SOAK") else 8
BOB, TO_BOB = stranger()
OLD, NEW = b"old" * 90_000, b"new!" * 70_000


class Deadly:
    """Stands in for ``os`` below ``core.files``; the process dies at the ``left``-th call.

    It dies after it, or else before it; of a write the half is done then.
    """

    def __init__(self, left: int, after: bool) -> None:
        self._left, self._after = left, after

    def __getattr__(self, name):
        found = getattr(os, name)
        return self._counted(found) if callable(found) and not isinstance(found, type) else found

    def _counted(self, call):
        def counted(*given, **named):
            self._left -= 1
            if not self._left and not self._after:
                if call in (os.write, os.pwrite):
                    call(given[0], given[1][: len(given[1]) // 2], *given[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            out = call(*given, **named)
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
            return out

        return counted


def in_child(work) -> int:
    """Do it in a process of its own; returns the signal that ended it."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def seal(folder):
    sealing.seal(folder / "new", folder / "x.tks", [PUBLIC], overwrite=True)


def seal_first(folder):
    sealing.seal(folder / "new", folder / "y.tks", [PUBLIC])


def rewrap(folder):
    rewrapping.rewrap(folder / "x.tks", [KEY, BOB], [TO_BOB])


def rekey(folder):
    rewrapping.rekey(folder / "x.tks", [KEY, BOB], [TO_BOB])


def unseal(folder):
    with opening.open(folder / "x.tks", KEY) as sealed:
        sealed.unseal(folder / "new", overwrite=True)


def unseal_folder(folder):
    with opening.open(folder / "two.tks", KEY) as sealed:
        sealed.unseal(folder / "out")


ALL = [seal, seal_first, rewrap, rekey, unseal, unseal_folder]


@pytest.fixture
def fresh(tmp_path):
    """Makes a folder with what the commands work on."""
    first = tmp_path / "first"
    first.mkdir()
    write(first / "x.tks", ("f", OLD))
    write(first / "two.tks", ("a", OLD), ("b/c", NEW))
    (first / "new").write_bytes(NEW)
    numbers = iter(range(10_000))

    def make():
        folder = tmp_path / str(next(numbers))
        shutil.copytree(first, folder)
        return folder

    return make


def what(folder) -> tuple:
    """What there is: contents by key, and files in the clear; a torn file raises."""
    found = []
    for name in ("x.tks", "y.tks"):
        if not (folder / name).exists():
            found.append(None)
            continue
        for key in (KEY, BOB):
            try:
                with opening.open(folder / name, key) as sealed:
                    found.append((key is BOB, contents(sealed)[0][1][0]))
            except vault.NoIdentity:
                continue
    out = folder / "out"
    if out.exists():
        found.append({one.relative_to(out).as_posix() for one in out.rglob("*")})
        assert ((out / "a").read_bytes(), (out / "b" / "c").read_bytes()) == (OLD, NEW)
    clear = (folder / "new").read_bytes()
    assert clear in (OLD, NEW)
    return (*map(repr, found), clear)


@pytest.mark.parametrize("work", ALL)
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_every_call_leaves_old_or_new(fresh, work, after):
    before, done = fresh(), fresh()
    work(done)
    allowed, seen = {what(before), what(done)}, set()
    for number in range(1, 1000):
        folder = fresh()

        def dying(number=number, folder=folder):
            with mock.patch.object(files, "os", Deadly(number, after)):
                work(folder)

        ended = in_child(dying)
        found = what(folder)
        assert found in allowed
        seen.add(found)
        work_on(folder, work)
        assert what(folder) == what(done)
        shutil.rmtree(folder)
        if not ended:
            break
    assert number > 10
    assert seen == allowed


def work_on(folder, work):
    """Do again what was killed, as somebody would; what is there already is in its way."""
    if work is seal_first and (folder / "y.tks").exists():
        return
    if work is unseal_folder and (folder / "out").exists():
        return
    work(folder)


@pytest.mark.parametrize("work", [seal, rewrap, rekey])
def test_a_kill_at_any_moment_leaves_old_or_new(fresh, work):
    chance = random.Random(7)
    folder, done = fresh(), fresh()
    work(done)
    allowed = {what(folder), what(done)}
    for _ in range(KILLS):
        child = os.fork()
        if not child:
            try:
                while True:
                    work(folder)
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])  # it was still at work
        assert what(folder) in allowed


def test_a_torn_file_would_be_seen(fresh):
    folder = fresh()
    with mock.patch.object(files, "append", torn):
        rewrapping.rewrap(folder / "x.tks", KEY, [TO_BOB])
    with pytest.raises(vault.Damaged):
        what(folder)


def torn(path, data, at):
    with path.open("ab") as file:
        file.write(data[: len(data) // 2])
