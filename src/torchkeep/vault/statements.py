"""Signatures of statements, and what they are worth to a reader.

A statement says what was done to which bytes; its signature says who says so. It is a DSSE envelope
with a signature of the same kind as a sealed file has, Ed25519 and ML-DSA-65 together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from torchkeep.core import dsse, evidence
from torchkeep.core.dsse import Envelope
from torchkeep.core.errors import Foreign, ProjectError, Refused
from torchkeep.core.evidence import Verify
from torchkeep.core.project import Project
from torchkeep.core.statement import Statement
from torchkeep.vault import trust
from torchkeep.vault.rules import VaultTable
from torchkeep.vault.signing import Signature, Signer
from torchkeep.vault.trust import Trust

# Versions and models are those of sealed files; a statement names bytes, and has neither.
_ANY_VERSION: Final = 2**53 - 1
_NO_MODEL: Final = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the signatures of a statement are worth.

    Attributes:
        trust: How far it is trusted.
        reason: Why no further; empty where it is trusted.
        signers: Ids of those whose signatures verify, in hex.
    """

    trust: evidence.Trust
    reason: str = ""
    signers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.trust is evidence.Trust.TRUSTED


def sign(envelope: Envelope, signer: Signer) -> Envelope:
    """The same envelope with one more signature.

    Raises:
        Foreign: It holds no statement: nothing else is signed under this name.
    """
    Statement.from_envelope(envelope)
    made = dsse.Signature(signer.id.hex(), signer.sign(envelope.signed_bytes))
    return replace(envelope, signatures=(*envelope.signatures, made))


def verify(envelope: Envelope, trusted: Trust, kind: str) -> Judgement:
    """What the signatures of a statement are worth.

    One signature by somebody who may sign statements is enough; others besides do no harm. An entry
    that is limited to some models is trusted with no statement, for a statement names none.

    Args:
        envelope: The statement.
        trusted: Who is trusted.
        kind: Of which kind it must be.

    Raises:
        Foreign: It holds no statement, or one of another kind.
    """
    found = Statement.from_envelope(envelope).kind
    if found != kind:
        raise Foreign(f"a statement of kind {found}, expected {kind}")
    if not envelope.signatures:
        return Judgement(evidence.Trust.UNSIGNED, "nobody has signed it")
    signers = _signers(envelope)
    names = tuple(signer.hex() for signer in signers)
    if not signers:
        return Judgement(evidence.Trust.UNTRUSTED, "none of its signatures verifies")
    try:
        trusted.require("the statement", "statement", signers, _NO_MODEL, _ANY_VERSION)
    except Refused as error:
        return Judgement(evidence.Trust.UNTRUSTED, error.message, names)
    return Judgement(evidence.Trust.TRUSTED, signers=names)


def verifier(project: Project) -> Verify:
    """What judges the statements of a project: those whom ``[vault] trust`` names are trusted.

    The trust file is read with the first statement.
    """
    loaded: list[Trust] = []

    def judge(envelope: Envelope, statement: Statement) -> evidence.Trust:
        if not loaded:
            loaded.append(_trust(project))
        return verify(envelope, loaded[0], statement.kind).trust

    return judge if project.table("vault", VaultTable).trust else evidence.by_presence


def _trust(project: Project) -> Trust:
    """Whom a project trusts.

    Raises:
        ProjectError: The file cannot be read. A statement that cannot be read is left out; one that
            cannot be judged must not be.
    """
    path = project.root / (project.table("vault", VaultTable).trust or "")
    try:
        return trust.load(path)
    except Foreign as error:
        place = project.file or project.root
        raise ProjectError(error.message, path=place, key="vault.trust", next=error.next) from error


def _signers(envelope: Envelope) -> list[bytes]:
    """Ids of those whose signatures verify. What is said of them outside the signatures is not."""
    out = []
    for one in envelope.signatures:
        try:
            read = Signature.decode(one.sig)
        except ValueError:  # of somebody else's kind
            continue
        if read.verifies(envelope.signed_bytes):
            out.append(read.signer)
    return out
