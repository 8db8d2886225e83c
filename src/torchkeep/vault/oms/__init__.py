"""Signatures over a model's folder in the format of OpenSSF Model Signing, version 1.0.

Others read and write them with ``model_signing``, so a model can be given to people who have no
torchkeep. A signature vouches for the files; it hides nothing of them, and says nothing of who
else may sign, of versions or of ends: that is what sealing adds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)

from torchkeep.core import files
from torchkeep.core.errors import Refused, UsageError
from torchkeep.core.text import is_encodable, visible
from torchkeep.vault.oms import bundle, folder, manifest
from torchkeep.vault.oms.manifest import Manifest

NAME: Final = "model.sig"
"""What a signature is called in the folder that it is about."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A folder that was signed.

    Attributes:
        folder: Its name.
        signature: Where the signature lies.
        files: How many files it is over.
    """

    folder: str
    signature: str
    files: int

    def to_json(self) -> dict[str, Any]:
        """The same facts as a JSON object."""
        return {"schema_version": 1, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        folder: Name of the folder.
        is_verified: Whether it holds what was signed, and nothing else.
        reason: Why not; empty where it does.
        model: What the signer calls it; empty where nobody vouches for it.
        files: How many files the signature is over.
    """

    folder: str
    is_verified: bool
    reason: str = ""
    model: str = ""
    files: int = 0

    def to_json(self) -> dict[str, Any]:
        """The same facts as a JSON object."""
        return {"schema_version": 1, **asdict(self)}


def sign(
    model: Path,
    key: EllipticCurvePrivateKey,
    *,
    signature: Path | None = None,
    ignored: Sequence[str] = (),
    overwrite: bool = False,
) -> Signed:
    """Sign the files of a folder.

    Args:
        model: The folder.
        key: What to sign with, from :func:`torchkeep.vault.oms.bundle.private_key`.
        signature: The file to write; ``model.sig`` in the folder where None.
        ignored: What to leave out, by name from within the folder.
        overwrite: Whether an existing signature may be replaced.

    Raises:
        UsageError: It is no folder, or holds nothing to sign, or the signature exists.
        Refused: There is a link in it, or a name that is no text.
        SourceError: It cannot be read.
    """
    target = signature or model / NAME
    left = _left_out(model, target, ignored)
    found = folder.names(model, left)
    if not found:
        raise UsageError(f"{visible(str(model))} holds no file to sign", next="name another folder")
    for name in found:
        if not is_encodable(name):
            raise Refused(f"{visible(name)} has a name that is no text", next="rename it")
    digests = {name: folder.sha256(model, name) for name in found}
    called = Path(os.path.realpath(model)).name or "model"
    payload = Manifest(visible(called), digests).payload(left)
    files.write(target, bundle.encode(payload, key), exclusive=not overwrite)
    return Signed(visible(str(model)), visible(str(target)), len(found))


def verify(
    model: Path,
    key: EllipticCurvePublicKey,
    *,
    signature: Path | None = None,
    ignored: Sequence[str] = (),
) -> Verification:
    """Whether a folder holds what was signed, and nothing else.

    Args:
        model: The folder.
        key: Whose signature it must be, from :func:`torchkeep.vault.oms.bundle.public_key`.
        signature: Where it lies; ``model.sig`` in the folder where None.
        ignored: What may lie there besides. What the signer has left out does not count: a
            signature could be over nothing.

    Raises:
        UsageError: It is no folder, or something that is ignored does not lie in it.
        Foreign: The signature is none, or of a kind that is not known here.
        SourceError: Something cannot be read.
    """
    target = signature or model / NAME
    left = _left_out(model, target, ignored)
    envelope, name = bundle.decode(target), visible(str(model))
    if not bundle.verifies(envelope, key):
        return Verification(name, False, f"{visible(str(target))} was not made by that key")
    signed = manifest.read(envelope.payload)
    reason = _difference(model, signed, left)
    return Verification(name, not reason, reason, visible(signed.model), len(signed.digests))


def _left_out(model: Path, signature: Path, ignored: Sequence[str]) -> list[str]:
    """What is left out: what belongs to git, what the caller names, and the signature itself."""
    if not model.is_dir():
        raise UsageError(f"{visible(str(model))} is no folder", next="name the folder of a model")
    folder.require_names(ignored)
    own = folder.inside(model, signature)
    return sorted({*folder.LEFT_OUT, *ignored, *([own] if own else [])})


def _difference(model: Path, signed: Manifest, left: Sequence[str]) -> str:
    """How a folder differs from what was signed; empty where it does not."""
    try:
        found = folder.names(model, left)
    except Refused as error:
        return error.message
    if extra := [name for name in found if name not in signed.digests]:
        return f"{_listed(extra)} not signed: the signature says nothing of what lies there besides"
    if missing := sorted(signed.digests.keys() - set(found)):
        return f"{_listed(missing)} signed and missing"
    changed = [name for name in found if folder.sha256(model, name) != signed.digests[name]]
    return f"{_listed(changed)} not what was signed" if changed else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    return visible(names[0]) + more
