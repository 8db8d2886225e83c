"""Memory for secrets: locked, wiped, and in no core dump."""

from __future__ import annotations

import mmap
import resource
import subprocess
import sys
from contextlib import suppress

import pytest
from makers.shell import environment

from torchkeep.core.errors import Internal
from torchkeep.vault import memory_lock
from torchkeep.vault.memory_lock import Buffer

SECRET = b"correct horse battery staple"
PAGE = mmap.PAGESIZE


def test_a_buffer_holds_bytes_and_is_wiped():
    with Buffer(len(SECRET)) as buffer:
        assert bytes(buffer.view) == bytes(len(SECRET))
        buffer.view[:] = SECRET
        kept = memoryview(buffer._map)  # of somebody who looks on
        assert SECRET in bytes(kept)
        assert SECRET.decode() not in repr(buffer)
    assert bytes(kept) == bytes(len(kept))
    with pytest.raises(ValueError, match="released"):
        bytes(buffer.view)
    kept.release()
    buffer.wipe()  # once more does nothing


def test_it_is_wiped_after_an_error_too():
    buffer = Buffer(8)
    kept = memoryview(buffer._map)
    with suppress(KeyError), buffer:
        buffer.view[:] = b"12345678"
        raise KeyError
    assert bytes(kept) == bytes(8)


# A user who may lock only so much memory, as any but root.
USER = """
import os, resource, sys
from torchkeep.vault.memory_lock import Buffer
limit, size = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)

def kib():
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith("VmLck:"))

with Buffer(size) as buffer:
    buffer.view[:2] = b"ok"
    print(buffer.is_locked, kib(), str(buffer.view[:2], "ascii"))
    kept = memoryview(buffer._map)
print(kib())
"""


def run(code: str, *arguments: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        env=environment(PYTHONPATH=":".join(sys.path)),
        timeout=60,
    )
    assert done.stderr == b""
    return done.stdout.decode().split()


@pytest.mark.skipif(sys.platform != "linux", reason="what is locked is read from /proc")
def test_it_is_locked_as_far_as_the_system_lets_it():
    assert run(USER, 1 << 20, 100) == ["True", str(PAGE >> 10), "ok", "0"]
    assert run(USER, PAGE, 16 * PAGE) == ["False", "0", "ok", "0"]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is a call of Linux")
def test_a_process_forbids_core_dumps():
    code = (
        "import ctypes, resource\n"
        "from torchkeep.vault import memory_lock\n"
        "look = lambda: (ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),\n"
        "    resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
        "print(look()[0])\n"
        "memory_lock.forbid_dumps()\n"
        "print(*look())\n"
    )
    assert run(code) == ["1", "0", "0"]


@pytest.mark.parametrize("answer", [0, -1])
def test_a_process_that_may_not_forbid_them_is_told(monkeypatch, answer):
    asked = []

    class Library:
        def __init__(self, *_, **__):
            self.prctl = lambda *numbers: asked.append(numbers) or answer

    monkeypatch.setattr(memory_lock.ctypes, "CDLL", Library)
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: asked.append(limit))
    if answer:
        with pytest.raises(Internal, match="forbid core dumps"):
            memory_lock.forbid_dumps()
    else:
        memory_lock.forbid_dumps()
    assert asked == [(resource.RLIMIT_CORE, (0, 0)), (4, 0, 0, 0, 0)]


def test_a_system_without_those_calls_does_without(monkeypatch):
    class Nothing:
        def __init__(self, *_, **__):
            pass

    monkeypatch.setattr(memory_lock.ctypes, "CDLL", Nothing)
    with Buffer(4) as buffer:
        buffer.view[:] = b"text"
        assert not buffer.is_locked
