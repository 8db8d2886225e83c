"""Options by which commands are given keys, and what they load.

A command takes the options that it needs, in this order, and hands their values to the function of
the same name::

    @keyring.to
    @keyring.identity
    @keyring.sign
    @keyring.key
    @keyring.passphrase_file
    def seal(..., to, identity, sign, key, passphrase_file):
        signers = keyring.signers(sign, passphrase_file)

Loading a key forbids core dumps of the process first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from torchkeep.cli import options
from torchkeep.core.errors import UsageError
from torchkeep.core.text import visible
from torchkeep.vault import keys, memory_lock, providers
from torchkeep.vault.recipients import Identity, PublicKey, Recipient, SecretKey
from torchkeep.vault.signing import Signer

_NAME: Final = "NAME|FILE"
_ELSEWHERE: Final = "pkcs11:..., kms:... or keyring:..."

to = click.option(
    "--to",
    multiple=True,
    metavar=f"RECIPIENT|{_NAME}",
    help=f"Who shall open it: age1..., a .pub file, a key, {_ELSEWHERE}.  May be given again.",
)
identity = click.option(
    "--identity",
    multiple=True,
    metavar=_NAME,
    help=f"An identity that opens it, or {_ELSEWHERE}.  May be given again.",
)
sign = click.option(
    "--sign", multiple=True, metavar=_NAME, help="A key to sign with.  May be given again."
)
key = click.option("--key", metavar=_NAME, help="A shared secret.")
passphrase_file = click.option(
    "--passphrase-file",
    type=options.PATH,
    metavar="FILE",
    envvar="TORCHKEEP_PASSPHRASE_FILE",
    help="A file with the passphrase of the keys; without it, it is asked for.",
)


def recipients(to: Sequence[str]) -> list[Recipient]:
    """Whom ``--to`` names.

    Raises:
        UsageError: One of them is no recipient.
    """
    out: list[Recipient] = []
    for one in to:
        provider = providers.find(one)
        out += [provider.recipient(one)] if provider else _public_keys(one)
    return out


def public_keys(to: Sequence[str]) -> list[PublicKey]:
    """Whom ``--to`` names, where nobody will do but who has a key of their own.

    Raises:
        UsageError: One of them is no recipient, or has a key elsewhere.
    """
    found = recipients(to)
    if any(not isinstance(one, PublicKey) for one in found):
        raise UsageError(
            "this is sealed for public keys alone, as age has them", next="give age1... with --to"
        )
    return [one for one in found if isinstance(one, PublicKey)]


def identities(identity: Sequence[str], passphrase_file: Path | None) -> list[Identity]:
    """What ``--identity`` names; errors are those of :func:`torchkeep.vault.keys.identity`."""
    ask, out = asking(passphrase_file), list[Identity]()
    for one in identity:
        provider = providers.find(one)
        out += [provider.identity(one)] if provider else keys.identity(one, ask)
    return out


def signers(sign: Sequence[str], passphrase_file: Path | None) -> list[Signer]:
    """What ``--sign`` names; errors are those of :func:`torchkeep.vault.keys.signer`."""
    ask = asking(passphrase_file)
    return [keys.signer(one, ask) for one in sign]


def secret(key: str, identity: Sequence[str], passphrase_file: Path | None, label: str) -> bytes:
    """A key for one purpose from what ``--key`` names.

    Errors are those of :func:`torchkeep.vault.keys.secret`.
    """
    found = identities(identity, passphrase_file)
    own = [one for one in found if isinstance(one, SecretKey)]
    if len(own) != len(found):
        raise UsageError("a secret is opened by key files alone", next="name one with --identity")
    return keys.secret(key, own, label)


def asking(passphrase_file: Path | None) -> keys.Ask:
    """What gives the passphrase of a key: the file, or whoever sits at the terminal."""
    memory_lock.forbid_dumps()

    def ask(name: str) -> bytes:
        if passphrase_file is not None:
            return keys.passphrase(passphrase_file)
        return _prompt(f"Passphrase of {visible(name)}", twice=False)

    return ask


def new_passphrase(passphrase_file: Path | None) -> bytes:
    """The passphrase of a key that is being made; at a terminal it is asked for twice."""
    memory_lock.forbid_dumps()
    if passphrase_file is not None:
        return keys.passphrase(passphrase_file)
    return _prompt("New passphrase", twice=True)


def _public_keys(name: str) -> list[PublicKey]:
    texts = [name] if name.startswith("age1") else keys.public(name, asking(None)).splitlines()
    return [PublicKey(text) for text in texts]


def _prompt(text: str, *, twice: bool) -> bytes:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "a passphrase is needed, and there is no terminal to ask for it",
            next="name a file that holds it with --passphrase-file",
        )
    given: str = click.prompt(text, hide_input=True, confirmation_prompt=twice, err=True)
    return given.encode("utf-8", "surrogateescape")
