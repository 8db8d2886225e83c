"""Who can read a model, and has it been changed? Keys, sealed files, signatures and trust.

    >>> from torchkeep import vault
    >>> with vault.open("model.tks", identity="alice.key", trust="trust.toml") as sealed:
    ...     sealed.load_into(module)
    ...     rows = sealed.get_slice("encoder.weight")[:10]  # doctest: +SKIP

What is sealed is encrypted for its recipients and signed by whoever sealed it. It is opened as it
was sealed or not at all, and never in place of it something that is not sealed. The format is
public (``docs/sealed-format.md``).
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchkeep.vault import keys
    from torchkeep.vault.errors import Damaged, NoIdentity, Untrusted, Withheld
    from torchkeep.vault.manifest import Policy
    from torchkeep.vault.opening import Verification, open, verify  # noqa: A004 - as gzip.open
    from torchkeep.vault.reading import Level, Sealed
    from torchkeep.vault.recipients import Passphrase, PublicKey, SecretKey
    from torchkeep.vault.records import Records, seal_records
    from torchkeep.vault.rewrapping import rekey, rewrap
    from torchkeep.vault.sealing import seal
    from torchkeep.vault.signing import Signer
    from torchkeep.vault.states import load, save
    from torchkeep.vault.trust import Trust
    from torchkeep.vault.unsealing import unseal
    from torchkeep.vault.writing import Identification
else:
    # All of it is imported when it is needed: whoever lists rules needs no cipher, and whoever
    # seals a file no torch.
    _LATER = {
        "Damaged": "errors",
        "Identification": "writing",
        "Level": "reading",
        "NoIdentity": "errors",
        "Passphrase": "recipients",
        "Policy": "manifest",
        "PublicKey": "recipients",
        "Records": "records",
        "Sealed": "reading",
        "SecretKey": "recipients",
        "Signer": "signing",
        "Trust": "trust",
        "Untrusted": "errors",
        "Verification": "opening",
        "Withheld": "errors",
        "load": "states",
        "open": "opening",
        "rekey": "rewrapping",
        "rewrap": "rewrapping",
        "save": "states",
        "seal": "sealing",
        "seal_records": "records",
        "unseal": "unsealing",
        "verify": "opening",
    }

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def load_trust(path: str | os.PathLike[str]) -> Trust:
    """Read a public key (``.pub``) or a ``trust.toml``; see :mod:`torchkeep.vault.trust`.

    Raises:
        UsageError: It is neither.
        ProjectError: The trust file is wrong: file, line and key are named.
        SourceError: It cannot be read.
    """
    from torchkeep.vault import trust

    return trust.load(Path(path))


__all__ = [
    "Damaged",
    "Identification",
    "Level",
    "NoIdentity",
    "Passphrase",
    "Policy",
    "PublicKey",
    "Records",
    "Sealed",
    "SecretKey",
    "Signer",
    "Trust",
    "Untrusted",
    "Verification",
    "Withheld",
    "keys",
    "load",
    "load_trust",
    "open",
    "rekey",
    "rewrap",
    "save",
    "seal",
    "seal_records",
    "unseal",
    "verify",
]
