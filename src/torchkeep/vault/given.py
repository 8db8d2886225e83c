"""What callers give to open and to judge a sealed file: keys and trust, or where they lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from torchkeep.core.errors import UsageError
from torchkeep.core.text import visible
from torchkeep.vault import keys, providers
from torchkeep.vault.home import Name
from torchkeep.vault.recipients import Identity
from torchkeep.vault.trust import Trust, load

Opener = Identity | Name
"""An identity, the path or name of its key file, or the name of a key that lies elsewhere."""

Openers = Opener | Sequence[Opener]
"""One of them, or several."""

Trusted = Trust | str | os.PathLike[str] | None
"""Who is trusted, or the file that says so."""

_WORDS: Final = "TORCHKEEP_PASSPHRASE_FILE"


def identities(given: Openers) -> list[Identity]:
    """The identities that are given, loaded where they are named.

    Raises:
        UsageError: There is no such key, it is of another kind, or its passphrase is not given.
        Foreign: It is no key file.
        Refused: Others can read it, the passphrase is wrong, or it was changed.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        return _loaded(given)
    return [one for opener in given for one in _loaded(opener)]


def trusted(given: Trusted) -> Trust | None:
    """The trust that is given, loaded where its file is named; errors are those of its loading."""
    return given if given is None or isinstance(given, Trust) else load(Path(given))


def _loaded(opener: Opener) -> list[Identity]:
    if isinstance(opener, str) and (provider := providers.find(opener)):
        return [provider.identity(opener)]
    if isinstance(opener, str | os.PathLike):
        return list(keys.identity(opener, _ask))
    return [opener]


def _ask(name: str) -> bytes:
    if path := os.environ.get(_WORDS):
        return keys.passphrase(Path(path))
    raise UsageError(
        f"{visible(name)} is encrypted, and its passphrase is not given",
        next=f"name a file that holds it in {_WORDS}, or load it with vault.keys.identity()",
    )
