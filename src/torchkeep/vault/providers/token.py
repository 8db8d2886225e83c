"""Tokens that speak PKCS#11: their names as URIs of RFC 7512, and sessions with them.

The library of a token is the one that ``TORCHKEEP_PKCS11_MODULE`` names and never one that a URI
names: it would be run. The PIN lies in a file, which ``pin-source`` or
``TORCHKEEP_PKCS11_PIN_FILE`` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from torchkeep.core.errors import Refused, UsageError
from torchkeep.core.text import visible
from torchkeep.vault import keys, providers

_MODULE: Final = "TORCHKEEP_PKCS11_MODULE"
_PIN: Final = "TORCHKEEP_PKCS11_PIN_FILE"

# What a URI may say of the token, with the name that the library has for it, and of the key.
_OF_TOKEN: Final = {
    "token": "label",
    "serial": "serial",
    "model": "model",
    "manufacturer": "manufacturer_id",
}
_OF_KEY: Final = {"object": "LABEL", "id": "ID"}
_FREE: Final = frozenset({"type"})  # an AES key, or the right half of a pair, is looked for anyway
_FORM: Final = re.compile(r"pkcs11:([^?]+)(?:\?pin-source=([^&]+))?")
_EXAMPLE: Final = "write pkcs11:token=TOKEN;object=KEY, with ?pin-source=FILE where it needs a PIN"

_PINS: Final = ("PinIncorrect", "PinInvalid", "PinLenRange", "PinLocked", "PinExpired")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key lies.

    Attributes:
        token: What is known of its token, by attribute of the library.
        key: What is known of the key, by attribute of the token.
        pin: The file with the PIN; None where none is named.
    """

    token: Mapping[str, str]
    key: Mapping[str, str | bytes]
    pin: Path | None

    @property
    def shown(self) -> str:
        """The token, for a message."""
        return visible(", ".join(self.token.values()))


def parse(text: str) -> Place:
    """Read a URI.

    Raises:
        UsageError: It is none, or says more than can be followed. A PIN in it is not repeated.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageError("that names no key of a token in a way that is known", next=_EXAMPLE)
    token: dict[str, str] = {}
    key: dict[str, str | bytes] = {}
    for name, separator, value in (part.partition("=") for part in found[1].split(";")):
        if separator and name in _OF_TOKEN:
            token[_OF_TOKEN[name]] = unquote(value)
        elif separator and name in _OF_KEY:
            key[_OF_KEY[name]] = unquote_to_bytes(value) if name == "id" else unquote(value)
        elif name not in _FREE:
            raise UsageError("a name of a key says something that is not known", next=_EXAMPLE)
    if not token or not key:
        raise UsageError("a name of a key says its token and its object or id", next=_EXAMPLE)
    pin = unquote(found[2]).removeprefix("file:") if found[2] else os.environ.get(_PIN)
    return Place(token, key, Path(pin) if pin else None)


@contextmanager
def session(place: Place) -> Iterator[Any]:
    """A session with the token, as its user where there is a PIN."""
    library = providers.library("pkcs11", "pkcs11")
    pin = keys.passphrase(place.pin).decode("utf-8", "surrogateescape") if place.pin else None
    try:
        with _token(library, place).open(rw=False, user_pin=pin) as session:
            yield session
    except library.PKCS11Error as error:
        name = type(error).__name__
        if name in _PINS:
            raise Refused(
                f"the token {place.shown} refuses the PIN ({name})",
                next="check the PIN before trying again: tokens lock themselves",
            ) from None
        raise Refused(
            f"the token {place.shown} refuses ({name})",
            next="check that its key may wrap and unwrap, and name its PIN with pin-source",
        ) from None


def _token(library: Any, place: Place) -> Any:
    module = os.environ.get(_MODULE, "")
    if not os.path.isabs(module):  # noqa: PTH117 - an empty text is no path
        raise UsageError(
            "nothing says which library speaks to the token",
            next=f"set {_MODULE} to its whole path",
        )
    try:
        slots = library.lib(module).get_slots(token_present=True)
    except (library.PKCS11Error, RuntimeError, OSError):
        raise UsageError(
            f"{visible(module)} is no library of a token that works here", next=f"check {_MODULE}"
        ) from None
    found = [token for token in (slot.get_token() for slot in slots) if _is(token, place)]
    if len(found) != 1:
        many = "no token" if not found else f"{len(found)} tokens"
        raise UsageError(
            f"there is {many} {place.shown}", next="name token and serial as the token shows them"
        )
    return found[0]


def _is(token: Any, place: Place) -> bool:
    return all(text_of(getattr(token, name)) == value for name, value in place.token.items())


def text_of(value: str | bytes) -> str:
    """What a token says of itself, which it fills up to a length."""
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value).rstrip(" \0")
