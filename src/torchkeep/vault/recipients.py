"""Who a file is sealed for, and what opens it.

Keys are spelled as age spells them (https://c2sp.org/age), so that the keys that somebody has
already will do: ``age1...`` with ``AGE-SECRET-KEY-1...`` for X25519, ``age1pq1...`` with
``AGE-SECRET-KEY-PQ-1...`` for X-Wing, which holds against quantum computers as well.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from torchkeep.core.errors import Refused, UsageError
from torchkeep.vault import bech32
from torchkeep.vault.blocks import MOST_STANZAS, Stanza
from torchkeep.vault.schedule import LENGTH, PREFIX

_INFO: Final = PREFIX + b"recipient"
_MLKEM_PUBLIC: Final = 1184


class Strength(Protocol):
    """What decides with whom a recipient may stand.

    Attributes:
        is_post_quantum: Whether it holds against a quantum computer.
        is_alone: Whether it must be the only one.
    """

    @property
    def is_post_quantum(self) -> bool: ...  # noqa: D102 (described above)

    @property
    def is_alone(self) -> bool: ...  # noqa: D102


class Recipient(Strength, Protocol):
    """Somebody a file can be sealed for.

    Attributes:
        type: Of the stanzas that it makes.
        id: Its fingerprint, for a policy.
    """

    @property
    def type(self) -> str: ...  # noqa: D102

    @property
    def id(self) -> bytes: ...  # noqa: D102

    def wrap(self, file_key: bytes, header_hash: bytes) -> Stanza:
        """Wrap a file key."""


class Identity(Protocol):
    """What opens the files of one recipient."""

    @property
    def recipient_id(self) -> bytes: ...  # noqa: D102

    def unwrap(self, stanza: Stanza, header_hash: bytes) -> bytes | None:
        """The file key; None where the stanza is not for this identity."""


class PublicKey:
    """A recipient with a public key: X25519 or X-Wing.

    Args:
        text: ``age1...`` or ``age1pq1...``.

    Attributes:
        key: The public key, of ``cryptography``.

    Raises:
        UsageError: It is none of both.
    """

    is_alone = False

    def __init__(self, text: str) -> None:
        try:
            prefix, data = bech32.decode(text.strip())
            self.type, self.key, self._suite = _public(prefix, data)
        except ValueError as error:
            # Whoever gave a secret key by mistake must not see it again in a log.
            shown = repr(text[:24]) if text.startswith("age1") else "that"
            raise UsageError(
                f"{shown} is no recipient: {error}",
                next="give a public key that starts with age1, from the last line of key new",
            ) from None
        self.text = text.strip()
        self.id = _id(self.type, data)

    @property
    def is_post_quantum(self) -> bool:
        """Whether it holds against a quantum computer."""
        return self.type == "xwing"

    def wrap(self, file_key: bytes, header_hash: bytes) -> Stanza:
        """Wrap a file key."""
        return Stanza(self.type, self._suite.encrypt(file_key, self.key, _INFO + header_hash))


class SecretKey:
    """The identity of a recipient with a public key.

    Args:
        text: ``AGE-SECRET-KEY-1...`` or ``AGE-SECRET-KEY-PQ-1...``.

    Attributes:
        type: Of the stanzas that it opens.
        key: The secret key, of ``cryptography``; showing it shows nothing.
        public: The recipient, as text.

    Raises:
        UsageError: It is none of both. The message does not show it.
    """

    def __init__(self, text: str) -> None:
        try:
            prefix, data = bech32.decode(text.strip())
            self.type, self.key, public, self._suite = _secret(prefix, data)
        except ValueError:
            raise UsageError(
                "that is no identity: expected AGE-SECRET-KEY-1... or AGE-SECRET-KEY-PQ-1...",
                next="name a file that torchkeep key new or age-keygen has written",
            ) from None
        self.public = bech32.encode(_PREFIXES[self.type], public)
        self.recipient_id = _id(self.type, public)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an identity is never pickled: load its key file where it is needed")

    @classmethod
    def generate(cls, *, post_quantum: bool = True) -> tuple[SecretKey, str]:
        """A fresh identity and its spelling."""
        prefix = "AGE-SECRET-KEY-PQ-" if post_quantum else "AGE-SECRET-KEY-"
        text = bech32.encode(prefix, secrets.token_bytes(LENGTH))
        return cls(text), text

    def unwrap(self, stanza: Stanza, header_hash: bytes) -> bytes | None:
        """The file key; None where the stanza is not for this identity."""
        if stanza.type != self.type:
            return None
        try:
            found = self._suite.decrypt(stanza.body, self.key, _INFO + header_hash)
        except (InvalidTag, ValueError):
            return None
        return found if len(found) == LENGTH else None


class Passphrase:
    """A recipient and its identity in one: whoever knows the passphrase.

    Args:
        passphrase: The passphrase, in UTF-8.
        memory: KiB of memory that guessing once takes.
        passes: Passes over that memory.
        lanes: Lanes that may be worked on at once.
    """

    type: Final = "argon2id"
    is_post_quantum = True
    is_alone = True

    def __init__(
        self, passphrase: bytes, *, memory: int = 256 << 10, passes: int = 3, lanes: int = 4
    ) -> None:
        self._passphrase = passphrase
        self._cost = (memory, passes, lanes)
        self.id = self.recipient_id = _id(self.type, b"")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a passphrase is never pickled: read it where it is needed")

    def wrap(self, file_key: bytes, header_hash: bytes) -> Stanza:
        """Wrap a file key under a fresh salt."""
        salt = secrets.token_bytes(16)
        wrapped = AESGCM(self._derive(self._cost, salt)).encrypt(bytes(12), file_key, header_hash)
        cost = b"".join(number.to_bytes(4, "little") for number in self._cost)
        return Stanza(self.type, cost + salt + wrapped)

    def unwrap(self, stanza: Stanza, header_hash: bytes) -> bytes | None:
        """The file key; None where the passphrase is another one.

        Raises:
            Refused: Deriving the key would take more than anybody seals with.
        """
        if stanza.type != self.type or len(stanza.body) != 28 + LENGTH + 16:
            return None
        body = stanza.body
        memory, passes, lanes = cost(stanza)
        if not is_bearable(memory, passes, lanes):
            raise Refused(
                "the passphrase of this file takes more memory or time than torchkeep asks for",
                next="ask whoever sealed it to seal it anew",
            )
        try:
            key = self._derive((memory, passes, lanes), body[12:28])
            return AESGCM(key).decrypt(bytes(12), body[28:], header_hash)
        except InvalidTag:
            return None

    def _derive(self, cost: tuple[int, int, int], salt: bytes) -> bytes:
        memory, passes, lanes = cost
        kdf = Argon2id(salt=salt, length=LENGTH, iterations=passes, lanes=lanes, memory_cost=memory)
        return kdf.derive(self._passphrase)


def cost(stanza: Stanza) -> tuple[int, int, int]:
    """What guessing the passphrase of a stanza takes: KiB of memory, passes and lanes."""
    memory, passes, lanes = (int.from_bytes(stanza.body[n : n + 4], "little") for n in (0, 4, 8))
    return memory, passes, lanes


def is_bearable(memory: int, passes: int, lanes: int) -> bool:
    """Whether a cost is one that a reader should pay: 1 GiB, 8 passes and 16 lanes at most."""
    return 1 <= lanes <= 16 and 1 <= passes <= 8 and 8 * lanes <= memory <= 1 << 20


def check(recipients: Sequence[Strength], *, mixed: bool = False) -> None:
    """Refuse recipients that do not go together.

    Args:
        recipients: For whom a file is to be sealed.
        mixed: Whether X25519 and X-Wing may stand together.

    Raises:
        UsageError: There are none or too many, or they do not go together.
    """
    if not recipients:
        raise UsageError("nobody could open it", next="name a recipient with --to")
    if len(recipients) > MOST_STANZAS:
        raise UsageError(
            f"a file can be sealed for {MOST_STANZAS} recipients, not for {len(recipients)}",
            next="seal it for a key that a group shares",
        )
    if len(recipients) > 1 and any(one.is_alone for one in recipients):
        raise UsageError(
            "a passphrase stands alone: whoever knows it needs no other key",
            next="seal for recipients or under a passphrase",
        )
    if not mixed and len({one.is_post_quantum for one in recipients}) > 1:
        raise UsageError(
            "a file for age1... and age1pq1... recipients is as weak against a quantum computer"
            " as the first",
            next="use one kind, or allow it with --mixed",
        )


def unwrap(
    stanzas: Iterable[Stanza], identities: Sequence[Identity], header_hash: bytes
) -> tuple[bytes, Identity] | None:
    """The file key and the identity that found it; None where none does."""
    for stanza in stanzas:
        for identity in identities:
            if (found := identity.unwrap(stanza, header_hash)) is not None:
                return found, identity
    return None


_PREFIXES: Final = {"x25519": "age", "xwing": "age1pq"}


def _hpke(kem: Any) -> Suite:
    return Suite(kem, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _public(prefix: str, data: bytes) -> tuple[str, Any, Suite]:
    if prefix == "age" and len(data) == 32:
        return "x25519", X25519PublicKey.from_public_bytes(data), _hpke(KEM.X25519)
    if prefix == "age1pq" and len(data) == _MLKEM_PUBLIC + 32:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(data[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(data[_MLKEM_PUBLIC:]),
        )
        return "xwing", key, _hpke(KEM.MLKEM768_X25519)
    raise ValueError("it is of another kind")


def _secret(prefix: str, data: bytes) -> tuple[str, Any, bytes, Suite]:
    if len(data) != LENGTH:
        raise ValueError("it has another length")
    if prefix == "AGE-SECRET-KEY-":
        key = X25519PrivateKey.from_private_bytes(data)
        return "x25519", key, key.public_key().public_bytes_raw(), _hpke(KEM.X25519)
    if prefix == "AGE-SECRET-KEY-PQ-":
        # X-Wing, draft-connolly-cfrg-xwing-kem: both keys come from one seed.
        expanded = hashlib.shake_256(data).digest(96)
        lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        curve = X25519PrivateKey.from_private_bytes(expanded[64:])
        public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        pair = MLKEM768X25519PrivateKey(lattice, curve)
        return "xwing", pair, public, _hpke(KEM.MLKEM768_X25519)
    raise ValueError("it is of another kind")


def _id(type: str, public: bytes) -> bytes:
    return hashlib.sha256(b"torchkeep-recipient-v1" + type.encode() + b"\0" + public).digest()
