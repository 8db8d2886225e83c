"""Sealed files as somebody makes them who holds the file key and keeps to no rule."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from dataclasses import dataclass, replace
from typing import Any

from doubles.sealed import FOLDER, VECTORS
from vault import reader


def canonical(value: Any) -> bytes:
    """The one spelling of JSON."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def framed(body: bytes) -> bytes:
    """A u32 length before some bytes."""
    return struct.pack("<I", len(body)) + body


@dataclass(frozen=True)
class Forge:
    """Everything that a file is made of; what is replaced goes into the file as it is."""

    file_key: bytes
    header: bytes  # JSON
    items: tuple[tuple[Any, bytes], ...]  # descriptor, plaintext
    index: bytes  # JSON
    tables: bytes
    signatures: bytes  # with their number
    stanzas: tuple[tuple[str, bytes], ...]
    manifest: tuple[tuple[str, Any], ...] = ()
    """Keys that take the place of the right ones."""
    spelled: bytes | None = None
    """The JSON of the manifest, where it is not to be made."""
    swapped: tuple[int, int] | None = None
    """Items whose ciphertexts change places."""
    cuts: tuple[int, ...] | None = None
    """Lengths of segments, where they are not to be the right ones."""
    stored: bytes | None = None
    """Data and index as they stand in the file, where segments are not to be right for them."""

    @classmethod
    def of(cls, data: bytes, kind: str, secret: bytes) -> Forge:
        """What a recipient can learn of a file."""
        found = reader.of(data, [(kind, secret)], "tags", 1_800_000_000)
        keys = reader.blocks(data)
        header = data[12 : 12 + int.from_bytes(data[8:12], "little")]
        hh = hashlib.sha256(data[: 12 + len(header)]).digest()
        body = next(body for name, body in found.stanzas if name == kind)
        at = keys[0]["manifest"]
        closing = at + 4 + int.from_bytes(data[at : at + 4], "little")
        items = []
        for part, said in zip(found.parts, found.index["parts"], strict=True):
            clear = [item[3] if part.kind == "tensors" else item for item in part.items]
            described = [one[1] for one in reader.items_of(said, part.table)]
            items += zip(described, clear, strict=True)
        return cls(
            file_key=reader.unwrap(kind, secret, body, hh)[1],
            header=header,
            items=tuple(items),
            index=canonical(found.index),
            tables=b"".join(part.table for part in found.parts),
            signatures=data[closing + 32 : keys[0]["immutable"]],
            stanzas=tuple(found.stanzas),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """The header, parsed."""
        return json.loads(self.header)

    @property
    def start(self) -> bytes:
        """The header as it stands in the file."""
        return b"TKSEAL1\n" + framed(self.header)

    @property
    def hashed(self) -> bytes:
        """What every key depends on."""
        return hashlib.sha256(self.start).digest()

    def key(self, label: bytes) -> bytes:
        """The key of a label."""
        root = hmac.digest(self.hashed, self.file_key, "sha256")
        return hmac.digest(root, b"torchkeep-sealed-v1 " + label + b"\1", "sha256")

    def item_key(self, ordinal: int) -> bytes:
        """The key of an item."""
        descriptor = hashlib.sha256(canonical(self.items[ordinal][0])).digest()
        return self.key(b"item" + struct.pack("<Q", ordinal) + descriptor)

    def sections(self) -> tuple[list[bytes], list[bytes]]:
        """The chunks of data and index."""
        data = [self._chunks(self.item_key(n), clear) for n, (_, clear) in enumerate(self.items)]
        if self.swapped:
            a, b = self.swapped
            data[a], data[b] = data[b], data[a]
        index = self._chunks(self.key(b"index"), framed(self.index) + self.tables)
        return [chunk for chunks in data for chunk in chunks], index

    def build(self) -> bytes:
        """The file."""
        data, index = self.sections()
        stored = b"".join(data + index)
        cuts = self.cuts or (*self._cuts(data), *self._cuts(index))
        entries, pages, root = self._tree(stored, cuts)
        said = {
            "data": sum(map(len, data)), "header": self.hashed.hex(), "policy": {},
            "index": sum(map(len, index)), "root": root.hex(), "sealed": 1, "segments": len(cuts),
        }  # fmt: skip
        body = self.spelled or canonical(said | dict(self.manifest))
        front = self.start + (self.stored or stored) + entries + pages
        section = framed(body)
        closing = hmac.digest(self.key(b"closing"), self.signed(section), "sha256")
        immutable = front + section + closing + self.signatures
        return immutable + self.block(1, len(immutable), len(front), len(immutable), b"")

    def signed(self, section: bytes) -> bytes:
        """What closing and signatures are over."""
        return self.hashed + hashlib.sha256(section).digest()

    def block(self, generation: int, end: int, manifest: int, at: int, before: bytes) -> bytes:
        """A key block."""
        body = b"TKSKEYS1" + struct.pack("<4Q", generation, end, manifest, at)
        body += hashlib.sha256(before).digest() + struct.pack("<I", len(self.stanzas))
        for kind, stanza in self.stanzas:
            body += bytes([len(kind)]) + kind.encode() + framed(stanza)
        body += hmac.digest(self.key(b"keys"), self.hashed + body, "sha256")
        return body + struct.pack("<Q", len(body)) + b"TKSFOOT1"

    def resigned(self, *signers: Any) -> Forge:
        """With these signers in the header, and signatures of theirs over what is built."""
        signers = tuple(sorted(signers, key=lambda signer: signer.id))
        ids = [signer.id.hex() for signer in signers]
        made = replace(self, header=canonical(self.facts | {"signers": ids}))
        data = replace(made, signatures=b"\0\0").build()
        at = reader.blocks(data)[0]["manifest"]
        section = data[at : at + 4 + int.from_bytes(data[at : at + 4], "little")]
        message = b"torchkeep-sealed-v1 signature" + made.signed(section)
        both = b"".join(signer.sign(message) for signer in signers)
        return replace(made, signatures=struct.pack("<H", len(signers)) + both)

    def wrapped_anew(self, public: Any) -> Forge:
        """With a stanza for this recipient, where a new header has spoilt the old ones."""
        stanza = public.wrap(self.file_key, self.hashed)
        return replace(self, stanzas=((stanza.type, stanza.body),))

    def _chunks(self, key: bytes, clear: bytes) -> list[bytes]:
        suite = reader.SUITES.get(self.facts["suite"], reader.SUITES[1])
        size, cipher = 1 << self.facts["chunk"], suite[0](key)
        starts = range(0, max(1, len(clear)), size)
        return [
            cipher.encrypt(struct.pack(">?xxxQ", at == starts[-1], n), clear[at : at + size], None)
            for n, at in enumerate(starts)
        ]

    def _cuts(self, chunks: list[bytes]) -> list[int]:
        cuts: list[int] = []
        for chunk in chunks:
            if not cuts or cuts[-1] >= 1 << self.facts["chunk"]:
                cuts.append(0)
            cuts[-1] += len(chunk)
        return cuts

    def _tree(self, stored: bytes, cuts: tuple[int, ...]) -> tuple[bytes, bytes, bytes]:
        entries, at = b"", 0
        for length in cuts:
            leaf = hashlib.sha256(b"\0" + stored[at : at + length]).digest()
            entries += struct.pack("<I", length) + leaf
            at += length
        page = struct.pack("<Q", sum(cuts)) + hashlib.sha256(b"\1" + entries).digest()
        root = hashlib.sha256(b"\2" + struct.pack("<Q", len(cuts)) + page).digest()
        return entries, page, root


def held(name: str) -> tuple[Forge, list[tuple[str, bytes]]]:
    """A vector in the hands of its first recipient."""
    kind, secret = VECTORS[name]["identities"][0]
    key = kind, bytes.fromhex(secret)
    return Forge.of((FOLDER / f"{name}.tks").read_bytes(), *key), [key]


def following(forge: Forge, data: bytes, between: bytes = b"", **wrong) -> bytes:
    """One more key block behind ``data`` and ``between``."""
    first = reader.blocks(data)[0]
    said = {"generation": 2, "end": first["immutable"], "manifest": first["manifest"]}
    before = data[first["immutable"] :] + between
    block = forge.block(**(said | {"at": len(data + between), "before": before} | wrong))
    return data + between + block
