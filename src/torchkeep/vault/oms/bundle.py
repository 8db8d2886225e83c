"""A signature as it lies in a file: a sigstore bundle, version 0.3, of an elliptic curve key.

https://github.com/sigstore/protobuf-specs says what a bundle is. Keys are those that ``openssl
ecparam -name prime256v1 -genkey`` writes, as PEM.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from torchkeep.core import files, strict
from torchkeep.core.dsse import Envelope, Signature
from torchkeep.core.errors import Foreign, Refused, UsageError
from torchkeep.core.statement import PAYLOAD_TYPE
from torchkeep.core.text import visible
from torchkeep.vault import home
from torchkeep.vault.keys import Ask

_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_LONGEST: Final = 64 << 20
_LONGEST_KEY: Final = 1 << 16
# Each curve with the hash that the makers of the format pair it with.
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def private_key(name: home.Name, passphrase: Ask) -> ec.EllipticCurvePrivateKey:
    """Load a key to sign with.

    Args:
        name: A name in the key home, or a path.
        passphrase: Called where it is encrypted.

    Raises:
        UsageError: It is none, or of another kind.
        Refused: Others can read it, or the passphrase is wrong.
        SourceError: It cannot be read.
    """
    path = home.find(name)
    home.require_private(path)
    data = files.read(path, limit=_LONGEST_KEY)
    words = passphrase(str(path)) if b"ENCRYPTED" in data else None
    try:
        key = serialization.load_pem_private_key(data, words)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if words is not None:
            raise Refused(f"{visible(str(path))} does not open with that passphrase") from None
        raise _no_key(path, "private") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise _no_key(path, "private")
    return key


def public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Load a key to verify with.

    Raises:
        UsageError: It is none, or of another kind.
        SourceError: It cannot be read.
    """
    try:
        key = serialization.load_pem_public_key(files.read(path, limit=_LONGEST_KEY))
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "public") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise _no_key(path, "public")
    return key


def encode(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign a payload; the bundle as JSON."""
    bare = Envelope(PAYLOAD_TYPE, payload)
    made = key.sign(bare.signed_bytes, ec.ECDSA(_HASHES[key.curve.name]))
    envelope = Envelope(PAYLOAD_TYPE, payload, (Signature("", made),))
    document = {
        "mediaType": _TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": _hint(key.public_key())},
            "tlogEntries": [],
        },
        "dsseEnvelope": json.loads(envelope.to_bytes()),
    }
    return json.dumps(document).encode()


def decode(path: Path) -> Envelope:
    """Read a bundle; its signature is not looked at.

    Raises:
        Foreign: It is none, or was not signed with a key.
        SourceError: It cannot be read.
    """
    data = files.read(path, limit=_LONGEST)
    try:
        document: Any = strict.loads(data)
        if document["mediaType"] != _TYPE:
            raise ValueError(document["mediaType"])
        material = document["verificationMaterial"]
        envelope = Envelope.from_bytes(json.dumps(document["dsseEnvelope"]).encode())
    except (ValueError, KeyError, TypeError, Foreign) as error:
        raise Foreign(
            f"{visible(str(path))} is no signature: expected a sigstore bundle v0.3 as JSON"
        ) from error
    if "publicKey" not in material:
        raise Foreign(
            f"{visible(str(path))} was signed with a certificate, and only keys are checked here",
            next="check it with the program model_signing",
        )
    return envelope


def verifies(envelope: Envelope, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether the one signature of an envelope is by ``key``."""
    if envelope.payload_type != PAYLOAD_TYPE or len(envelope.signatures) != 1:
        return False
    signature, algorithm = envelope.signatures[0].sig, ec.ECDSA(_HASHES[key.curve.name])
    try:
        key.verify(signature, envelope.signed_bytes, algorithm)
    except InvalidSignature:
        return False
    return True


def _hint(key: ec.EllipticCurvePublicKey) -> str:
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _no_key(path: Path, half: str) -> UsageError:
    return UsageError(
        f"{visible(str(path))} is no {half} key of an elliptic curve in PEM",
        next="make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem, then"
        " openssl ec -in key.pem -pubout -out key.pub.pem",
    )
