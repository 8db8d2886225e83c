"""Who may sign what: what a reader relies on, and what it remembers.

Trust never comes from the file that is judged, nor from the folder it lies in: it is a public key
or a ``trust.toml`` that the reader names.

.. code-block:: toml

    [[signer]]
    key = "release.key.pub"      # a file beside this one, or the key itself
    may = ["seal"]               # what it may sign; everything where absent
    models = ["income", "eu-*"]  # of which models, as shell patterns; of any where absent
    min_version = 3              # the lowest version that still counts
    until = 2027-03-01           # the last day on which it counts
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from torchkeep.core import files, toml
from torchkeep.core.errors import UsageError
from torchkeep.core.schema import Table, Words, validate
from torchkeep.core.text import visible
from torchkeep.vault import bech32
from torchkeep.vault.errors import Untrusted, Withheld
from torchkeep.vault.signing import PUBLIC, signer_id

PREFIX: Final = "torchkeep-signer-"
"""Before the Bech32 spelling of a public signing key."""

_LONGEST: Final = 1 << 20

Verb = Literal["seal", "statement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One signer that is trusted.

    Attributes:
        public: Its public key.
        may: What it may sign; None for everything.
        models: Patterns of the models it may sign; None for all.
        min_version: The lowest version that still counts.
        until: The last day on which it counts; None for no end.
    """

    public: bytes
    may: frozenset[str] | None = None
    models: tuple[str, ...] | None = None
    min_version: int = 1
    until: date | None = None

    @property
    def id(self) -> bytes:
        """Id of the signer."""
        return signer_id(self.public)


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is trusted."""

    entries: tuple[Entry, ...]

    def require(
        self, name: str, verb: Verb, signers: Sequence[bytes], model: str, version: int
    ) -> Entry:
        """The entry by which somebody who signed may sign this.

        Args:
            name: What to call the file.
            verb: What was done.
            signers: Ids of those whose signatures verify.
            model: Of which model.
            version: Which version.

        Raises:
            Untrusted: None of them may.
            Withheld: One may, but no longer, or not this version.
        """
        found = [entry for entry in self.entries if entry.id in signers]
        may = [entry for entry in found if _covers(entry, verb, model)]
        if not may:
            who = "nobody has signed it" if not signers else "whoever signed it is not trusted"
            raise Untrusted(
                f"{name} is refused: {who if not found else 'its signer may not sign this'}",
                next="ask for a file that a trusted signer has signed",
            )
        today = datetime.now(UTC).date()
        current = [entry for entry in may if entry.until is None or today <= entry.until]
        if not current:
            raise Withheld(
                f"{name} is refused: trust in its signer ended on {may[0].until}",
                next="renew the entry in the trust file, or ask for a newer signature",
            )
        for entry in current:
            if version >= entry.min_version:
                return entry
        raise Withheld(
            f"{name} is refused: it is version {version}, and the lowest that counts is"
            f" {current[0].min_version}",
            next="fetch a newer version",
        )


class _Signer(Table):
    """``[[signer]]``."""

    key: Words
    may: list[Verb] | None = Field(default=None, min_length=1)
    models: list[Words] | None = Field(default=None, min_length=1)
    min_version: Annotated[int, Field(ge=1)] = 1
    until: date | None = None


class _File(Table):
    """The whole file."""

    signer: list[_Signer] = Field(min_length=1)


def load(path: Path) -> Trust:
    """Read a public key (``.pub``) or a trust file.

    Raises:
        UsageError: It is neither.
        ProjectError: The trust file is wrong: file, line and key are named.
        SourceError: It cannot be read.
    """
    if path.suffix != ".toml":
        return Trust((Entry(public=_key(_text(path), str(path))),))
    document, text = toml.parse(path)
    table = validate(_File, document, (), path, text)
    return Trust(tuple(_entry(signer, path) for signer in table.signer))


def spell(public: bytes) -> str:
    """A public signing key as text."""
    return bech32.encode(PREFIX, public)


def _entry(signer: _Signer, path: Path) -> Entry:
    given = signer.key.strip()
    if not given.startswith(PREFIX):
        given = _text(path.parent / given)
    return Entry(
        public=_key(given, signer.key),
        may=frozenset(signer.may) if signer.may is not None else None,
        models=tuple(signer.models) if signer.models is not None else None,
        min_version=signer.min_version,
        until=signer.until,
    )


def _text(path: Path) -> str:
    return files.read(path, limit=_LONGEST).decode("utf-8", "replace").strip()


def _key(text: str, shown: str) -> bytes:
    try:
        prefix, public = bech32.decode(text)
        if prefix != PREFIX or len(public) != PUBLIC:
            raise ValueError("it is of another kind")
    except ValueError as error:
        raise UsageError(
            f"{visible(shown[:80])} is no public signing key: {error}",
            next="name the .pub file that torchkeep key new --sign has written, or a trust.toml",
        ) from None
    return public


def _covers(entry: Entry, verb: str, model: str) -> bool:
    return (entry.may is None or verb in entry.may) and (
        entry.models is None or any(fnmatchcase(model, pattern) for pattern in entry.models)
    )
