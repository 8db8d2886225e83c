"""A disk with one file, what a crash leaves of it, and the faults that a test plants."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager

import pytest
from doubles import crash
from hypothesis import HealthCheck, settings

from torchkeep.core import files

OLD, NEW = b"old " * 5, b"new! " * 6
FAILURES = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT]

same_folder = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def bits(path):
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def scenario(folder, *, old=None, exclusive=False, mutant=None, **options):
    """Every state that a crash may leave of one write to ``file``."""
    if old is not None:
        (folder / "file").write_bytes(old)
    with crash.recording(folder, chunk=17, **options) as disk:
        if mutant:
            mutant(disk)
        files.write(folder / "file", NEW, exclusive=exclusive)
        disk.promise("written")
    return list(disk.states())


def violations(states, *, old=None, **_):
    """The states that break a promise: old or new before the write returned, new after it."""
    return [
        state
        for state in states
        if (content := state.tree.get("file")) != NEW
        and (content != old or "written" in state.promises)
    ]


KINDS = {"replace": {"old": OLD}, "create": {}, "exclusive": {"exclusive": True}}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def is_folder(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def without_folder_sync(disk):
    sync = disk.fsync
    disk.fsync = lambda descriptor: is_folder(descriptor) or sync(descriptor)
