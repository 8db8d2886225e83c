"""A disk that crashes: stands in for ``os`` below ``torchkeep.core.files``.

A kill does not lose the page cache, so no amount of killing shows a missing fsync. This double lets
the calls through to a real folder, writes them down, and afterwards lists what a POSIX disk may
hold after a power cut at every point of that list::

    with crash.recording(tmp_path) as disk:
        files.write(tmp_path / "key", b"new")
        disk.promise("written")
    for state in disk.states():
        assert state.tree.get("key") == b"new" or "written" not in state.promises

The model. What was there when the recording began is on the disk. After that:

- A write to a file is certain once that file was synced after it. Until then each write, on its
  own and in any order, is on the disk, or lost, or torn (only its first half), or a hole (the file
  has grown and reads as zeros there).
- A name (made by open, link, mkdir; moved by replace; taken away by unlink) is certain once its
  folder was synced after it. Until then each change, on its own and in any order, is on the disk
  or lost. A rename is one change: no name is ever half there. Syncing a file says nothing about
  its name; syncing a folder says nothing about what its files hold, nor about its own name.
- A file or folder that no name leads to is gone.

So a rename may survive the data that it was to publish, and data the rename. Where the outcomes at
one cut are few, all are listed; where they are many, a sample drawn by seed, always with the two
extremes (all kept, all lost). Permission bits, owners and times are not modelled. Symbolic links
in the folder and calls that the model does not know raise, so that silence proves nothing. Only
:mod:`torchkeep.core.files` is recorded, and only what it does below the folder.

The same double makes calls fail: see :func:`recording`.
"""
# ruff: noqa: PTH102, PTH108 (it stands in for these very calls of `os`)

from __future__ import annotations

import errno
import itertools
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from torchkeep.core import files

# Calls that leave nothing behind that a crash could lose. Constants pass as well.
_HARMLESS = set("PathLike access fspath fstat lseek path stat stat_result urandom".split())


@dataclass(frozen=True)
class Write:
    """Bytes put into a file."""

    number: int
    offset: int
    data: bytes
    outcomes = ("kept", "lost", "torn", "hole")


@dataclass(frozen=True)
class Truncate:
    """A file cut, or emptied by opening it."""

    number: int
    size: int = 0
    outcomes = ("kept", "lost")


@dataclass(frozen=True)
class Names:
    """Names in folders that now lead to a file or folder, or to nothing; all or none of them."""

    changes: Mapping[tuple[int, str], int | None]
    outcomes = ("kept", "lost")


@dataclass(frozen=True)
class Sync:
    """A file or folder synced."""

    number: int


@dataclass(frozen=True)
class Promise:
    """Somebody has been told that this is done."""

    name: str


Entry = Write | Truncate | Names | Sync | Promise


@dataclass(frozen=True)
class State:
    """What the disk may hold after a crash.

    Attributes:
        cut: How many entries of the log had been issued when the power went.
        promises: What had been promised by then.
        tree: Content of every file by its path below the folder; None for a folder.
    """

    cut: int
    promises: frozenset[str]
    tree: Mapping[str, bytes | None]

    def lay_out(self, folder: Path) -> None:
        """Put the state into an empty folder, to see what a later run makes of it."""
        for name, content in self.tree.items():  # sorted: a folder comes before what it holds
            if content is None:
                (folder / name).mkdir()
            else:
                (folder / name).write_bytes(content)


@contextmanager
def recording(
    folder: Path,
    *,
    fail: Callable[[int, str], int] = lambda index, call: 0,
    hard_links: bool = True,
    chunk: int | None = None,
) -> Iterator[Disk]:
    """Record what ``core.files`` does below ``folder`` inside the ``with`` block.

    Args:
        folder: An existing folder; what it holds is taken to be on the disk.
        fail: Given a call's index and name, its errno, or 0 where it succeeds. A call that fails
            does nothing, but for ``close``, which closes as it does on Linux.
        hard_links: Whether the file system has them.
        chunk: The most bytes that one write takes.
    """
    disk = Disk(folder, fail, hard_links, chunk)
    with mock.patch.object(files, "os", disk):
        yield disk


class Disk:
    """Stands in for the module ``os``; made by :func:`recording`.

    Attributes:
        log: What changed on the disk, in order.
        calls: Names of the calls made, in order, failed ones included.
    """

    def __init__(
        self, folder: Path, fail: Callable[[int, str], int], hard_links: bool, chunk: int | None
    ) -> None:
        self.log: list[Entry] = []
        self.calls: list[str] = []
        self._folder = Path(os.path.realpath(folder))
        self._fail, self._hard_links, self._chunk = fail, hard_links, chunk
        self._start: dict[int, bytes | None] = {0: None}  # 0 is the folder itself
        self._names: dict[tuple[int, str], int] = {}
        self._open: dict[int, int] = {}
        self._survey(self._folder, 0)
        self._old_names = dict(self._names)

    def promise(self, name: str) -> None:
        """Note that from here on no crash may undo ``name``."""
        self.log.append(Promise(name))

    def states(self, *, most: int = 64, seed: int = 0) -> Iterator[State]:
        """Every state that differs, at every cut; at most ``most`` of them at one cut."""
        chance, seen = random.Random(seed), set()
        for cut in range(len(self.log) + 1):
            log = self.log[:cut]
            promises = frozenset(entry.name for entry in log if isinstance(entry, Promise))
            for outcomes in _outcomes(log, most, chance):
                tree = self._tree(log, outcomes)
                if (key := (promises, tuple(tree.items()))) not in seen:
                    seen.add(key)
                    yield State(cut, promises, tree)

    # The calls of os that core.files makes.

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        self._call("open")
        existed = os.path.lexists(path)
        descriptor = os.open(path, flags, mode)
        if not existed:
            self._add(path, b"")
        if (number := self._number(path)) is not None:
            self._open[descriptor] = number
            if existed and flags & os.O_TRUNC:
                self.log.append(Truncate(number))
        return descriptor

    def write(self, descriptor: int, data: Any) -> int:
        self._call("write")
        taken = bytes(data)[: self._chunk]
        offset = os.lseek(descriptor, 0, os.SEEK_CUR)
        assert os.write(descriptor, taken) == len(taken)
        if descriptor in self._open:
            self.log.append(Write(self._open[descriptor], offset, taken))
        return len(taken)

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        self._call("pwrite")
        taken = bytes(data)[: self._chunk]
        assert os.pwrite(descriptor, taken, offset) == len(taken)
        if descriptor in self._open:
            self.log.append(Write(self._open[descriptor], offset, taken))
        return len(taken)

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._call("ftruncate")
        shrinks = size < os.fstat(descriptor).st_size
        os.ftruncate(descriptor, size)
        if descriptor in self._open and shrinks:
            self.log.append(Truncate(self._open[descriptor], size))

    def read(self, descriptor: int, size: int) -> bytes:
        self._call("read")
        return os.read(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        self._call("fsync")
        os.fsync(descriptor)
        if descriptor in self._open:
            self.log.append(Sync(self._open[descriptor]))

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        os.close(descriptor)
        self._call("close")

    def replace(self, source: Any, target: Any) -> None:
        self._call("replace")
        os.replace(source, target)
        self._lead({source: None, target: self._number(source)})

    def link(self, source: Any, target: Any) -> None:
        self._call("link")
        if not self._hard_links:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        os.link(source, target)
        self._lead({target: self._number(source)})

    def unlink(self, path: Any) -> None:
        self._call("unlink")
        os.unlink(path)
        self._lead({path: None})

    def mkdir(self, path: Any, mode: int = 0o777) -> None:
        self._call("mkdir")
        os.mkdir(path, mode)
        self._add(path, None)

    def fchmod(self, descriptor: int, mode: int) -> None:
        self._call("fchmod")
        os.fchmod(descriptor, mode)

    def fchown(self, descriptor: int, owner: int, group: int) -> None:
        self._call("fchown")
        os.fchown(descriptor, owner, group)

    def __getattr__(self, name: str) -> Any:
        if name in _HARMLESS or name.isupper():
            return getattr(os, name)
        raise NotImplementedError(f"the crash double does not model os.{name}")

    # Which name leads where, as the running system sees it.

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if code := self._fail(len(self.calls) - 1, name):
            raise OSError(code, os.strerror(code))

    def _survey(self, folder: Path, number: int) -> None:
        for path in folder.iterdir():
            assert not path.is_symlink(), "the crash double does not model symbolic links"
            inner = self._new(None if path.is_dir() else path.read_bytes())
            self._names[number, path.name] = inner
            if path.is_dir():
                self._survey(path, inner)

    def _new(self, content: bytes | None) -> int:
        self._start[len(self._start)] = content
        return len(self._start) - 1

    def _add(self, path: Any, content: bytes | None) -> None:
        if self._place(path):
            self._lead({path: self._new(content)})

    def _lead(self, changes: Mapping[Any, int | None]) -> None:
        placed = {place: number for path, number in changes.items() if (place := self._place(path))}
        if placed:
            self.log.append(Names(placed))
            _apply(placed, self._names)

    def _place(self, path: Any) -> tuple[int, str] | None:
        """Number of the path's folder, and its name there; None outside the recorded folder."""
        parent = self._number(Path(path).parent)
        return None if parent is None else (parent, Path(path).name)

    def _number(self, path: Any) -> int | None:
        real = Path(os.path.realpath(Path(path).parent), Path(path).name)
        if not real.is_relative_to(self._folder):
            return None
        number = 0
        for name in real.relative_to(self._folder).parts:
            number = self._names[number, name]
        return number

    # What a crash leaves.

    def _tree(self, log: list[Entry], outcomes: Mapping[int, str]) -> dict[str, bytes | None]:
        contents, names = dict(self._start), dict(self._old_names)
        for index, entry in enumerate(log):
            outcome = outcomes.get(index, "kept")
            if outcome == "lost":
                continue
            if isinstance(entry, Names):
                _apply(entry.changes, names)
            elif isinstance(entry, Truncate):
                contents[entry.number] = (contents[entry.number] or b"")[: entry.size]
            elif isinstance(entry, Write):
                contents[entry.number] = _written(contents[entry.number], entry, outcome)
        return dict(sorted(_reachable("", 0, contents, names)))


def _apply(
    changes: Mapping[tuple[int, str], int | None], names: dict[tuple[int, str], int]
) -> None:
    for place, number in changes.items():
        if number is None:
            names.pop(place, None)
        else:
            names[place] = number


def _written(content: bytes | None, write: Write, outcome: str) -> bytes:
    assert content is not None
    if outcome == "hole":
        return content.ljust(write.offset + len(write.data), b"\0")
    data = write.data[: len(write.data) // 2] if outcome == "torn" else write.data
    start = content.ljust(write.offset, b"\0")
    return start[: write.offset] + data + start[write.offset + len(data) :]


def _reachable(
    prefix: str,
    folder: int,
    contents: Mapping[int, bytes | None],
    names: Mapping[tuple[int, str], int],
) -> Iterator[tuple[str, bytes | None]]:
    for (parent, name), number in names.items():
        if parent == folder:
            yield prefix + name, contents[number]
            if contents[number] is None:
                yield from _reachable(f"{prefix}{name}/", number, contents, names)


def _outcomes(log: list[Entry], most: int, chance: random.Random) -> Iterator[dict[int, str]]:
    """What may become of the entries that no sync has made certain, by their index."""
    choices = {
        index: entry.outcomes
        for index, entry in enumerate(log)
        if isinstance(entry, Write | Truncate | Names) and not _certain(entry, log[index + 1 :])
    }
    if math.prod(map(len, choices.values())) <= most:
        for picks in itertools.product(*choices.values()):
            yield dict(zip(choices, picks, strict=True))
        return
    yield dict.fromkeys(choices, "kept")
    yield dict.fromkeys(choices, "lost")
    for _ in range(most - 2):
        yield {index: chance.choice(outcomes) for index, outcomes in choices.items()}


def _certain(entry: Write | Truncate | Names, later: list[Entry]) -> bool:
    numbers = (
        {folder for folder, _ in entry.changes} if isinstance(entry, Names) else {entry.number}
    )
    return numbers <= {sync.number for sync in later if isinstance(sync, Sync)}
