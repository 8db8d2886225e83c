"""Writes a sealed file in one pass, encrypting on all cores."""

from __future__ import annotations

import os
import secrets
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from torchkeep.core.errors import UsageError
from torchkeep.core.source import Readable
from torchkeep.core.text import visible
from torchkeep.vault import blocks, manifest, schedule, suite, tree
from torchkeep.vault.header import Header
from torchkeep.vault.header import check as check_header
from torchkeep.vault.index import (
    MOST_PARTS,
    File,
    Index,
    Part,
    Records,
    Tensors,
    is_path,
    metadata_of,
)
from torchkeep.vault.manifest import Manifest, Policy
from torchkeep.vault.recipients import Recipient, check
from torchkeep.vault.schedule import Schedule
from torchkeep.vault.signing import Signer
from torchkeep.vault.suite import TAG, Cipher

CHUNK: Final = 20
"""log2 of the bytes of a chunk, where nobody says otherwise: 1 MiB."""

_WINDOW: Final = 4  # segments under way for each thread


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a source that are read when they are needed."""

    source: Readable
    offset: int
    length: int

    def read(self) -> bytes:
        """The bytes."""
        return self.source.read(self.offset, self.length)


Piece = bytes | memoryview | Span
"""Up to a chunk of plaintext."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk that waits to be encrypted."""

    cipher: Cipher
    nonce: bytes
    piece: Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """What the header says of a file beside its keys.

    Attributes:
        model: What versions are counted for.
        version: Which version it is.
        previous: Hash of the header of the version before; None for the first.
    """

    model: str
    version: int = 1
    previous: bytes | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was written.

    Attributes:
        header_hash: Names this version for the next one's ``previous``.
        size: Bytes of the file.
        items: Items in it.
    """

    header_hash: bytes
    size: int
    items: int

    def to_json(self) -> dict[str, Any]:
        """What was written, as JSON data."""
        header = self.header_hash.hex()
        return {"schema_version": 1, "header": header, "bytes": self.size, "items": self.items}


class Writer:
    """Seals parts into a file, one after the other.

    Use it in a ``with`` block and call :meth:`finish` at its end: without that, what was written is
    no sealed file.

    Args:
        file: Where to write; it is never sought or read.
        recipients: Who will be able to open it.
        of: What it is a version of.
        signers: Who signs it.
        suite_id: Number of the suite; the default for this processor where None.
        chunk: log2 of the bytes of a chunk.
        mixed: Whether recipients of unequal strength may stand together.

    Raises:
        UsageError: From the methods too: what is given could be written, but not be read again.
    """

    def __init__(
        self,
        file: BinaryIO,
        recipients: Sequence[Recipient],
        of: Identification,
        *,
        signers: Sequence[Signer] = (),
        suite_id: int | None = None,
        chunk: int = CHUNK,
        mixed: bool = False,
    ) -> None:
        check(recipients, mixed=mixed)
        self._file, self._recipients = file, recipients
        by_id = {signer.id: signer for signer in signers}
        self._signers = [by_id[one] for one in sorted(by_id)]
        self._suite = suite.of(suite_id or suite.preferred())
        self._chunk = 1 << chunk
        self._key, name = schedule.new_file_key(), secrets.token_bytes(16)
        self._header = Header(
            chunk=chunk,
            commitment=schedule.commitment(self._key, name),
            file=name,
            model=of.model,
            previous=of.previous,
            signers=tuple(signer.id for signer in self._signers),
            suite=self._suite.id,
            version=of.version,
        )
        with _readable():
            check_header(self._header)
        header = self._header.encode()
        self._schedule = Schedule(self._key, header)
        self._start, self._written, self._items = len(header), 0, 0
        self._parts: list[Part] = []
        self._paths: set[str] = set()
        threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="torchkeep-seal")
        self._window = threads * _WINDOW
        self._pending: deque[Future[tuple[bytearray, int, bytes]]] = deque()
        self._spare: deque[bytearray] = deque()
        self._segment: list[_Chunk] = []
        self._filled = 0  # bytes of the segment that is being put together
        self._entries = bytearray()
        self._write(header)

    def tensors(self, path: str, header: bytes, data: Iterable[Iterable[Piece]]) -> None:
        """Seal a set of tensors.

        Args:
            path: What to call it.
            header: The header of its safetensors file, without the length before it.
            data: For each tensor, in the order of the header's offsets, its bytes in chunks.

        Raises:
            ValueError: The header is not well-formed, or the data are not those of its tensors.
        """
        self._claim(path)
        part = Tensors(path, header)
        for number, pieces in zip(range(len(part)), data, strict=True):
            if self._item(part.descriptor(number), pieces) != part.size(number):
                raise ValueError("the data of a tensor has not the length that its header says")
        self._parts.append(part)

    def file(self, path: str, pieces: Iterable[Piece]) -> None:
        """Seal a file of any kind; its length need not be known before."""
        self._claim(path)
        length = self._item(File(path, 0).descriptor(0), pieces)
        self._parts.append(File(path, length))

    def records(self, path: str, data: Iterable[bytes]) -> None:
        """Seal records that will be read one by one."""
        self._claim(path)
        lengths = array("Q")
        part = Records(path, lengths)
        for number, record in enumerate(data):
            lengths.append(len(record))
            self._item(part.descriptor(number), split(record, self._chunk))
        self._parts.append(part)

    def settle(self) -> None:
        """Read what was named and is not read yet, so that its source can be closed."""
        self._segment = [
            replace(chunk, piece=chunk.piece.read()) if isinstance(chunk.piece, Span) else chunk
            for chunk in self._segment
        ]
        self._drain(0)

    def finish(
        self,
        *,
        metadata: Mapping[str, str] | None = None,
        content: str | None = None,
        policy: Policy | None = None,
    ) -> Receipt:
        """Write everything that follows the data.

        Args:
            metadata: Text by name.
            content: Content digest of all tensors.
            policy: How the file may be used.
        """
        with _readable():
            metadata_of(dict(metadata or {}))
        self._cut()
        self._drain(0)
        data = self._written - self._start
        text = Index(tuple(self._parts), metadata or {}, content).encode()
        self._encrypt(self._suite.cipher(self._schedule.index()), split(text, self._chunk))
        self._cut()
        self._drain(0)
        pages, count = tree.pages(self._suite, self._entries), tree.count(self._entries)
        closing = Manifest(
            data=data,
            header=self._schedule.header_hash,
            index=self._written - self._start - data,
            policy=policy or Policy(),
            root=tree.root(self._suite, count, pages),
            sealed=int(time.time()),
            segments=count,
        )
        self._write(bytes(self._entries) + pages)
        self._close(closing)
        return Receipt(self._schedule.header_hash, self._written, self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _close(self, closing: Manifest) -> None:
        """Manifest, code, signatures and the first key block."""
        section, at = closing.encode(), self._written
        with _readable():
            manifest.decode(section[4:])
        signed = manifest.signed(self._schedule.header_hash, section)
        self._write(section + self._schedule.close(section))
        self._write(len(self._signers).to_bytes(2, "little"))
        for signer in self._signers:
            self._write(signer.sign(signed))
        hashed = self._schedule.header_hash
        stanzas = [recipient.wrap(self._key, hashed) for recipient in self._recipients]
        self._write(blocks.first(self._written, at, stanzas).encode(self._schedule))

    def _claim(self, path: str) -> None:
        """Take a path for a part."""
        if not is_path(path):
            raise UsageError(
                f"{visible(path)} is no name that a sealed file can hold on every system",
                next="rename it: without ':', '\\' and NUL, relative, at most 4,096 characters",
            )
        if path in self._paths or len(self._paths) == MOST_PARTS:
            raise UsageError(
                f"{visible(path)} is there already, or one file too many",
                next=f"seal each path once, and at most {MOST_PARTS:,} of them",
            )
        self._paths.add(path)

    def _item(self, descriptor: list[object], pieces: Iterable[Piece]) -> int:
        """Seal one item; returns its bytes."""
        key = self._schedule.item(self._items, descriptor)
        self._items += 1
        return self._encrypt(self._suite.cipher(key), pieces)

    def _encrypt(self, cipher: Cipher, pieces: Iterable[Piece]) -> int:
        number, held = 0, None
        for piece in pieces:
            if held is not None:
                self._require(length_of(held) == self._chunk)
                self._add(_Chunk(cipher, nonce(number, last=False), held))
                number += 1
            held = piece
        final = b"" if held is None else held
        self._require(length_of(final) <= self._chunk)
        self._add(_Chunk(cipher, nonce(number, last=True), final))
        return number * self._chunk + length_of(final)

    def _require(self, whole: bool) -> None:
        if not whole:  # what is cut otherwise could be written, and never read again
            raise ValueError(f"all pieces but the last must have {self._chunk} bytes")

    def _add(self, chunk: _Chunk) -> None:
        self._segment.append(chunk)
        self._filled += length_of(chunk.piece) + TAG
        if self._filled >= self._chunk:
            self._cut()

    def _cut(self) -> None:
        """End a segment, and have it encrypted and hashed as one piece of work."""
        if self._segment:
            self._drain(self._window)
            self._pending.append(self._pool.submit(self._work, self._segment))
            self._segment, self._filled = [], 0

    def _work(self, segment: list[_Chunk]) -> tuple[bytearray, int, bytes]:
        try:
            out = self._spare.popleft()
        except IndexError:
            out = bytearray(2 * self._chunk + TAG)
        view, at = memoryview(out), 0
        for chunk in segment:
            data = chunk.piece.read() if isinstance(chunk.piece, Span) else chunk.piece
            end = at + len(data) + TAG
            chunk.cipher.encrypt_into(chunk.nonce, data, None, view[at:end])
            at = end
        return out, at, tree.leaf(self._suite, view[:at])

    def _drain(self, left: int) -> None:
        """Write what is ready, in order, until no more than ``left`` segments are under way."""
        while len(self._pending) > left:
            out, length, digest = self._pending.popleft().result()
            self._write(memoryview(out)[:length])
            self._entries += tree.entry(length, digest)
            self._spare.append(out)

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._written += len(data)


@contextmanager
def _readable() -> Iterator[None]:
    """What a reader would refuse is not written."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"that cannot be sealed: {error}", next="give other values") from error


def length_of(piece: Piece) -> int:
    """Bytes of a piece."""
    return piece.length if isinstance(piece, Span) else len(piece)


def nonce(number: int, *, last: bool) -> bytes:
    """The nonce of a chunk."""
    return bytes([last, 0, 0, 0]) + number.to_bytes(8, "big")


def split(data: Any, chunk: int) -> Iterator[Piece]:
    """Memory in chunks."""
    view = memoryview(data).cast("B")
    return (view[at : at + chunk] for at in range(0, len(view), chunk))


def spans(source: Readable, offset: int, length: int, chunk: int) -> Iterator[Piece]:
    """A stretch of a source in chunks."""
    end = offset + length
    return (Span(source, at, min(chunk, end - at)) for at in range(offset, end, chunk))
