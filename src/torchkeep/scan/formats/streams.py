"""Compressed streams: gzip, bzip2, xz, lzma as its old tools write it, zlib.

What comes out is scanned as a file of its own. It is unpacked piece by piece into memory, and from
8 MiB on into a temporary file, so that scanning takes 8 MiB and some pieces of 256 KiB however
large the content; its length counts against the budget of the file.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from torchkeep.core.source import Readable
from torchkeep.scan import dispatch
from torchkeep.scan.formats import texts
from torchkeep.scan.job import Job
from torchkeep.scan.sniff import Kind, kinds
from torchkeep.scan.spool import Spool
from torchkeep.scan.verdict import Verdict

_PIECE: Final = 1 << 18
_MEMORY: Final = 256 << 20  # bytes that a decoder of lzma may take; its largest preset takes 65 MiB
_FREE: Final = 64 << 20  # bytes that may come out whatever went in
_MOST_RATIO: Final = 200  # zeros, which weights can be, give 1000 with gzip, and a bomb no less
_MOST_STREAMS: Final = 1000
_FAILURES: Final = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class Unpacker(Protocol):
    """What the decoders of the standard library have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What stands behind its end."""

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        """Some of what comes out."""


class _Zlib:
    """zlib's decoder, with what it was given and did not take kept inside as the others do."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str
    magic: bytes  # empty where the format has none worth the name
    make: Callable[[], Unpacker]


def _lzma(format: int) -> Unpacker:
    return lzma.LZMADecompressor(format, memlimit=_MEMORY)


_XZ: Final = _Codec("xz", b"\xfd7zXZ\x00", lambda: _lzma(lzma.FORMAT_XZ))
_LZMA: Final = _Codec("lzma", b"", lambda: _lzma(lzma.FORMAT_ALONE))
_ZLIB: Final = _Codec("zlib", b"", lambda: _Zlib(15))
_WITH_MAGIC: Final = (
    _Codec("gzip", b"\x1f\x8b", lambda: _Zlib(31)),
    _Codec("bzip2", b"BZh", bz2.BZ2Decompressor),
    _XZ,
)
_NOT_READ: Final = ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4"))


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Scan what is compressed in a file, or in a member of one."""
    head = source.read(0, min(16, source.size))
    for magic, name in _NOT_READ:
        if head.startswith(magic):
            job.issue(31, Verdict.NOT_SCANNED, "not-unpacked", member=member, format=name)
            return
    codec = _codec(head)
    inside = f"{member}!{codec.name}" if member else codec.name
    with Spool() as spool:
        if _unpack(job, source, codec, member, spool):
            dispatch.look(job, spool, inside, depth + 1)
        elif kinds(source) == (Kind.COMPRESSED,):
            texts.look(job, source, member, depth)  # its beginning only looked like a stream


def _codec(head: bytes) -> _Codec:
    found = (codec for codec in _WITH_MAGIC if head.startswith(codec.magic))
    return next(found, _ZLIB if head[:1] == b"x" else _LZMA)


def _unpack(job: Job, source: Readable, codec: _Codec, member: str, spool: Spool) -> bool:
    """Unpack all streams of a file; returns whether it is a file of streams at all."""
    offset = 0
    for _ in range(_MOST_STREAMS):
        before = spool.size
        try:
            end = _one(job, source, codec, offset, member, spool)
        except _FAILURES as error:
            if spool.size == before and offset:
                break  # no stream, but something else behind the last one
            if not spool.size and not codec.magic:
                return False
            why = str(error) or "it is damaged"
            job.issue(32, Verdict.MALFORMED, "damaged", member=member, offset=offset, why=why)
            return True
        if end < 0 or end == source.size:
            return True
        offset = end
        codec = _next(codec, source.read(offset, min(16, source.size - offset)))
    rest = source.size - offset
    if rest > _PIECE or source.read(offset, rest).strip(b"\0"):  # zeros are usual padding
        text = "trailing-bytes"
        job.issue(20, Verdict.NEEDS_REVIEW, text, member=member, offset=offset, count=rest)
    return True


def _next(codec: _Codec, head: bytes) -> _Codec:
    """What a further stream would be: every reader goes on with its own kind."""
    if codec in (_XZ, _LZMA):
        return _XZ if head.startswith(_XZ.magic) else _LZMA
    return codec


def _one(job: Job, source: Readable, codec: _Codec, offset: int, member: str, spool: Spool) -> int:
    """Unpack one stream; returns where it ends, or -1 where unpacking was given up."""
    unpacker = codec.make()
    start = offset
    data = b""
    while not unpacker.eof:
        if not data and getattr(unpacker, "needs_input", True):
            length = min(_PIECE, source.size - offset)
            if not length:
                raise EOFError("it is cut short")
            data, offset = source.read(offset, length), offset + length
        piece, data = unpacker.decompress(data, _PIECE), b""
        if not piece:
            continue
        spool.write(piece)
        if not job.may_unpack(len(piece), member):
            return -1
        if spool.size > _FREE and spool.size > _MOST_RATIO * max(offset - start, 1):
            text = "ratio"
            job.issue(33, Verdict.MALFORMED, text, member=member, ratio=_MOST_RATIO)
            return -1
    return offset - len(unpacker.unused_data)
