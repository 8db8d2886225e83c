"""``pkcs11:token=...;object=...``: an AES or RSA key in a token, such as a security module.

The token wraps a fresh key, and that one wraps the file key: with AES key wrap with padding (RFC
5649), or with RSA-OAEP. OAEP is over SHA-1 there, for many tokens know no other; what it needs of a
hash SHA-1 still has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1

from torchkeep.core.errors import Refused, UsageError
from torchkeep.vault import providers
from torchkeep.vault.blocks import Stanza
from torchkeep.vault.providers import body, token
from torchkeep.vault.providers.token import Place
from torchkeep.vault.schedule import LENGTH

_TYPE: Final = "pkcs11"
_AES: Final = "aes-kwp"
_RSA: Final = "rsa-oaep"

# What tokens say of bytes that this key has not wrapped. They say it in many ways.
_NOT_OURS: Final = (
    *("EncryptedDataInvalid", "EncryptedDataLenRange", "WrappedKeyInvalid", "WrappedKeyLenRange"),
    *("DataInvalid", "DataLenRange", "GeneralError", "FunctionFailed"),
)


@dataclass(frozen=True, slots=True)
class Key:
    """A recipient and its identity in one: whoever may use a key of a token.

    Attributes:
        place: Where it lies.
        way: How it wraps: ``aes-kwp`` or ``rsa-oaep``.
        id: Its fingerprint.
    """

    place: Place
    way: str
    id: bytes
    type: str = field(default=_TYPE, init=False)
    is_alone: bool = field(default=False, init=False)

    @property
    def is_post_quantum(self) -> bool:
        """Whether it holds against a quantum computer."""
        return self.way == _AES

    @property
    def recipient_id(self) -> bytes:
        """The same id, of the identity."""
        return self.id

    def wrap(self, file_key: bytes, header_hash: bytes) -> Stanza:
        """Wrap a file key.

        Raises:
            Refused: The token does not allow it.
            UsageError: The token, or the key in it, is not there any more.
        """
        fresh = body.fresh()
        with token.session(self.place) as session:
            wrapped = _wrapped(_found(session, self.place, self.way, "wrap"), self.way, fresh)
        return body.stanza(_TYPE, self.way, body.lock(fresh, file_key, header_hash) + wrapped)

    def unwrap(self, stanza: Stanza, header_hash: bytes) -> bytes | None:
        """The file key; None where the stanza is not for this key. Errors are those of wrapping."""
        rest = body.rest(stanza, _TYPE, self.way)
        if rest is None or not body.SEALED < len(rest) <= body.SEALED + 2048:
            return None
        with token.session(self.place) as session:
            key = _found(session, self.place, self.way, "unwrap")
            fresh = _unwrapped(key, self.way, rest[body.SEALED :])
        if fresh is None or len(fresh) != LENGTH:
            return None
        return body.unlock(fresh, rest[: body.SEALED], header_hash)


def recipient(text: str) -> Key:
    """The key that seals; errors are those of :func:`identity`."""
    return _key(text, "wrap")


def identity(text: str) -> Key:
    """The key that opens.

    Raises:
        MissingExtra: The library is not installed.
        UsageError: The text is wrong, or there is no such token or key.
        Refused: The token refuses the PIN, or others can read it.
    """
    return _key(text, "unwrap")


def _key(text: str, use: str) -> Key:
    place = token.parse(text)
    with token.session(place) as session:
        for way in (_AES, _RSA):
            if found := _candidates(session, place, way, use):
                return Key(place, way, _id(session, way, _only(found, place)))
    raise _no_key(place)


def _candidates(session: Any, place: Place, way: str, use: str) -> list[Any]:
    library = providers.library("pkcs11", "pkcs11")
    known, classes = library.Attribute, library.ObjectClass
    pair = classes.PUBLIC_KEY if use == "wrap" else classes.PRIVATE_KEY
    kind, of = (
        (library.KeyType.AES, classes.SECRET_KEY) if way == _AES else (library.KeyType.RSA, pair)
    )
    said = {getattr(known, name): value for name, value in place.key.items()}
    return list(session.get_objects({known.KEY_TYPE: kind, known.CLASS: of, **said}))


def _found(session: Any, place: Place, way: str, use: str) -> Any:
    return _only(_candidates(session, place, way, use), place)


def _only(found: list[Any], place: Place) -> Any:
    if len(found) != 1:
        raise _no_key(place)
    return found[0]


def _no_key(place: Place) -> UsageError:
    return UsageError(
        f"the token {place.shown} shows not exactly one AES or RSA key of that name",
        next="check object and id, and name its PIN with pin-source: it may be hidden without",
    )


def _id(session: Any, way: str, key: Any) -> bytes:
    """Of a pair its public half; of an AES key, which has none, the names that the token has."""
    known = providers.library("pkcs11", "pkcs11").Attribute
    if way == _RSA:
        modulus, exponent = key[known.MODULUS], key[known.PUBLIC_EXPONENT]
        return body.fingerprint(_TYPE, f"{way} {modulus.hex()} {exponent.hex()}")
    serial, label = token.text_of(session.token.serial), str(key[known.LABEL])
    return body.fingerprint(_TYPE, f"{way} {serial} {key[known.ID].hex()} {label}")


def _wrapped(key: Any, way: str, fresh: bytes) -> bytes:
    library = providers.library("pkcs11", "pkcs11")
    known = library.Attribute
    if way == _RSA:  # with the public half, for which a token is not needed
        numbers = (int.from_bytes(key[name]) for name in (known.PUBLIC_EXPONENT, known.MODULUS))
        return rsa.RSAPublicNumbers(*numbers).public_key().encrypt(fresh, _oaep())
    _require(key, "wrap_key")
    made = key.session.create_object(
        _template(library) | {known.CLASS: library.ObjectClass.SECRET_KEY, known.VALUE: fresh}
    )
    wrapped: bytes = key.wrap_key(made, mechanism=_mechanism(key, way))
    return wrapped


def _unwrapped(key: Any, way: str, wrapped: bytes) -> bytes | None:
    """The fresh key; None where this key has not wrapped it."""
    library = providers.library("pkcs11", "pkcs11")
    _require(key, "unwrap_key")
    try:
        made = key.unwrap_key(
            library.ObjectClass.SECRET_KEY,
            library.KeyType.GENERIC_SECRET,
            wrapped,
            mechanism=_mechanism(key, way),
            template=_template(library),
        )
        value: bytes = made[library.Attribute.VALUE]
    except library.PKCS11Error as error:
        if type(error).__name__ in _NOT_OURS:
            return None
        raise
    return value


def _require(key: Any, verb: str) -> None:
    if not hasattr(key, verb):  # the library gives a key only what its token allows it
        raise Refused(
            "the token does not allow that key to wrap keys",
            next="make one with the attributes CKA_WRAP and CKA_UNWRAP",
        )


def _template(library: Any) -> dict[Any, Any]:
    """A key that lives as long as the session, and whose bytes can be read."""
    known = library.Attribute
    return {
        known.KEY_TYPE: library.KeyType.GENERIC_SECRET,
        known.TOKEN: False,
        known.SENSITIVE: False,
        known.EXTRACTABLE: True,
    }


def _mechanism(key: Any, way: str) -> Any:
    """The same wrapping has two numbers: one of version 3.0 and one of the time before."""
    known = providers.library("pkcs11", "pkcs11").Mechanism
    if way == _RSA:
        return known.RSA_PKCS_OAEP
    offered = key.session.token.slot.get_mechanisms()
    is_new = known.AES_KEY_WRAP_KWP in offered
    return known.AES_KEY_WRAP_KWP if is_new else known.AES_KEY_WRAP_PAD


def _oaep() -> padding.OAEP:
    return padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)  # noqa: S303 - see the module's page
