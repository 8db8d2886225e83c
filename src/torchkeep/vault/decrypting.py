"""Decrypts chunks into memory that is there, on all cores, after their digests where they count."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag

from torchkeep.vault import index, tree
from torchkeep.vault.errors import Damaged
from torchkeep.vault.frame import Frame
from torchkeep.vault.suite import TAG, Cipher
from torchkeep.vault.tree import Segment
from torchkeep.vault.writing import nonce

_BATCH: Final = 4 << 20  # bytes that a thread reads at once


@dataclass(slots=True)
class Piece:
    """One chunk that is to be read.

    Attributes:
        cipher: With the key of its item.
        nonce: Its nonce.
        start: Its first byte in the file.
        end: Behind its tag.
        into: Where its plaintext goes.
    """

    cipher: Cipher
    nonce: bytes
    start: int
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
    pieces: list[Piece]


class Decrypter:
    """Reads chunks of one file.

    Args:
        frame: What stands around them.
        hashed: Whether each segment must be the one in the digest tree.

    Raises:
        Damaged: From every method too: a chunk or a digest is not what was sealed.
    """

    def __init__(self, frame: Frame, *, hashed: bool) -> None:
        self._frame = frame
        self._tree = frame.tree() if hashed else None
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()

    def chunks(
        self,
        cipher: Cipher,
        start: int,
        length: int,
        into: memoryview,
        first: int = 0,
        last: int | None = None,
    ) -> Iterator[Piece]:
        """The chunks of an item.

        Args:
            cipher: With its key.
            start: Its first byte in the file.
            length: Its bytes in clear.
            into: Memory for all bytes from the first chunk to the last.
            first: The first chunk.
            last: The last chunk; None for the last one that it has.
        """
        chunk = self._frame.chunk
        final = index.count(length, chunk) - 1
        for number in range(first, (final if last is None else last) + 1):
            clear = min(chunk, length - number * chunk)
            at, place = (number - first) * chunk, start + number * (chunk + TAG)
            yield Piece(
                cipher,
                nonce(number, last=number == final),
                place,
                place + clear + TAG,
                into[at : at + clear],
            )

    def run(self, pieces: Iterable[Piece]) -> None:
        """Decrypt chunks, in whatever order is best."""
        jobs = list(self._jobs(sorted(pieces, key=lambda piece: piece.start)))
        if len(jobs) < 2:
            for job in jobs:
                self._decrypt(job)
            return
        if self._pool is None:
            threads = os.cpu_count() or 1
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="torchkeep-open")
        for _ in self._pool.map(self._decrypt, jobs):
            pass

    def close(self) -> None:
        """Let go of threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _jobs(self, pieces: Iterable[Piece]) -> Iterator[_Job]:
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

    def _around(self, piece: Piece) -> tuple[int, int, list[Segment]]:
        """What must be read for a chunk: the chunk, or the segment that it lies in."""
        if self._tree is None:
            return piece.start, piece.end, []
        base = self._frame.places.data
        try:
            (found,) = self._tree.covering(piece.start - base, piece.end - base)
        except ValueError as error:  # none, several, or the tree's own
            raise Damaged(self._frame.name, f"a chunk lies in no segment: {error}") from error
        return base + found.offset, base + found.offset + found.length, [found]

    def _decrypt(self, job: _Job) -> None:
        view = self._staging(job.end - job.start)
        self._frame.source.readinto(job.start, view)
        base = self._frame.places.data - job.start
        for segment in job.segments:
            at = base + segment.offset
            if tree.leaf(self._frame.suite, view[at : at + segment.length]) != segment.digest:
                raise Damaged(self._frame.name, "a segment is not what its digest says")
        for piece in job.pieces:
            sealed = view[piece.start - job.start : piece.end - job.start]
            try:
                piece.cipher.decrypt_into(piece.nonce, sealed, None, piece.into)
            except InvalidTag:
                piece.into[:] = bytes(len(piece.into))  # what was decrypted is nobody's plaintext
                raise Damaged(self._frame.name, "a chunk is not what was sealed") from None

    def _staging(self, length: int) -> memoryview:
        """Memory of this thread: fresh memory costs more than decrypting into it."""
        held: bytearray | None = getattr(self._local, "staging", None)
        if held is None or len(held) < length:
            held = self._local.staging = bytearray(max(length, _BATCH))
        return memoryview(held)[:length]
