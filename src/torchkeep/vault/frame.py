"""Everything of a sealed file around its data, found from the end and checked for its form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from torchkeep.core.source import Readable, Source
from torchkeep.vault import blocks, header, manifest, signing, suite
from torchkeep.vault.blocks import Block
from torchkeep.vault.errors import Damaged
from torchkeep.vault.header import Header
from torchkeep.vault.manifest import Manifest, Places
from torchkeep.vault.schedule import LENGTH
from torchkeep.vault.signing import Signature
from torchkeep.vault.suite import TAG, Suite
from torchkeep.vault.tree import Tree

_SUFFIX: Final = 256 << 10  # bytes at the end that are read at once
_MOST_SIGNATURES: Final = 16


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the data.

    Attributes:
        name: What to call the file.
        source: Its bytes.
        header: Its header.
        raw_header: The header as it stands there.
        suite: Its suite.
        manifest: Its manifest.
        section: The manifest as it stands there.
        closing: The code behind it.
        signatures: One for each signer of the header.
        block: The last key block.
        block_body: What its code is over.
        block_code: That code.
        places: Where the sections lie.
    """

    name: str
    source: Source
    header: Header
    raw_header: bytes
    suite: Suite
    manifest: Manifest
    section: bytes
    closing: bytes
    signatures: tuple[Signature, ...]
    block: Block
    block_body: bytes
    block_code: bytes
    places: Places

    @property
    def header_hash(self) -> bytes:
        """What every key depends on."""
        return hashlib.sha256(self.raw_header).digest()

    @property
    def chunk(self) -> int:
        """Bytes of a chunk."""
        return 1 << self.header.chunk

    @property
    def index_chunks(self) -> int:
        """Chunks of the index."""
        return max(1, -(-self.manifest.index // (self.chunk + TAG)))

    def tree(self) -> Tree:
        """The digest tree.

        Raises:
            Damaged: It is not the one that the manifest names.
        """
        said = self.manifest
        try:
            return Tree(
                self.suite,
                self.source,
                self.places.entries,
                said.segments,
                said.root,
                (said.data, said.data + said.index),
                self.chunk,
            )
        except ValueError as error:
            raise Damaged(self.name, str(error)) from error


class Suffix:
    """A source whose last bytes were read at once: most of a frame lies there."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.size = source.size
        self._start = max(0, source.size - _SUFFIX)
        self._held = source.read(self._start, source.size - self._start)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; ValueError where there are none."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError("a section of it lies outside of it")
        if offset >= self._start:
            return self._held[offset - self._start : offset - self._start + length]
        return self._source.read(offset, length)


def read(source: Source) -> Frame:
    """The frame of a sealed file.

    Raises:
        Foreign: It is no sealed file of this version.
        MissingExtra: Its suite needs one.
        Damaged: Its form is not what the format says.
        SourceError: It cannot be read.
    """
    head, raw = header.read(source, source.name)
    found = suite.of(head.suite)
    try:
        return _read(source, Suffix(source), head, raw, found)
    except ValueError as error:
        raise Damaged(source.name, str(error)) from error


def _read(source: Source, near: Suffix, head: Header, raw: bytes, found: Suite) -> Frame:
    length = blocks.length(near.read(source.size - blocks.FOOTER, blocks.FOOTER))
    offset = source.size - blocks.FOOTER - length
    block, body, code = blocks.decode(near.read(offset, length), offset)
    if source.size - block.immutable > blocks.MOST_BYTES:
        raise ValueError("its key blocks are larger than any")
    before = near.read(block.immutable, offset - block.immutable)
    if hashlib.sha256(before).digest() != block.previous:
        raise ValueError("an earlier key block is not what it was")
    blocks.check_earlier(before, block)
    section, closing, signatures = _closing(near, block)
    said = manifest.decode(section[4:])
    places = Places.of(len(raw), said)
    if places.manifest != block.manifest:
        raise ValueError("its sections do not lie where its manifest says")
    if said.header != hashlib.sha256(raw).digest():
        raise ValueError("its manifest belongs to another header")
    if tuple(signature.signer for signature in signatures) != head.signers:
        raise ValueError("its signatures are not those that its header names")
    return Frame(
        source.name, source, head, raw, found, said, section, closing, signatures,
        block, body, code, places,
    )  # fmt: skip


def _closing(near: Suffix, block: Block) -> tuple[bytes, bytes, tuple[Signature, ...]]:
    """Manifest section, the code behind it and the signatures, up to the first key block."""
    at = block.manifest

    def take(length: int) -> bytes:
        nonlocal at
        if at + length > block.immutable:
            raise ValueError("its manifest runs into its key block")
        at += length
        return near.read(at - length, length)

    start = take(4)
    length = int.from_bytes(start, "little")
    if length > manifest.LONGEST:
        raise ValueError("its manifest is longer than any")
    section, closing = start + take(length), take(LENGTH)
    count = int.from_bytes(take(2), "little")
    if count > _MOST_SIGNATURES:
        raise ValueError("it has more signatures than any file")
    signatures = tuple(Signature.decode(take(signing.LENGTH)) for _ in range(count))
    if at != block.immutable:
        raise ValueError("something stands between its signatures and its key block")
    return section, closing, signatures
