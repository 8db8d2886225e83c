"""The statements of a project, and which of them speak about given bytes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from torchkeep.core import files
from torchkeep.core.dsse import Envelope
from torchkeep.core.errors import Foreign
from torchkeep.core.statement import KINDS, Statement, Subject

SUFFIX: Final = ".dsse.json"
_LIMIT: Final = 64 << 20  # bytes of one statement file

# What still holds after a verb: converting, sealing and renaming change no weight; marking, gauge
# and structure changes leave what the weights were trained on; anything else leaves nothing.
_ALL: Final = frozenset(KINDS)
_ORIGIN: Final = frozenset({"dp-training", "deid"})
CARRIED: Final[Mapping[str, Set[str]]] = {
    "convert": _ALL,
    "seal": _ALL,
    "scrub": _ALL,
    "mark": _ORIGIN,
    "gauge": _ORIGIN,
    "structure": _ORIGIN,
}


class Trust(StrEnum):
    """What is known about the signatures of a statement."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    UNSIGNED = "unsigned"


_LEAST_TRUSTED_LAST: Final = (Trust.TRUSTED, Trust.UNTRUSTED, Trust.UNSIGNED)

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
        # Two statements in one microsecond still get two names.
        name = f"{(first.content or first.sha256)[:16]}-{moment}-{secrets.token_hex(2)}{SUFFIX}"
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
        """Every file in the folder that is not a statement of its kind, and why."""
        for kind in KINDS:
            for path in self._paths(kind):
                try:
                    found = self.read(path)
                    if found.statement.kind != kind:
                        raise Foreign(f"a statement of kind {found.statement.kind} among {kind}")
                except Foreign as error:
                    yield path, error

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

        It may have been made about other bytes, if every verb that led from those to these carries
        statements of this kind (:data:`CARRIED`). It is then trusted no further than the least
        trusted statement on the way.
        """
        reached = self._origins(kind, subject)
        found = []
        for item in self.all(kind):
            for digest in _digests(item.statement) & reached.keys():
                way = reached[digest]
                trust = max(item.trust, way.trust, key=_LEAST_TRUSTED_LAST.index)
                found.append(Evidence(item.statement, item.path, trust, way.via))
        return min(
            reversed(found),
            key=lambda item: (
                _LEAST_TRUSTED_LAST.index(item.trust),
                -item.statement.finished.timestamp(),
            ),
            default=None,
        )

    def _origins(self, kind: str, subject: Subject) -> dict[str, _Way]:
        """The digests that ``subject`` came from without losing statements of ``kind``."""
        steps = [
            item for item in self.all("derivation") if kind in CARRIED.get(_verb(item), frozenset())
        ]
        reached = {digest: _Way(Trust.TRUSTED, ()) for digest in subject.digests}
        # Level by level, so that a digest is reached by the most trusted way that there is.
        for level in _LEAST_TRUSTED_LAST:
            place = _LEAST_TRUSTED_LAST.index(level)
            usable = [step for step in steps if step.trust in _LEAST_TRUSTED_LAST[: place + 1]]
            frontier = list(reached)
            while frontier:
                digest = frontier.pop()
                for step in usable:
                    if digest not in _named(step, "to"):
                        continue
                    for origin in _named(step, "from") - reached.keys():
                        reached[origin] = _Way(level, (*reached[digest].via, _verb(step)))
                        frontier.append(origin)
        return reached

    def _paths(self, kind: str) -> list[Path]:
        return sorted((self.folder / kind).glob(f"*{SUFFIX}"), key=lambda path: path.name[17:])


def _digests(statement: Statement) -> Set[str]:
    return frozenset().union(*(subject.digests for subject in statement.subjects))


def _verb(step: Evidence) -> str:
    return str(step.statement.result.get("verb"))


def _named(step: Evidence, end: str) -> Set[str]:
    entry = step.statement.result.get(end)
    digest = entry.get("digest") if isinstance(entry, Mapping) else None
    if not isinstance(digest, Mapping):
        return frozenset()
    return frozenset(value for value in digest.values() if isinstance(value, str))
