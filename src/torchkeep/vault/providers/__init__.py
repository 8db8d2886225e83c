"""Recipients whose keys lie elsewhere: in a token, a key service, the keyring of the system.

They are named by a text with a scheme, such as ``pkcs11:token=hsm;object=models``. Another package
adds a scheme of its own by an entry point of the group ``torchkeep.recipients``: its name is the
scheme, and it points to a module with the two functions of :class:`Provider`.
"""

from __future__ import annotations

import re
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Protocol

from torchkeep.core import plugins
from torchkeep.core.errors import MissingExtra, UsageError
from torchkeep.core.text import visible
from torchkeep.vault.recipients import Identity, Recipient

GROUP: Final = "torchkeep.recipients"

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):")
_OWN: Final = {"pkcs11": "pkcs11", "kms": "kms", "aws-kms": "kms", "keyring": "keyring"}


class Provider(Protocol):
    """What a module that brings a scheme has."""

    def recipient(self, text: str) -> Recipient:
        """Whom ``text``, scheme and all, names.

        Raises:
            UsageError: It names nobody.
        """

    def identity(self, text: str) -> Identity:
        """What opens the files of whom ``text`` names; errors are those of :meth:`recipient`."""


def find(text: str) -> Provider | None:
    """What brings the scheme of ``text``; None where it has none that is known.

    Raises:
        UsageError: The package that brings it does not load.
    """
    found = _SCHEME.match(text)
    if found is None:
        return None
    scheme = found[1]
    if scheme in _OWN:  # first: no other package can take these over
        own: Any = import_module(f"{__name__}.{_OWN[scheme]}")
        return own  # type: ignore[no-any-return]
    for plugin in plugins.load(GROUP):
        if plugin.name == scheme:
            if plugin.error is not None:
                raise UsageError(
                    f"{visible(plugin.package)}, which brings {scheme}:, does not load",
                    next="install it anew, or name another recipient",
                ) from plugin.error
            provider: Provider = plugin.value
            return provider
    return None


def library(name: str, extra: str) -> ModuleType:
    """The library that a provider needs.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra(f"a key in {extra}", extra) from error
