"""From the key of a file to the key of each thing in it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from torchkeep.vault import canonical

PREFIX: Final = b"torchkeep-sealed-v1 "
LENGTH: Final = 32
"""Bytes of every key, hash and code."""


def new_file_key() -> bytes:
    """A fresh file key: 32 random bytes."""
    return secrets.token_bytes(LENGTH)


def commitment(file_key: bytes, file: bytes) -> bytes:
    """What the header says about the file key, so that no file opens under two of them."""
    return hmac.digest(file_key, PREFIX + b"commitment" + file, "sha256")


class Schedule:
    """The keys of one file.

    Args:
        file_key: The file key.
        header: The header as it stands in the file; every key depends on each of its bits.
    """

    def __init__(self, file_key: bytes, header: bytes) -> None:
        self.header_hash = hashlib.sha256(header).digest()
        self._root = HKDF.extract(SHA256(), self.header_hash, file_key)
        self._closing = self._key(b"closing")
        self._blocks = self._key(b"keys")

    def __reduce__(self) -> NoReturn:
        raise TypeError("the keys of a file are never pickled: open the file where it is needed")

    def item(self, ordinal: int, descriptor: list[object]) -> bytes:
        """The key of one item.

        Args:
            ordinal: Its number through all parts.
            descriptor: What it is: a tensor with name, dtype, shape and length has another key
                than the same bytes under another name.
        """
        described = hashlib.sha256(canonical.encode(descriptor)).digest()
        return self._key(b"item" + ordinal.to_bytes(8, "little") + described)

    def index(self) -> bytes:
        """The key of the index."""
        return self._key(b"index")

    def close(self, manifest: bytes) -> bytes:
        """The code over header and manifest that only who has the file key can make."""
        body = self.header_hash + hashlib.sha256(manifest).digest()
        return hmac.digest(self._closing, body, "sha256")

    def authenticate(self, block: bytes) -> bytes:
        """The same for a key block."""
        return hmac.digest(self._blocks, self.header_hash + block, "sha256")

    def _key(self, label: bytes) -> bytes:
        return HKDFExpand(SHA256(), LENGTH, PREFIX + label).derive(self._root)
