"""Keys: made, kept encrypted at rest, found by name and loaded.

There are three kinds. An *identity* opens what is sealed for its recipient. A *signer* signs. A
*secret* is 32 bytes that several people share: it is sealed for each of them, and keys for single
purposes are derived from it by label.

>>> public = keys.new_identity(Path("alice.key"), passphrase=b"...")  # doctest: +SKIP
>>> opener, = keys.identity("./alice.key", ask)  # doctest: +SKIP

Nothing of a key is ever in a message, and no key file is ever written over.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from torchkeep.core import files
from torchkeep.core.errors import Foreign, SourceError, TorchkeepError, UsageError
from torchkeep.core.source import BytesSource
from torchkeep.core.text import visible
from torchkeep.vault import age, bech32, home, keyfile, trust
from torchkeep.vault.home import Name
from torchkeep.vault.keyfile import Kind, Line
from torchkeep.vault.recipients import PublicKey, SecretKey
from torchkeep.vault.signing import Signer

__all__ = [
    "Ask",
    "Entry",
    "Kind",
    "entries",
    "identity",
    "new_identity",
    "new_secret",
    "new_signer",
    "passphrase",
    "public",
    "secret",
    "signer",
]

Ask = Callable[[str], bytes]
"""Gives the passphrase of the key file that is named."""

_LENGTH: Final = 32
_INFO: Final = b"torchkeep-secret-v1 "
_CALLED: Final = {
    Kind.IDENTITY: ("an identity", "--identity"),
    Kind.SIGNER: ("a signing key", "--sign"),
    Kind.SECRET: ("a secret", "--key"),
}


def new_identity(path: Path, *, passphrase: bytes | None, post_quantum: bool = True) -> str:
    """Make an identity.

    Args:
        path: The key file; ``NAME.pub`` beside it takes the recipient.
        passphrase: What it is encrypted under; None leaves it in the clear.
        post_quantum: X-Wing, or else X25519.

    Returns:
        Its recipient.

    Raises:
        UsageError: One of the names is taken, the folder is missing, or the passphrase is empty.
        Internal: The disk or the system refused.
    """
    key, text = SecretKey.generate(post_quantum=post_quantum)
    _place(path, text, key.public, passphrase)
    return key.public


def new_signer(path: Path, *, passphrase: bytes | None) -> str:
    """Make a signing key; arguments and errors are those of :func:`new_identity`.

    Returns:
        Its public key.
    """
    made, seed = Signer.generate()
    public = trust.spell(made.public)
    _place(path, bech32.encode(_prefix(Kind.SIGNER), seed), public, passphrase)
    return public


def new_secret(path: Path, recipients: Sequence[PublicKey], *, mixed: bool = False) -> None:
    """Make a secret that each of the recipients can open.

    Args:
        path: The key file.
        recipients: Who shares it.
        mixed: Whether recipients of unequal strength may stand together.

    Raises:
        UsageError: The name is taken, or the recipients do not go together.
        Internal: The disk or the system refused.
    """
    text = bech32.encode(_prefix(Kind.SECRET), secrets.token_bytes(_LENGTH))
    composed = keyfile.compose(text, "torchkeep secret: keys for single uses are derived from it")
    keyfile.place(path, keyfile.encrypted(composed, recipients, mixed=mixed))


def identity(name: Name, passphrase: Ask) -> list[SecretKey]:
    """Load an identity file, of torchkeep or of age.

    Args:
        name: A name in the key home, or a path.
        passphrase: Called where the file is encrypted.

    Raises:
        UsageError: There is no such key, or it is of another kind.
        Foreign: It is no key file.
        Refused: Others can read it, the passphrase is wrong, or it was changed.
    """
    return [SecretKey(line.text) for line in _load(home.find(name), Kind.IDENTITY, passphrase)]


def signer(name: Name, passphrase: Ask) -> Signer:
    """Load a signing key; arguments and errors are those of :func:`identity`."""
    path = home.find(name)
    line = _only(path, _load(path, Kind.SIGNER, passphrase))
    return Signer(line.data)


def secret(name: Name, identities: Sequence[SecretKey], label: str) -> bytes:
    """Derive a key of 32 bytes from a secret.

    Args:
        name: A name in the key home, or a path.
        identities: What may open it.
        label: The one purpose of this key: another label gives another key.

    Raises:
        UsageError: There is no such key, or it is of another kind.
        Foreign: It is no key file.
        Refused: No identity opens it, others can change it, or it was changed.
    """
    path = home.find(name)
    home.require_private(path, 0o022)  # it is sealed: who reads it has nothing
    kept = keyfile.read(path)
    if not age.is_age(kept) or age.has_passphrase(kept):
        raise UsageError(
            f"{kept.name} is no secret", next="make one: torchkeep key new --secret --to RECIPIENT"
        )
    found = keyfile.secrets(kept, lambda: identities)
    line = _only(path, _require(path, found, Kind.SECRET))
    return HKDF(SHA256(), _LENGTH, None, _INFO + label.encode()).derive(line.data)


def public(name: Name, passphrase: Ask) -> str:
    """The public part of a key: recipients, one a line, or a public signing key.

    Of an encrypted key it is what ``NAME.pub`` beside it says; the passphrase is asked for only
    where there is no such file. A ``.pub`` file may be named as well.

    Raises:
        UsageError: There is no such key, or it has no public part.
        Foreign: It is no key file.
        Refused: Others can read it, the passphrase is wrong, or it was changed.
    """
    path = home.find(name)
    if path.suffix == keyfile.SUFFIX:
        return keyfile.parse_public(path)[1]
    kept = keyfile.read(path)
    if age.is_age(kept) and (said := keyfile.public(path)) is not None:
        return said[1]
    if not age.is_age(kept) or age.has_passphrase(kept):
        home.require_private(path)
        found = keyfile.secrets(kept, lambda: _under(path, passphrase))
        if all(line.kind is not Kind.SECRET for line in found):
            return "\n".join(map(_public, found))
    raise UsageError(
        f"{kept.name} is a secret, which has no public part",
        next="name an identity or a signing key",
    )


def passphrase(path: Path) -> bytes:
    """Read a passphrase from a file: its only line.

    Raises:
        UsageError: It is empty, or has more than one line.
        Refused: Others can read it.
        SourceError: It cannot be read.
    """
    home.require_private(path)
    text = files.read(path, limit=keyfile.LONGEST).removesuffix(b"\n").removesuffix(b"\r")
    if not text or b"\n" in text:
        raise UsageError(
            f"{visible(str(path))} does not hold one line with a passphrase",
            next="write the passphrase into its first line, and nothing else",
        )
    return text


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in the key home.

    Attributes:
        name: Its name there.
        kind: What it is for; None where only its passphrase could tell.
        public: Its public part; empty where there is none, or only its passphrase could tell.
        is_encrypted: Whether it is encrypted at rest.
        problem: What is wrong with it; empty for nothing.
    """

    name: str
    kind: Kind | None
    public: str
    is_encrypted: bool
    problem: str

    def to_json(self) -> dict[str, Any]:
        """The same facts as a JSON object."""
        return asdict(self)


def entries() -> list[Entry]:
    """What lies in the key home, by name. Nothing is unlocked for it.

    Raises:
        SourceError: The folder cannot be read.
    """
    try:
        found = sorted(home.folder().iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SourceError(
            f"{visible(str(home.folder()))} cannot be read: {error.strerror}",
            next="check who may read that folder",
        ) from error
    return [
        _entry(path)
        for path in found
        if not path.name.startswith(".") and path.suffix != keyfile.SUFFIX
    ]


def _entry(path: Path) -> Entry:
    said: tuple[Kind | None, str] = (None, "")
    is_encrypted = False
    try:
        kept = keyfile.read(path)
        is_encrypted = age.is_age(kept)
        said = _said(path, kept)
    except TorchkeepError as error:
        return Entry(path.name, *said, is_encrypted, error.message)
    others = 0o022 if said[0] is Kind.SECRET else 0o077
    return Entry(path.name, *said, is_encrypted, home.exposure(path, others) or "")


def _said(path: Path, kept: BytesSource) -> tuple[Kind | None, str]:
    """Kind and public part, as far as they can be seen without a passphrase."""
    if not age.is_age(kept):
        found = keyfile.secrets(kept, list)
        return found[0].kind, "\n".join(map(_public, found))
    if not age.has_passphrase(kept):
        return Kind.SECRET, ""
    return keyfile.public(path) or (None, "")


def _place(path: Path, secret: str, public: str, passphrase: bytes | None) -> None:
    text = keyfile.compose(secret, f"public key: {public}")
    if passphrase == b"":
        raise UsageError("an empty passphrase protects nothing", next="choose a longer one")
    if passphrase is not None:
        text = keyfile.encrypted(text, [age.Passphrase(passphrase, work=age.WORK)])
    keyfile.place(path, text, public)


def _load(path: Path, kind: Kind, passphrase: Ask) -> tuple[Line, ...]:
    home.require_private(path)
    kept = keyfile.read(path)
    if age.is_age(kept) and not age.has_passphrase(kept):
        raise _other_kind(path, Kind.SECRET, kind)
    return _require(path, keyfile.secrets(kept, lambda: _under(path, passphrase)), kind)


def _under(path: Path, passphrase: Ask) -> list[age.Identity]:
    return [age.Passphrase(passphrase(str(path)))]


def _require(path: Path, found: tuple[Line, ...], kind: Kind) -> tuple[Line, ...]:
    for line in found:
        if line.kind is not kind:
            raise _other_kind(path, line.kind, kind)
    return found


def _other_kind(path: Path, found: Kind, wanted: Kind) -> UsageError:
    (is_one, flag), (expected, _) = _CALLED[found], _CALLED[wanted]
    return UsageError(
        f"{visible(str(path))} is {is_one}, expected {expected}", next=f"name it with {flag}"
    )


def _only(path: Path, found: tuple[Line, ...]) -> Line:
    if len(found) != 1:
        raise Foreign(
            f"{visible(str(path))} holds {len(found)} keys, expected one", next="name another file"
        )
    return found[0]


def _public(line: Line) -> str:
    if line.kind is Kind.SIGNER:
        return trust.spell(Signer(line.data).public)
    return SecretKey(line.text).public if line.kind is Kind.IDENTITY else ""


def _prefix(kind: Kind) -> str:
    return next(prefix for prefix, known in keyfile.PREFIXES.items() if known is kind)
