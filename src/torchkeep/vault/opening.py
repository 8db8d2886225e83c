"""Opens sealed files for whoever may, and says of any sealed file whether it can be relied on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from torchkeep.core import files, source
from torchkeep.core.errors import Refused, UsageError
from torchkeep.core.source import FileSource, Source
from torchkeep.vault import checking, frame, later, memory
from torchkeep.vault.errors import Damaged, Withheld
from torchkeep.vault.frame import Frame
from torchkeep.vault.given import Openers, Trusted, identities, trusted
from torchkeep.vault.reading import Level, Sealed
from torchkeep.vault.recipients import Identity
from torchkeep.vault.shortened import Shortened
from torchkeep.vault.trust import Trust

Location = str | os.PathLike[str]

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a sealed file can be relied on.

    Attributes:
        name: What the file is called.
        reason: Why it is refused; empty where it is not.
        code: The kind of that reason, as errors spell it; ``verified`` where there is none.
        level: What was checked.
        signers: Ids of those whose signatures verify, in hex.
        trusted: Whether one of them is trusted; None where no trust was given.
        model: What it is a version of; empty where that could not be read.
        version: Which version it is; None where that could not be read.
    """

    name: str
    reason: str
    code: str
    level: Level
    signers: tuple[str, ...] = ()
    trusted: bool | None = None
    model: str = ""
    version: int | None = None

    @property
    def is_verified(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.reason

    def to_json(self) -> dict[str, Any]:
        """The verification as JSON data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": "verified" if self.is_verified else "refused",
            "reason": self.reason,
            "code": self.code,
            "level": self.level.value,
            "signers": list(self.signers),
            "trusted": self.trusted,
            "model": self.model,
            "version": self.version,
        }


def open(  # noqa: A001 - vault.open, as gzip.open
    location: Location,
    identity: Openers,
    *,
    trust: Trusted = None,
    level: Level = Level.FULL,
) -> Sealed:
    """Open a sealed file. It never falls back to anything that is not sealed.

    Args:
        location: A path or a URL.
        identity: What may open it, or the path or name of its key file; several are tried in turn.
            The passphrase of a key file is read from ``TORCHKEEP_PASSPHRASE_FILE``.
        trust: Who must have signed it, or the path of a ``.pub`` file or a ``trust.toml``. Without,
            whoever sealed it is not looked at.
        level: How much is checked of what is read: ``full`` or ``tags``.

    Raises:
        Foreign: It is no sealed file.
        Refused: It must not be used; its subclasses say why.
    """
    if level is Level.PUBLIC:
        raise ValueError("without an identity nothing can be opened: use verify()")
    keys, policy = identities(identity), trusted(trust)
    opened = _source(location)
    try:
        found = frame.read(opened)
        sealed = Sealed(found, keys, level)
        if level is Level.FULL or policy is not None:
            checking.signatures(found)
        _check_use(found, sealed.identity)
        if policy is not None:
            _check_trust(found, policy, remember=True)
    except BaseException:
        opened.close()
        raise
    return sealed


@contextmanager
def framed(location: Location) -> Iterator[Frame]:
    """The frame of a sealed file, of which only the form is checked.

    Raises:
        Foreign: It is no sealed file.
        Damaged: Its form is not what the format says.
    """
    with _source(location) as opened:
        yield frame.read(opened)


def verify(
    location: Location,
    *,
    trust: Trusted = None,
    identity: Openers = (),
    level: Level | None = None,
    remember: bool = True,
) -> Verification:
    """Read a whole sealed file and say whether it can be relied on.

    Args:
        location: A path or a URL.
        trust: Who must have signed it, as :func:`open` takes it.
        identity: What may open it, as :func:`open` takes it; without any, tags and key blocks
            cannot be checked.
        level: What is checked; ``full`` with an identity and ``public`` without where None.
        remember: Whether a version that is trusted counts as seen from now on.

    Raises:
        UsageError: The level needs an identity, and there is none.
        Foreign: It is no sealed file, or cannot be read.
    """
    keys, policy = identities(identity), trusted(trust)
    wanted = level or (Level.FULL if keys else Level.PUBLIC)
    if wanted is not Level.PUBLIC and not keys:
        raise UsageError(f"the level {wanted} needs an identity", next="name one with --identity")
    found: Frame | None = None
    code, reason = "verified", ""
    with _source(location) as opened:
        try:
            found = frame.read(opened)
            _verify(found, policy, keys, wanted, remember=remember)
        except Refused as error:
            code, reason = error.code, error.message
        is_signed = wanted is not Level.TAGS or trust is not None
        signers = tuple(one.signer.hex() for one in found.signatures) if found else ()
        return Verification(
            name=opened.name,
            reason=reason,
            code=code,
            level=wanted,
            signers=signers if code == "verified" and is_signed else (),
            trusted=None if trust is None else code == "verified",
            model=found.header.model if found else "",
            version=found.header.version if found else None,
        )


def _verify(
    found: Frame,
    trust: Trust | None,
    keys: Sequence[Identity],
    level: Level,
    *,
    remember: bool,
) -> None:
    if level is not Level.TAGS or trust is not None:
        checking.signatures(found)
    if level is not Level.TAGS:
        checking.digests(found)
    identity = None
    if level is not Level.PUBLIC:
        sealed = Sealed(found, keys, level)
        sealed.check_all()
        identity = sealed.identity
    _check_use(found, identity)
    if trust is not None:
        _check_trust(found, trust, remember=remember)


def _check_use(found: Frame, identity: Identity | None) -> None:
    """Hold the policy of the manifest against the moment and whoever opens it."""
    policy, now = found.manifest.policy, int(time.time())
    if policy.not_before is not None and now < policy.not_before:
        raise _withheld(found, f"it may not be used before {_day(policy.not_before)}")
    if policy.not_after is not None and now > policy.not_after:
        raise _withheld(found, f"it may not be used after {_day(policy.not_after)}")
    if policy.versions is not None:
        lowest, highest = policy.versions
        if not lowest <= found.header.version <= highest:
            raise _withheld(found, "its policy does not allow its own version")
    if (
        identity is not None
        and policy.recipients is not None
        and identity.recipient_id not in policy.recipients
    ):
        raise _withheld(found, "its policy does not name this identity")


def _check_trust(found: Frame, trust: Trust, *, remember: bool) -> None:
    header = found.header
    entry = trust.require(found.name, "seal", header.signers, header.model, header.version)
    memory.check(found.name, entry.id, header.model, header.version)
    if not remember:
        return
    versions = found.manifest.policy.versions
    memory.remember(entry.id, header.model, header.version, versions[0] if versions else 1)


def _withheld(found: Frame, why: str) -> Withheld:
    return Withheld(f"{found.name} is refused: {why}", next="ask whoever sealed it for another")


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


def _source(location: Location) -> Source:
    """The file; as it was before an interrupted rewrap, where its end is damaged."""
    opened = source.open(location)
    if not isinstance(opened, FileSource):
        return later.joined(location, opened)
    try:
        frame.read(opened)
    except Damaged:
        if (size := files.pending(location)) is not None:
            return Shortened(opened, size)
    except Refused:
        pass
    except BaseException:
        opened.close()
        raise
    return opened
