"""Writes the test vectors of the sealed format that are not there yet.

A vector is written once and kept: whatever changes in torchkeep must still open it. Contents and
identities come from fixed words; file keys, salts and encapsulations are random, as they are in
every sealed file.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchkeep.vault import bech32
from torchkeep.vault.manifest import Policy
from torchkeep.vault.recipients import Passphrase, PublicKey, Recipient, SecretKey
from torchkeep.vault.rewrapping import rewrap
from torchkeep.vault.signing import Signer
from torchkeep.vault.writing import CHUNK, Identification, Writer, split

FOLDER = Path(__file__).parents[1] / "tests" / "vault" / "vectors"
PREFIXES = {"x25519": "AGE-SECRET-KEY-", "xwing": "AGE-SECRET-KEY-PQ-"}
PASSPHRASE = b"correct horse battery staple"


def secret(word: str, length: int = 32) -> bytes:
    """Bytes that belong to a word."""
    return hashlib.shake_256(b"torchkeep vector " + word.encode()).digest(length)


def key(kind: str, word: str) -> SecretKey:
    """The identity that belongs to a word."""
    return SecretKey(bech32.encode(PREFIXES[kind], secret(word)))


def to(*whom: tuple[str, str]) -> list[Recipient]:
    """Recipients, each by kind and word."""
    return [PublicKey(key(*one).public) for one in whom]


def header(tensors: Sequence[tuple[str, str, list[int], int]]) -> bytes:
    """A safetensors header for (name, dtype, shape, bytes)."""
    out: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, dtype, shape, length in tensors:
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + length]}
        at += length
    return json.dumps(out).encode() + b"   "


ANYBODY = Policy()
TENSORS: list[tuple[str, str, list[int], int]] = [
    ("w", "F32", [4, 3], 48), ("none", "F32", [0, 7], 0), ("also none", "I64", [0], 0),
    ("b", "BF16", [5], 10), ("scalar", "F64", [], 8), ("flags", "BOOL", [3], 3),
    ("größe", "I64", [2], 16), ("half", "F16", [2, 2], 8), ("bytes", "U8", [1000], 1000),
    ("e4", "F8_E4M3", [6], 6), ("nibbles", "F4", [4], 2), ("complex", "C64", [1], 8),
]  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One part, in clear: a header for tensors, and the bytes of its items."""

    kind: str
    path: str
    items: tuple[bytes, ...]
    header: bytes = b""

    def write(self, writer: Writer, chunk: int) -> None:
        """Seal it."""
        if self.kind == "tensors":
            writer.tensors(self.path, self.header, [split(item, chunk) for item in self.items])
        elif self.kind == "file":
            writer.file(self.path, split(self.items[0], chunk))
        else:
            writer.records(self.path, self.items)

    def to_json(self) -> dict[str, Any]:
        """What a reader must find."""
        digests = [hashlib.sha256(item).hexdigest() for item in self.items]
        table = hashlib.sha256(self.header).hexdigest() if self.header else None
        return {"kind": self.kind, "path": self.path, "header": table, "items": digests}


@dataclass(frozen=True)
class Vector:
    """One file.

    Attributes:
        parts: What is in it.
        recipients: For whom, by kind and word.
        signers: Who signs it, by word.
        later: Recipients of each rewrap.
        settings: Other arguments of the writer.
        policy: How it may be used.
        model: What it is a version of.
    """

    parts: tuple[Part, ...]
    recipients: tuple[tuple[str, str], ...] = (("x25519", "alice"),)
    signers: tuple[str, ...] = ()
    later: tuple[tuple[tuple[str, str], ...], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    policy: Policy = ANYBODY
    model: str = "income"

    def to_json(self) -> dict[str, Any]:
        """What a reader must find."""
        last = self.later[-1] if self.later else self.recipients
        return {
            "generation": 1 + len(self.later),
            "identities": [[kind, opener(kind, word).hex()] for kind, word in last],
            "metadata": METADATA,
            "model": self.model,
            "parts": [part.to_json() for part in self.parts],
            "policy": self.policy.to_json(),
            "previous": secret("previous").hex(),
            "signers": sorted(Signer(secret(word, 64)).id.hex() for word in self.signers),
            "suite": self.settings.get("suite_id", 1),
            "version": 3,
        }


def tensors(path: str = "model.safetensors") -> Part:
    """Tensors of several dtypes."""
    items = tuple(secret(path + name, length) for name, _, _, length in TENSORS)
    return Part("tensors", path, items, header(TENSORS))


def opener(kind: str, word: str) -> bytes:
    """The secret that belongs to a recipient."""
    return PASSPHRASE if kind == "argon2id" else secret(word)


METADATA = {"note": "of a vector", "ключ": ""}
SMALL = Part("file", "notes.txt", (b"hello",))
EMPTY = Part("file", "empty", (b"",))
FOLDER_OF = (
    tensors("weights/model-1.safetensors"), tensors("weights/model-2.safetensors"), SMALL, EMPTY,
    Part("tensors", "weights/nothing.safetensors", (), b"{}"),
)  # fmt: skip
RECORDS = (
    Part("records", "train", tuple(secret(f"record {n}", n % 7 * 30) for n in range(40))),
    Part("records", "test", ()),
)
CHUNKS = Part("file", "two", (secret("two", (1 << 16) + 1),))
ALICE, BOB, CAROL, DAVE = (
    ("x25519", "alice"), ("x25519", "bob"), ("xwing", "carol"), ("xwing", "dave"),
)  # fmt: skip
VECTORS = {
    "tensors": Vector((tensors(),)),
    "tensors-chacha20": Vector((tensors(),), settings={"suite_id": 2}),
    "tensors-chunk-16": Vector((tensors(),), settings={"chunk": 16}),
    "file": Vector((SMALL,)),
    "empty": Vector((EMPTY,)),
    "folder": Vector(FOLDER_OF, (CAROL,), settings={"chunk": 16}),
    "records": Vector(RECORDS),
    "chunks": Vector((CHUNKS,), settings={"chunk": 16}),
    "recipients": Vector((SMALL,), (ALICE, BOB)),
    "quantum": Vector((SMALL,), (CAROL, DAVE)),
    "mixed": Vector((SMALL,), (ALICE, CAROL), settings={"mixed": True}),
    "passphrase": Vector((SMALL,), (("argon2id", "passphrase"),)),
    "signed": Vector((tensors(),), (CAROL,), ("release", "review"), model="größe \N{SNOWMAN}"),
    "policy": Vector(
        (SMALL,),
        (ALICE, BOB),
        ("release",),
        policy=Policy(
            not_before=1_600_000_000,
            not_after=4_102_444_800,
            versions=(1, 7),
            recipients=tuple(sorted(one.id for one in to(ALICE, BOB))),
        ),
    ),
    "rewrapped": Vector(RECORDS, (ALICE,), ("release",), later=((ALICE, BOB), (CAROL,))),
}


def write(name: str, vector: Vector) -> None:
    """Write one."""
    path = FOLDER / f"{name}.tks"
    cheap = Passphrase(PASSPHRASE, memory=64, passes=1, lanes=1)
    whom = [cheap] if vector.recipients[0][0] == "argon2id" else to(*vector.recipients)
    of = Identification(model=vector.model, version=3, previous=secret("previous"))
    signers = [Signer(secret(word, 64)) for word in vector.signers]
    out = io.BytesIO()
    with Writer(out, whom, of, signers=signers, **({"suite_id": 1} | vector.settings)) as writer:
        for part in vector.parts:
            part.write(writer, 1 << vector.settings.get("chunk", CHUNK))
        writer.finish(metadata=METADATA, policy=vector.policy)
    path.write_bytes(out.getvalue())
    before = vector.recipients
    for later in vector.later:
        rewrap(path, [key(*before[0])], to(*later))
        before = later


def main() -> int:
    """Write what is missing, and what must be found in all."""
    FOLDER.mkdir(exist_ok=True)
    for name, vector in VECTORS.items():
        if not (path := FOLDER / f"{name}.tks").exists():
            write(name, vector)
            print(f"{name}: {path.stat().st_size} bytes")
    expected = {name: vector.to_json() for name, vector in VECTORS.items()}
    text = json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / "vectors.json").write_text(text + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
