"""The statements of a project, and which of them speak about given bytes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from torchkeep.core import files, tree
from torchkeep.core.dsse import Envelope
from torchkeep.core.errors import Foreign, SourceError
from torchkeep.core.statement import KINDS, Statement, Subject

SUFFIX: Final = ".dsse.json"
_LIMIT: Final = 64 << 20  # bytes of one statement file

# A scan speaks of bytes: other bytes with the same weights may run code when they are loaded.
_OF_BYTES: Final = frozenset({"scan"})
# What still holds after a verb: sealing changes no byte of what comes out again, converting and
# renaming change no weight; marking, gauge and structure changes leave what the weights were
# trained on; anything else leaves nothing.
_ALL: Final = frozenset(KINDS)
_OF_WEIGHTS: Final = _ALL - _OF_BYTES
_ORIGIN: Final = frozenset({"dp-training", "deid"})
CARRIED: Final[Mapping[str, Set[str]]] = {
    "convert": _OF_WEIGHTS,
    "seal": _ALL,
    "scrub": _OF_WEIGHTS,
    "mark": _ORIGIN,
    "gauge": _ORIGIN,
    "structure": _ORIGIN,
}


class Trust(StrEnum):
    """What is known about the signatures of a statement."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    UNSIGNED = "unsigned"

    @property
    def rank(self) -> int:
        """Place in the order of trust, 0 the most trusted."""
        return list(Trust).index(self)


Verify = Callable[[Envelope, Statement], Trust]
"""Decides how far a statement is trusted; the vault brings one that knows keys."""


def by_presence(envelope: Envelope, _statement: Statement) -> Trust:
    """Without keys nobody is trusted."""
    return Trust.UNTRUSTED if envelope.signatures else Trust.UNSIGNED


@dataclass(frozen=True, slots=True)
class Evidence:
    """A statement that was found.

    Attributes:
        statement: What it says.
        path: Where it lies.
        trust: How far its signatures are trusted.
        via: Verbs between the bytes that it was made about and those asked for, newest first.
    """

    statement: Statement
    path: Path
    trust: Trust
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Way:
    """How a digest was reached: the least trust on the way, and the verbs, newest first."""

    trust: Trust
    via: tuple[str, ...]


class Statements:
    """The folder ``.torchkeep/statements``: ``KIND/CONTENT16-UTC.dsse.json``.

    Args:
        folder: The folder; it need not exist.
        verify: How far a statement is trusted.
    """

    def __init__(self, folder: Path, verify: Verify = by_presence) -> None:
        self.folder = folder
        self.verify = verify

    def add(self, statement: Statement, envelope: Envelope | None = None) -> Path:
        """Keep a statement, never overwriting one.

        Args:
            statement: What is said.
            envelope: The same, signed; unsigned where None.
        """
        first = statement.subjects[0]
        moment = statement.finished.strftime("%Y%m%dT%H%M%S.%fZ")
        # Any number of statements in one microsecond get names of their own.
        name = f"{(first.content or first.sha256)[:16]}-{moment}-{secrets.token_hex(8)}{SUFFIX}"
        path = self.folder / statement.kind / name
        files.make_folder(path.parent, mode=0o700)
        files.write(path, (envelope or statement.envelope()).to_bytes(), exclusive=True)
        return path

    def all(self, kind: str) -> Iterator[Evidence]:
        """Every statement of a kind, oldest first, but for those that :meth:`damaged` lists."""
        for path in self._paths(kind):
            try:
                found = self.read(path)
            except Foreign:
                continue
            if found.statement.kind == kind:
                yield found

    def damaged(self) -> Iterator[tuple[Path, Foreign]]:
        """What should be a statement of its kind in the folder and is not, and why."""
        if not os.path.lexists(self.folder):
            return
        found = tree.walk(self.folder)
        for path, reason in found.unreadable:
            yield self.folder / path, SourceError(f"cannot be looked at: {reason}")
        for path in found.skipped:
            yield self.folder / path, Foreign("neither a statement nor a folder of them")
        for entry in found.files:
            if entry.path.endswith(SUFFIX) and (problem := self._problem(entry.path)):
                yield self.folder / entry.path, problem

    def count(self) -> int:
        """How many statement files there are."""
        return sum(len(self._paths(kind)) for kind in KINDS)

    def read(self, path: Path) -> Evidence:
        """One statement from its file.

        Raises:
            Foreign: It is not one.
        """
        envelope = Envelope.from_bytes(files.read(path, limit=_LIMIT))
        statement = Statement.from_envelope(envelope)
        return Evidence(statement, path, self.verify(envelope, statement))

    def evidence(self, kind: str, subject: Subject) -> Evidence | None:
        """The best statement of ``kind`` that holds for ``subject``: most trusted, then newest.

        One that speaks of bytes, such as a scan, is found by ``sha256`` alone; any other by the
        digest of the weights too.

        It may have been made about other bytes, if every verb that led from those to these carries
        statements of this kind (:data:`CARRIED`). It is then trusted no further than the least
        trusted statement on the way.
        """
        reached = self._origins(kind, subject)
        found = []
        for item in self.all(kind):
            for digest in _digests(item.statement, kind) & reached.keys():
                way = reached[digest]
                trust = max(item.trust, way.trust, key=lambda trust: trust.rank)
                found.append(Evidence(item.statement, item.path, trust, way.via))
        return min(reversed(found), key=_best_first, default=None)

    def _origins(self, kind: str, subject: Subject) -> dict[str, _Way]:
        """The digests that ``subject`` came from without losing statements of ``kind``."""
        steps: dict[str, list[Evidence]] = {}  # by what they led to
        for step in self.all("derivation"):
            if kind in CARRIED.get(_verb(step), frozenset()):
                for digest in _digests(step.statement, kind):
                    steps.setdefault(digest, []).append(step)
        reached = {digest: _Way(Trust.TRUSTED, ()) for digest in _names(subject, kind)}
        # Level by level, so that a digest is reached by the most trusted way that there is.
        for level in Trust:
            frontier = list(reached)
            for digest in frontier:  # grows while it is walked
                for step in steps.get(digest, ()):
                    if step.trust.rank > level.rank:
                        continue
                    for origin in _origin(step) - reached.keys():
                        reached[origin] = _Way(level, (*reached[digest].via, _verb(step)))
                        frontier.append(origin)
        return reached

    def _paths(self, kind: str) -> list[Path]:
        """The statement files of a kind, oldest first; a folder that cannot be read holds none."""
        try:
            found = [path for path in (self.folder / kind).iterdir() if path.name.endswith(SUFFIX)]
        except OSError:
            return []
        return sorted(found, key=lambda path: (path.name[17:], path.name))

    def _problem(self, name: str) -> Foreign | None:
        """Why the file ``name`` is no statement of its kind, if it is none."""
        kind = name.rpartition("/")[0]
        if kind not in KINDS:
            return Foreign("not in the folder of a kind that this version knows")
        try:
            found = self.read(self.folder / name)
        except Foreign as error:
            return error
        if found.statement.kind != kind:
            return Foreign(f"a statement of kind {found.statement.kind} among {kind}")
        return None


def _digests(statement: Statement, kind: str) -> Set[str]:
    """What a statement is about, as far as one of ``kind`` can be about it."""
    return frozenset().union(*(_names(subject, kind) for subject in statement.subjects))


def _names(subject: Subject, kind: str) -> Set[str]:
    return frozenset({subject.sha256}) if kind in _OF_BYTES else subject.digests


def _verb(step: Evidence) -> str:
    return str(step.statement.result.get("verb"))


def _origin(step: Evidence) -> Set[str]:
    """The digests of what a derivation started from."""
    entry = step.statement.result.get("from")
    digest = entry.get("digest") if isinstance(entry, Mapping) else None
    if not isinstance(digest, Mapping):
        return frozenset()
    return frozenset(value for value in digest.values() if isinstance(value, str))


def _best_first(item: Evidence) -> tuple[int, float, int]:
    return item.trust.rank, -item.statement.finished.timestamp(), len(item.via)
