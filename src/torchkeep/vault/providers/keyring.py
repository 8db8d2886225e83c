"""``keyring:SERVICE/NAME``: an identity that the keyring of the system holds.

What it holds is the text of a key, ``AGE-SECRET-KEY-...``; so files are sealed as for any other
identity, and open with a key file of the same text.
"""

from __future__ import annotations

from torchkeep.core.errors import Refused, UsageError
from torchkeep.core.text import visible
from torchkeep.vault import providers
from torchkeep.vault.recipients import PublicKey, SecretKey


def recipient(text: str) -> PublicKey:
    """The public half of what the keyring holds; errors are those of :func:`identity`."""
    return PublicKey(identity(text).public)


def identity(text: str) -> SecretKey:
    """What the keyring holds.

    Raises:
        MissingExtra: The library is not installed.
        UsageError: The keyring has no such entry, or it holds no identity.
        Refused: The keyring is locked, or there is none.
    """
    service, separator, name = text.removeprefix("keyring:").partition("/")
    if not (separator and service and name):
        raise UsageError(
            f"{visible(text)} names no entry of a keyring", next="write keyring:SERVICE/NAME"
        )
    library = providers.library("keyring", "keyring")
    try:
        found = library.get_password(service, name)
    except Exception as error:  # each system has failures of its own
        raise Refused(
            f"the keyring of this system does not answer ({type(error).__name__})",
            next="unlock it, or name a key file",
        ) from None  # what it said may quote what it holds
    if not found:
        raise UsageError(
            f"the keyring holds nothing under {visible(f'{service}/{name}')}",
            next=f"put an identity there: keyring set {visible(f'{service} {name}')}",
        )
    return SecretKey(found)
