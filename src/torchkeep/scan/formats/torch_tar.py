"""The tar files that torch wrote before 2017: ``pickle``, ``storages`` and ``tensors``.

Each is a row of pickles with raw data between them; torch still loads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.formats import pickles
from torchkeep.scan.formats.legacy import refuse
from torchkeep.scan.job import Job
from torchkeep.scan.pickle.machine import Machine, Outcome
from torchkeep.scan.pickle.values import Global
from torchkeep.scan.tensors import ITEM_SIZES, storage_of
from torchkeep.scan.verdict import Verdict

NAMES: Final = frozenset({"pickle", "storages", "tensors"})
"""Members of such a file; a fourth, ``sys_info``, is read by nobody."""

_MOST: Final = 1_000_000


class _Wrong(Exception):
    """A member is not what torch wrote."""

    def __init__(self, name: str, offset: int, why: str) -> None:
        super().__init__(why)
        self.name, self.offset = name, offset


def look(job: Job, members: Mapping[str, Readable], member: str, depth: int) -> None:
    """Scan the members of such a file."""
    row = _Row(job, "storages", members["storages"], member, depth)
    try:
        _storages(row)
        row = _Row(job, "tensors", members["tensors"], member, depth)
        _tensors(row)
        row = _Row(job, "pickle", members["pickle"], member, depth)
        row.next(is_key)
        row.finish()
    except _Wrong as error:
        refuse(job, row.where, error.offset, str(error))


def is_key(id: Any) -> bool:
    """Whether a persistent id is one of these files: a number, or a module's class and source."""
    if isinstance(id, tuple):
        return len(id) == 3 and isinstance(id[0], Global)
    return isinstance(id, int) or (isinstance(id, str) and id.isascii() and id.isdigit())


class _Row:
    """Pickles in a row, with raw data between them."""

    def __init__(self, job: Job, name: str, source: Readable, member: str, depth: int) -> None:
        self.job, self.source, self.depth = job, source, depth
        self.where = f"{member}!{name}" if member else name
        self.name, self.offset = name, 0

    def next(self, persistent: Callable[[Any], bool] | None = None) -> Any:
        """What the next pickle would build."""
        machine = Machine(self.source, self.offset, self.job.policy, persistent=persistent)
        outcome: Outcome = machine.run()
        pickles.judge(self.job, self.source, outcome, self.where, self.depth)
        if outcome.broken:
            raise _Wrong(self.name, outcome.end, "a pickle in it is broken")
        self.offset = outcome.end
        return outcome.value

    def count(self) -> int:
        """How many of what follows there are."""
        value = self.next()
        if type(value) is not int or not 0 <= value < _MOST:
            raise _Wrong(self.name, self.offset, "it does not say how much follows")
        return value

    def number(self) -> int:
        """The next eight bytes, as a number."""
        self.skip(8)
        return int.from_bytes(self.source.read(self.offset - 8, 8), "little", signed=True)

    def skip(self, length: int) -> None:
        """Pass by raw data."""
        if length < 0 or self.offset + length > self.source.size:
            raise _Wrong(self.name, self.offset, "data runs past its end")
        self.offset += length

    def finish(self) -> None:
        """Nothing should follow."""
        if rest := self.source.size - self.offset:
            text, at = "trailing-bytes", self.offset
            issue = self.job.issue
            issue(20, Verdict.NEEDS_REVIEW, text, member=self.where, offset=at, count=rest)


def _storages(row: _Row) -> None:
    for _ in range(row.count()):
        said = row.next()
        kind = said[2] if isinstance(said, tuple) and len(said) == 3 else None
        storage = storage_of(("storage", kind, "", "", 0))
        if storage is None:
            raise _Wrong(row.name, row.offset, "a storage has no type")
        row.skip(row.number() * ITEM_SIZES[storage.dtype])
    row.next()  # which of them are views of others
    row.finish()


def _tensors(row: _Row) -> None:
    for _ in range(row.count()):
        row.next()
        dimensions = row.number() & 0xFFFFFFFF  # of the eight bytes, the first four count
        row.skip(dimensions * 16 + 8)  # size and stride, and where it starts
    row.finish()
