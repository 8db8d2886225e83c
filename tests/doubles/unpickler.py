"""CPython's own unpickler in a limited child, with names that resolve to nothing that acts.

``find_class`` and ``persistent_load`` give an inert class and note what was asked for. The child
has bounds on memory and time, no network is touched, and a child that dies is started anew.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import dataclass

_CHILD = r"""
import io, json, pickle, resource, struct, sys, _compat_pickle
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

class Inert:
    def __new__(cls, *args, **kwargs): return object.__new__(cls)
    def __init__(self, *args, **kwargs): pass
    def __call__(self, *args, **kwargs): return Inert()
    def __setstate__(self, state): pass
    def __setitem__(self, key, value): pass
    def append(self, item): pass
    def extend(self, items): pass
    def add(self, item): pass

class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        self.names.append([module, name])
        return Inert
    def persistent_load(self, id):
        return Inert()

out = sys.stdout.buffer
inp = sys.stdin.buffer
while head := inp.read(4):
    data = io.BytesIO(inp.read(struct.unpack("<I", head)[0]))
    unpickler = Unpickler(data)
    unpickler.names = []
    try:
        unpickler.load()
        error = ""
    except BaseException as caught:
        error = type(caught).__name__
    line = json.dumps([error, data.tell(), unpickler.names], default=str).encode()
    out.write(struct.pack("<I", len(line)) + line)
    out.flush()
"""


@dataclass(frozen=True)
class Seen:
    """What the unpickler did: its error, where it stopped, the names it asked for."""

    error: str
    end: int
    names: list[list[str]]


class Unpickler:
    """A child that unpickles what it is sent."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Unpickler:
        return self

    def __exit__(self, *args: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def load(self, data: bytes) -> Seen:
        """Unpickle; a child that died of it (memory, time) is an error called ``died``."""
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-W", "ignore", "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(struct.pack("<I", len(data)) + data)
            self._child.stdin.flush()
            head = self._child.stdout.read(4)
            line = self._child.stdout.read(struct.unpack("<I", head)[0])
        except (OSError, struct.error):
            self.stop()
            return Seen("died", 0, [])
        return Seen(*json.loads(line))
