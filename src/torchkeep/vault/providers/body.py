"""What the stanza of a provider holds, and what it is bound to.

``u8 length, way, rest``: the way says how the file key was wrapped, so that a provider can have
more than one. Where a key elsewhere wraps nothing but bare keys, it wraps a fresh one, and that one
wraps the file key: so what it wrapped is of use for one file only.
"""

from __future__ import annotations

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from torchkeep.vault.blocks import Stanza
from torchkeep.vault.schedule import LENGTH

SEALED = LENGTH + 16
"""Bytes of a file key under another key."""


def stanza(provider: str, way: str, rest: bytes) -> Stanza:
    """The stanza of a provider."""
    name = way.encode("ascii")
    return Stanza(provider, bytes([len(name)]) + name + rest)


def rest(given: Stanza, provider: str, way: str) -> bytes | None:
    """What a stanza holds; None where it is of another provider, or made in another way."""
    start = stanza(provider, way, b"").body
    if given.type != provider or not given.body.startswith(start):
        return None
    return given.body[len(start) :]


def fresh() -> bytes:
    """A key for one stanza."""
    return secrets.token_bytes(LENGTH)


def lock(key: bytes, file_key: bytes, header_hash: bytes) -> bytes:
    """Wrap a file key under a key that is used this once, bound to its file."""
    return AESGCM(key).encrypt(bytes(12), file_key, header_hash)


def unlock(key: bytes, sealed: bytes, header_hash: bytes) -> bytes | None:
    """The file key; None where it was wrapped under another key, or for another file."""
    try:
        return AESGCM(key).decrypt(bytes(12), sealed, header_hash)
    except InvalidTag:
        return None


def fingerprint(provider: str, name: str) -> bytes:
    """Id of a recipient that is named, and not made of a public key."""
    named = b"torchkeep-recipient-v1" + provider.encode() + b"\0" + name.encode()
    return hashlib.sha256(named).digest()
