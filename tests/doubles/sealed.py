"""Sealed files as two readers see them: the product, and the one from the specification."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from vault import reader

from torchkeep.core.errors import TorchkeepError
from torchkeep.vault import bech32, opening
from torchkeep.vault.errors import Damaged, NoIdentity
from torchkeep.vault.index import Tensors
from torchkeep.vault.reading import Level
from torchkeep.vault.recipients import Passphrase, SecretKey

PREFIXES = {"x25519": "AGE-SECRET-KEY-", "xwing": "AGE-SECRET-KEY-PQ-"}
__all__ = ["Damaged", "Facts", "NoIdentity"]
LEVELS = ("public", "tags", "full")
FOLDER = Path(__file__).parents[1] / "vault" / "vectors"
VECTORS = json.loads((FOLDER / "vectors.json").read_text("utf-8"))

# Who takes a file, by level.
NOWHERE = (False, False, False)
ONLY_TAGS = (False, True, False)
BUT_PUBLIC = (True, False, False)
EVERYWHERE = (True, True, True)

MOMENT = 1_800_000_000
"""When the second reader opens a file, in seconds since 1970."""


class Facts(NamedTuple):
    """What whoever opens a file relies on; what a level does not say is None."""

    said: dict  # model, version, signers and all else in the header
    policy: dict
    content: list | str  # kind, path and items of each part; without an identity, a digest
    metadata: dict | None
    recipients: list | None


def identity(kind: str, secret: bytes) -> SecretKey | Passphrase:
    """What the product opens files with."""
    if kind == "argon2id":
        return Passphrase(secret)
    return SecretKey(bech32.encode(PREFIXES[kind], secret))


def by_product(path: Path, identities, level: str) -> Facts:
    """Everything, as the product reads it; raises TorchkeepError."""
    if level == "public":
        verification = opening.verify(path)
        if not verification.is_verified:
            raise opening.Refused(verification.reason)
        return outside(path.read_bytes())
    keys = [identity(*one) for one in identities]
    with opening.open(path, keys, level=Level(level)) as sealed:
        frame = sealed.frame
        header = json.loads(frame.raw_header[12:])
        content = [_part(sealed, layout) for layout in sealed.layouts]
        stanzas = [(stanza.type, stanza.body) for stanza in frame.block.stanzas]
        policy = frame.manifest.policy.to_json()
        return Facts(header, policy, content, dict(sealed.index.metadata), stanzas)


def by_second(data: bytes, identities, level: str) -> Facts:
    """Everything, as the second reader reads it; raises ValueError."""
    found = reader.of(data, identities, level, MOMENT)
    if level == "public":
        return outside(data)
    content = [(part.kind, part.path, part.table, part.items) for part in found.parts]
    policy, metadata = found.manifest["policy"], found.index["metadata"]
    return Facts(found.header, policy, content, metadata, found.stanzas)


def outside(data: bytes) -> Facts:
    """What is seen without an identity, recipients aside: only the file key vouches for those."""
    length = int.from_bytes(data[8:12], "little")
    at = reader.blocks(data)[0]["manifest"] + 4
    manifest = json.loads(data[at : at + int.from_bytes(data[at - 4 : at], "little")])
    stored = data[12 + length : 12 + length + manifest["data"] + manifest["index"]]
    header = json.loads(data[12 : 12 + length])
    return Facts(header, manifest["policy"], hashlib.sha256(stored).hexdigest(), None, None)


def both(path: Path, data: bytes, identities, level: str) -> Facts | None:
    """What both readers say of ``data``, None where both refuse it; they must not disagree."""
    path.write_bytes(data)
    try:
        one: Facts | None = by_product(path, identities, level)
    except TorchkeepError:
        one = None
    try:
        two: Facts | None = by_second(data, identities, level)
    except ValueError:
        two = None
    assert one == two, f"{level}: the product says {one}, the second reader {two}"
    return one


def verdicts(tmp_path: Path, data: bytes, keys) -> tuple[bool, ...]:
    """Whether both readers take it, by level."""
    return tuple(both(tmp_path / "x.tks", data, keys, level) is not None for level in LEVELS)


def _part(sealed, layout):
    part, numbers = layout.part, range(len(layout.part))
    items = [bytes(sealed.bytes_of(layout, number)) for number in numbers]
    if isinstance(part, Tensors):
        slots = zip(part.slots, items, strict=True)
        items = [(slot.name, slot.dtype, slot.shape, data) for slot, data in slots]
    return part.kind, part.path, part.table(), items
