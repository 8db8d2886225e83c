"""How age wraps a file key: X25519, X-Wing (``mlkem768x25519``) and scrypt."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from torchkeep.core.errors import Refused
from torchkeep.vault.age.header import FILE_KEY, Stanza, decode64, derive, encode64
from torchkeep.vault.recipients import PublicKey, SecretKey
from torchkeep.vault.suite import TAG

SCRYPT: Final = "scrypt"
WORK: Final = 18
"""log2 of what guessing a passphrase once costs: 256 MiB of memory."""

MOST_WORK: Final = 20
"""The most that a reader pays by default: 1 GiB."""

_X25519: Final = "X25519"
_XWING: Final = "mlkem768x25519"
_X25519_INFO: Final = b"age-encryption.org/v1/X25519"
_XWING_INFO: Final = b"age-encryption.org/mlkem768x25519"
_SCRYPT_SALT: Final = b"age-encryption.org/v1/scrypt"
_POINT: Final = 32
_XWING_SHARE: Final = 1120
_SALT: Final = 16
_NONCE: Final = bytes(12)
_DECIMAL: Final = re.compile(r"[1-9][0-9]*")
_MALFORMED: Final = "its header has a recipient that is not well-formed"


class Passphrase:
    """A recipient and its identity in one: whoever knows the passphrase.

    Args:
        passphrase: The passphrase, in UTF-8.
        work: log2 of the work of scrypt for files that are written.
        most_work: The same, at most, for files that are read.
    """

    is_alone = True
    is_post_quantum = True

    def __init__(self, passphrase: bytes, *, work: int = WORK, most_work: int = MOST_WORK) -> None:
        self._passphrase = passphrase
        self._work = work
        self._most_work = most_work

    def wrap(self, file_key: bytes) -> Stanza:
        """Wrap a file key under a fresh salt."""
        salt = secrets.token_bytes(_SALT)
        body = ChaCha20Poly1305(self._derive(salt, self._work)).encrypt(_NONCE, file_key, None)
        return Stanza((SCRYPT, encode64(salt).decode(), str(self._work)), body)

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key; None where the stanza is of another kind, or of another passphrase.

        Raises:
            ValueError: The stanza is not as the format wants it.
            Refused: Deriving the key would take more than the reader wants to pay.
        """
        if stanza.arguments[0] != SCRYPT:
            return None
        salt = _argument(stanza, 3, _SALT)
        if not _DECIMAL.fullmatch(stanza.arguments[2]):
            raise ValueError(_MALFORMED)
        # Compared as text first: Python takes its time with numbers of thousands of digits.
        if len(stanza.arguments[2]) > 2 or int(stanza.arguments[2]) > self._most_work:
            raise Refused(
                "its passphrase takes more memory and time than torchkeep spends on one",
                next="ask whoever encrypted it to do so with less work",
            )
        return _open(self._derive(salt, int(stanza.arguments[2])), stanza)

    def _derive(self, salt: bytes, work: int) -> bytes:
        kdf = Scrypt(salt=_SCRYPT_SALT + salt, length=32, n=1 << work, r=8, p=1)
        return kdf.derive(self._passphrase)


Recipient = PublicKey | Passphrase
Identity = SecretKey | Passphrase


def wrap(recipient: Recipient, file_key: bytes) -> Stanza:
    """Wrap a file key for a recipient."""
    if isinstance(recipient, Passphrase):
        return recipient.wrap(file_key)
    if recipient.is_post_quantum:
        sealed = _suite().encrypt(file_key, recipient.key, _XWING_INFO)
        share = encode64(sealed[:_XWING_SHARE]).decode()
        return Stanza((_XWING, share), sealed[_XWING_SHARE:])
    ephemeral = X25519PrivateKey.generate()
    point = ephemeral.public_key().public_bytes_raw()
    shared, public = ephemeral.exchange(recipient.key), recipient.key.public_bytes_raw()
    key = derive(shared, point + public, _X25519_INFO)
    body = ChaCha20Poly1305(key).encrypt(_NONCE, file_key, None)
    return Stanza((_X25519, encode64(point).decode()), body)


def unwrap(identities: Sequence[Identity], stanzas: Sequence[Stanza]) -> bytes | None:
    """The file key; None where no identity opens one of the stanzas.

    Raises:
        ValueError: A stanza is not as the format wants it, or stands where it must not.
        Refused: A passphrase costs more than the reader wants to pay.
    """
    if len(stanzas) > 1 and any(stanza.arguments[0] == SCRYPT for stanza in stanzas):
        raise ValueError("its header has a passphrase that does not stand alone")
    for identity in identities:
        for stanza in stanzas:
            if (found := _unwrap(identity, stanza)) is not None:
                return found
    return None


def _unwrap(identity: Identity, stanza: Stanza) -> bytes | None:
    if isinstance(identity, Passphrase):
        return identity.unwrap(stanza)
    read = {"x25519": _unwrap_x25519, "xwing": _unwrap_xwing}[identity.type]
    return read(identity, stanza)


def _unwrap_x25519(identity: SecretKey, stanza: Stanza) -> bytes | None:
    if stanza.arguments[0] != _X25519:
        return None
    point = _argument(stanza, 2, _POINT)
    shared = _exchange(identity.key, point)
    salt = point + identity.key.public_key().public_bytes_raw()
    return _open(derive(shared, salt, _X25519_INFO), stanza)


def _unwrap_xwing(identity: SecretKey, stanza: Stanza) -> bytes | None:
    if stanza.arguments[0] != _XWING:
        return None
    share = _argument(stanza, 2, _XWING_SHARE)
    # A point of low order is the same to every key, and HPKE does not tell it from a wrong key.
    _exchange(X25519PrivateKey.generate(), share[-_POINT:])
    try:
        return _suite().decrypt(share + stanza.body, identity.key, _XWING_INFO)
    except InvalidTag:
        return None


def _argument(stanza: Stanza, number: int, length: int) -> bytes:
    """The second of ``number`` arguments, decoded, in a stanza whose body has the right length."""
    if len(stanza.arguments) != number or len(stanza.body) != FILE_KEY + TAG:
        raise ValueError(_MALFORMED)
    data = decode64(stanza.arguments[1].encode())
    if len(data) != length:
        raise ValueError(_MALFORMED)
    return data


def _exchange(key: X25519PrivateKey, point: bytes) -> bytes:
    try:
        return key.exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:  # all zeros came out
        raise ValueError(_MALFORMED) from None


def _open(key: bytes, stanza: Stanza) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, stanza.body, None)
    except InvalidTag:
        return None


def _suite() -> Suite:
    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
