"""Signatures: Ed25519 and ML-DSA-65 together, and both must verify.

The first has been studied for long, the second holds against quantum computers; whoever forges one
has not forged the other.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

ALGORITHM: Final = 1
SEED: Final = 64
"""Bytes of a secret key: the seeds of both."""

_CONTEXT: Final = b"torchkeep-sealed-v1"
_ED_KEY, _ED_SIGNATURE = 32, 64
_ML_KEY, _ML_SIGNATURE = 1952, 3309
PUBLIC: Final = _ED_KEY + _ML_KEY
"""Bytes of a public key."""

LENGTH: Final = 2 + PUBLIC + _ED_SIGNATURE + _ML_SIGNATURE
"""Bytes of a signature."""


class Signer:
    """A secret key for signatures.

    Args:
        seed: 64 bytes: the seed of Ed25519, then that of ML-DSA-65.

    Raises:
        ValueError: The seed has another length.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED:
            raise ValueError("a signer is made of 64 bytes")
        self._classic = Ed25519PrivateKey.from_private_bytes(seed[:32])
        self._lattice = MLDSA65PrivateKey.from_seed_bytes(seed[32:])
        classic = self._classic.public_key().public_bytes_raw()
        self.public = classic + self._lattice.public_key().public_bytes_raw()
        self.id = signer_id(self.public)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer is never pickled: load its key file where it is needed")

    @classmethod
    def generate(cls) -> tuple[Signer, bytes]:
        """A fresh signer and its seed."""
        seed = secrets.token_bytes(SEED)
        return cls(seed), seed

    def sign(self, message: bytes) -> bytes:
        """Sign a message; the signature brings the public key along."""
        both = self._classic.sign(message) + self._lattice.sign(message, _CONTEXT)
        return ALGORITHM.to_bytes(2, "little") + self.public + both


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was read.

    Attributes:
        public: Public key of the signer.
        both: The signatures of both algorithms.
    """

    public: bytes
    both: bytes

    @classmethod
    def decode(cls, data: bytes) -> Signature:
        """Read a signature.

        Raises:
            ValueError: It is of another algorithm or length.
        """
        if len(data) != LENGTH or int.from_bytes(data[:2], "little") != ALGORITHM:
            raise ValueError("a signature is of an unknown kind")
        return cls(data[2 : 2 + PUBLIC], data[2 + PUBLIC :])

    @property
    def signer(self) -> bytes:
        """Id of the signer."""
        return signer_id(self.public)

    def verifies(self, message: bytes) -> bool:
        """Whether both signatures are over ``message``."""
        try:
            classic = Ed25519PublicKey.from_public_bytes(self.public[:_ED_KEY])
            lattice = MLDSA65PublicKey.from_public_bytes(self.public[_ED_KEY:])
            classic.verify(self.both[:_ED_SIGNATURE], message)
            lattice.verify(self.both[_ED_SIGNATURE:], message, _CONTEXT)
        except (InvalidSignature, ValueError):
            return False
        return True


def signer_id(public: bytes) -> bytes:
    """Names a signer by its public key."""
    return hashlib.sha256(b"torchkeep-signer-v1" + public).digest()
