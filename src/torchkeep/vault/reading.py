"""Reads a sealed file: in whole or in part, on all cores, into memory that is there."""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from cryptography.exceptions import InvalidTag

from torchkeep.core import progress
from torchkeep.vault import index, manifest, tree
from torchkeep.vault.errors import Damaged, NoIdentity
from torchkeep.vault.frame import Frame
from torchkeep.vault.index import Index, Layout
from torchkeep.vault.recipients import Identity, unwrap
from torchkeep.vault.schedule import Schedule, commitment
from torchkeep.vault.suite import TAG, Cipher
from torchkeep.vault.tree import Segment
from torchkeep.vault.writing import nonce

_BATCH: Final = 4 << 20  # bytes that a thread reads at once
_WINDOW: Final = 16 << 20  # bytes that are decrypted at once on the way to somewhere else


class Level(StrEnum):
    """How much is checked.

    Attributes:
        PUBLIC: Form, digests and signatures; no identity is needed.
        TAGS: Form, codes and tags: whoever holds a key could have changed it.
        FULL: All of it.
    """

    PUBLIC = "public"
    TAGS = "tags"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An item, or some chunks of it, and where its bytes are to go.

    Attributes:
        layout: The part that it belongs to.
        number: Its number there.
        into: Memory for all bytes from the first chunk to the last.
        first: The first chunk.
        last: The last chunk; None for the last one that it has.
    """

    layout: Layout
    number: int
    into: memoryview
    first: int = 0
    last: int | None = None

    @property
    def length(self) -> int:
        """Bytes that are wanted."""
        return len(self.into)


@dataclass(slots=True)
class _Piece:
    """One chunk that is to be read, with its tag."""

    cipher: Cipher
    nonce: bytes
    start: int  # in the file
    end: int
    into: memoryview


@dataclass(slots=True)
class _Job:
    """A stretch of the file that one thread reads at once.

    Attributes:
        start: Its first byte.
        end: Behind its last one.
        segments: What its bytes must be; empty where only tags are checked.
        pieces: What is wanted of it.
    """

    start: int
    end: int
    segments: list[Segment]
    pieces: list[_Piece]


class Sealed:
    """A sealed file that is open.

    Attributes:
        frame: What stands around its data.
        index: What is in it.
        level: How much is checked of what is read.
        identity: The one that opened it.
    """

    def __init__(self, frame: Frame, identities: Sequence[Identity], level: Level) -> None:
        """Open a file.

        Raises:
            NoIdentity: None of the identities opens it.
            Damaged: It is not what was sealed.
        """
        self.frame, self.level = frame, level
        found = unwrap(frame.block.stanzas, identities, frame.header_hash)
        if found is None:
            raise NoIdentity(
                f"{frame.name} is sealed for others: none of the identities opens it",
                next="name the identity of one of its recipients with --identity",
            )
        self.file_key, self.identity = found
        self._schedule = _schedule(frame, self.file_key)
        self._tree = frame.tree() if level is Level.FULL else None
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self.index = self._index()
        self.layouts = index.layouts(self.index, frame.chunk)
        self._check_layout()

    @property
    def schedule(self) -> Schedule:
        """The keys of the file."""
        return self._schedule

    def layout(self, path: str | None = None) -> Layout:
        """A part, by its path; the only one where no path is given.

        Raises:
            KeyError: There is no such part, or there are several.
        """
        if path is None and len(self.layouts) == 1:
            return self.layouts[0]
        for layout in self.layouts:
            if layout.part.path == path:
                return layout
        raise KeyError(path)

    def bytes_of(self, layout: Layout, number: int) -> bytearray:
        """An item, in memory of its own."""
        out = bytearray(layout.part.size(number))
        self.read([Wanted(layout, number, memoryview(out))])
        return out

    def read(self, wanted: Iterable[Wanted]) -> None:
        """Decrypt items into the memory that is named for each.

        Raises:
            Damaged: A chunk is not what was sealed.
        """
        pieces = sorted(self._pieces(wanted), key=lambda piece: piece.start)
        jobs = list(self._jobs(pieces))
        if len(jobs) < 2:
            for job in jobs:
                self._decrypt(job)
            return
        if self._pool is None:
            threads = os.cpu_count() or 1
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="torchkeep-open")
        for _ in self._pool.map(self._decrypt, jobs):
            pass

    def windows(self, layouts: Iterable[Layout]) -> Iterator[tuple[Layout, int, memoryview]]:
        """All items of some parts in order, decrypted window by window into memory that is reused.

        Yields:
            The part, the number of the item, and its next bytes: an item may come in several
            pieces, and an empty one comes as one empty piece. They are gone with the next one.
        """
        memory = memoryview(bytearray(_WINDOW))
        held: list[Wanted] = []
        filled = 0
        for wanted in self._runs(layouts, memory):
            if held and wanted.length > _WINDOW - filled:
                yield from self._window(held)
                held, filled = [], 0
            held.append(replace(wanted, into=memory[filled : filled + wanted.length]))
            filled += wanted.length
        yield from self._window(held)

    def check_all(self) -> None:
        """Read everything and keep nothing.

        Raises:
            Damaged: A chunk is not what was sealed.
        """
        with progress.task(f"verifying {self.frame.name}", self.frame.manifest.data) as advance:
            for _, _, piece in self.windows(self.layouts):
                advance(len(piece))

    def close(self) -> None:
        """Let go of threads and of the file."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self.frame.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _window(self, held: list[Wanted]) -> Iterator[tuple[Layout, int, memoryview]]:
        self.read(held)
        yield from ((one.layout, one.number, one.into) for one in held)

    def _runs(self, layouts: Iterable[Layout], memory: memoryview) -> Iterator[Wanted]:
        """Runs of chunks that fit into a window, for every item."""
        chunk = self.frame.chunk
        step = _WINDOW // chunk
        for layout in layouts:
            for number in range(len(layout.part)):
                length = layout.part.size(number)
                final = index.count(length, chunk) - 1
                for first in range(0, final + 1, step):
                    last = min(first + step - 1, final)
                    size = min(length, (last + 1) * chunk) - first * chunk
                    yield Wanted(layout, number, memory[:size], first, last)

    def _index(self) -> Index:
        frame = self.frame
        out = bytearray(max(0, frame.manifest.index - TAG * frame.index_chunks))
        cipher = frame.suite.cipher(self._schedule.index())
        if index.sealed(len(out), frame.chunk) != frame.manifest.index:
            raise Damaged(frame.name, "its index has an impossible length")
        pieces = list(self._chunks(cipher, frame.places.index, len(out), memoryview(out)))
        for job in self._jobs(pieces):
            self._decrypt(job)
        try:
            return index.decode(bytes(out))
        except ValueError as error:
            raise Damaged(frame.name, f"its index is none: {error}") from error

    def _check_layout(self) -> None:
        if sum(layout.offsets[-1] for layout in self.layouts) != self.frame.manifest.data:
            raise Damaged(self.frame.name, "its index does not fit its data")

    def _pieces(self, wanted: Iterable[Wanted]) -> Iterator[_Piece]:
        for one in wanted:
            item = one.layout.item(one.number)
            cipher = self.frame.suite.cipher(self._schedule.item(item.ordinal, item.descriptor))
            start = self.frame.places.data + item.offset
            yield from self._chunks(cipher, start, item.length, one.into, one.first, one.last)

    def _chunks(
        self,
        cipher: Cipher,
        start: int,
        length: int,
        into: memoryview,
        first: int = 0,
        last: int | None = None,
    ) -> Iterator[_Piece]:
        """The chunks of an item of ``length`` bytes that starts at ``start``."""
        chunk = self.frame.chunk
        final = index.count(length, chunk) - 1
        for number in range(first, (final if last is None else last) + 1):
            clear = min(chunk, length - number * chunk)
            at, place = (number - first) * chunk, start + number * (chunk + TAG)
            yield _Piece(
                cipher,
                nonce(number, last=number == final),
                place,
                place + clear + TAG,
                into[at : at + clear],
            )

    def _jobs(self, pieces: Iterable[_Piece]) -> Iterator[_Job]:
        """Pieces that lie one behind the other, put together to what is read at once."""
        job: _Job | None = None
        for piece in pieces:
            if job is not None and job.start <= piece.start and piece.end <= job.end:
                job.pieces.append(piece)
                continue
            start, end, segments = self._around(piece)
            if job is not None and start == job.end and end - job.start <= _BATCH:
                job.end = end
                job.segments += segments
                job.pieces.append(piece)
            else:
                if job is not None:
                    yield job
                job = _Job(start, end, segments, [piece])
        if job is not None:
            yield job

    def _around(self, piece: _Piece) -> tuple[int, int, list[Segment]]:
        """What must be read for a chunk: the chunk, or the segment that it lies in."""
        if self._tree is None:
            return piece.start, piece.end, []
        base = self.frame.places.data
        try:
            (found,) = self._tree.covering(piece.start - base, piece.end - base)
        except ValueError as error:  # none, several, or the tree's own
            raise Damaged(self.frame.name, f"a chunk lies in no segment: {error}") from error
        return base + found.offset, base + found.offset + found.length, [found]

    def _decrypt(self, job: _Job) -> None:
        view = self._staging(job.end - job.start)
        self.frame.source.readinto(job.start, view)
        base = self.frame.places.data - job.start
        for segment in job.segments:
            at = base + segment.offset
            if tree.leaf(self.frame.suite, view[at : at + segment.length]) != segment.digest:
                raise Damaged(self.frame.name, "a segment is not what its digest says")
        for piece in job.pieces:
            sealed = view[piece.start - job.start : piece.end - job.start]
            try:
                piece.cipher.decrypt_into(piece.nonce, sealed, None, piece.into)
            except InvalidTag:
                piece.into[:] = bytes(len(piece.into))  # what was decrypted is nobody's plaintext
                raise Damaged(self.frame.name, "a chunk is not what was sealed") from None

    def _staging(self, length: int) -> memoryview:
        """Memory of this thread: fresh memory costs more than decrypting into it."""
        held: bytearray | None = getattr(self._local, "staging", None)
        if held is None or len(held) < length:
            held = self._local.staging = bytearray(max(length, _BATCH))
        return memoryview(held)[:length]


def _schedule(frame: Frame, file_key: bytes) -> Schedule:
    """The keys of a file, when the file is one that was sealed with its file key."""
    said = commitment(file_key, frame.header.file)
    if not hmac.compare_digest(said, frame.header.commitment):
        raise Damaged(frame.name, "its header belongs to another key")
    schedule = Schedule(file_key, frame.raw_header)
    if not hmac.compare_digest(schedule.close(frame.section), frame.closing):
        raise Damaged(frame.name, "its manifest is not the one that it was closed with")
    if not hmac.compare_digest(schedule.authenticate(frame.block_body), frame.block_code):
        raise Damaged(frame.name, "its key block was not written by anybody who can open it")
    return schedule


def check_signatures(frame: Frame) -> None:
    """See that every signature is over this header and manifest.

    Raises:
        Damaged: One is not.
    """
    message = manifest.signed(frame.header_hash, frame.section)
    for signature in frame.signatures:
        if not signature.verifies(message):
            raise Damaged(frame.name, "a signature is not over its header and manifest")


def check_digests(frame: Frame) -> None:
    """See that every segment is the one in the digest tree; no key is needed.

    Raises:
        Damaged: One is not.
    """
    base, size = frame.places.data, frame.manifest.data + frame.manifest.index
    with progress.task(f"verifying {frame.name}", size) as advance:
        try:
            for segment in frame.tree().covering(0, size):
                data = frame.source.read(base + segment.offset, segment.length)
                if tree.leaf(frame.suite, data) != segment.digest:
                    raise Damaged(frame.name, "a segment is not what its digest says")
                advance(segment.length)
        except ValueError as error:
            raise Damaged(frame.name, str(error)) from error
