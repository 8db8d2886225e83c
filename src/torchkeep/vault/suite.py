"""Suites: the ciphers and hashes that a sealed file may be made with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from torchkeep.core.errors import Foreign, MissingExtra

TAG: Final = 16
"""Bytes that a cipher adds to each chunk."""

_CPU: Final = "/proc/cpuinfo"


class Cipher(Protocol):
    """An AEAD of ``cryptography`` that writes into memory that is there."""

    def encrypt_into(self, nonce: Any, data: Any, associated_data: Any, buf: Any) -> int:
        """Write ciphertext and tag into ``buf``."""

    def decrypt_into(self, nonce: Any, data: Any, associated_data: Any, buf: Any) -> int:
        """Write the plaintext into ``buf``; raises InvalidTag."""


class Hash(Protocol):
    """A hash that is under way."""

    def update(self, data: Any, /) -> Any:
        """Add bytes."""

    def digest(self) -> bytes:
        """The hash of all bytes so far."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One of them.

    Attributes:
        id: Its number in the header.
        name: What to call it.
        cipher: Makes an AEAD from a key of 32 bytes.
        hash: Starts a hash of 32 bytes, with a prefix.
    """

    id: int
    name: str
    cipher: Callable[[bytes], Cipher]
    hash: Callable[[bytes], Hash]


def of(id: int) -> Suite:
    """The suite of a number.

    Raises:
        Foreign: No reader of this version knows it.
        MissingExtra: It needs ``blake3``, which is not installed.
    """
    if id in (1, 2):
        return Suite(id, f"{_CIPHERS[id][0]}/SHA-256", _CIPHERS[id][1], hashlib.sha256)
    if id in (3, 4):
        return Suite(id, f"{_CIPHERS[id][0]}/BLAKE3", _CIPHERS[id][1], _blake3())
    raise Foreign(
        f"the file is sealed with suite {id}, which this version of torchkeep does not have",
        next="update torchkeep",
    )


@cache
def preferred() -> int:
    """The default: AES where the processor has instructions for it."""
    try:
        with open(_CPU, encoding="utf-8", errors="replace") as file:
            words = set(file.read().split())
    except OSError:  # not Linux: every processor that runs torch there has them
        return 1
    return 1 if "aes" in words else 2


_CIPHERS: Final[dict[int, tuple[str, Callable[[bytes], Cipher]]]] = {
    1: ("AES-256-GCM", AESGCM),
    2: ("ChaCha20-Poly1305", ChaCha20Poly1305),
    3: ("AES-256-GCM", AESGCM),
    4: ("ChaCha20-Poly1305", ChaCha20Poly1305),
}


def _blake3() -> Callable[[bytes], Hash]:
    try:
        import blake3
    except ImportError:
        raise MissingExtra("A file that is sealed with BLAKE3", "blake3") from None
    start: Callable[[bytes], Hash] = blake3.blake3
    return start
