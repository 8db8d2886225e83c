"""The data of a member, unpacked where it is packed."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.part import Held, Part
from torchkeep.scan.spool import Spool
from torchkeep.scan.zip.archive import Member

STORED: Final = 0
METHODS: Final = frozenset({STORED, 8, 12, 14})
"""Methods of compression that are unpacked: deflate, bzip2 and lzma."""

_CHUNK: Final = 1 << 20
_CHECKED: Final = 1 << 26  # bytes of the largest stored member whose checksum is looked at


@contextmanager
def opened(source: Readable, member: Member, complain: Callable[[str], None]) -> Iterator[Readable]:
    """The data of a member; as much of it as there is where it is damaged.

    Args:
        source: The archive.
        member: One whose method is in :data:`METHODS`.
        complain: Told of what is wrong with it: an entry of the catalogue below ``scan.``.
    """
    part = Part(source, member.data, member.packed)
    if part.size < member.packed:
        complain("zip-cut")
    if member.method == STORED:
        yield _stored(part, member, complain)
        return
    with Spool() as spool:
        crc = 0
        for piece in _unpacked(part, member, complain):
            spool.write(piece)
            crc = zlib.crc32(piece, crc)
        if spool.size == member.size and member.crc is not None and crc != member.crc:
            complain("zip-checksum")
        yield spool


def _stored(part: Part, member: Member, complain: Callable[[str], None]) -> Readable:
    if member.size != member.packed:
        complain("zip-size")
    if part.size > _CHECKED:
        return part
    out: Readable = part
    crc = 0
    if part.size <= _CHUNK:
        data = part.read(0, part.size)
        crc, out = zlib.crc32(data), Held(data)
    else:
        for start in range(0, part.size, _CHUNK):
            crc = zlib.crc32(part.read(start, min(_CHUNK, part.size - start)), crc)
    if member.crc is not None and crc != member.crc and part.size == member.packed:
        complain("zip-checksum")
    return out


def _unpacked(part: Part, member: Member, complain: Callable[[str], None]) -> Iterator[bytes]:
    """Pieces of a packed member, never more than it says that it has."""
    try:
        tool, position = _tool(part, member)
    except (ValueError, struct.error, lzma.LZMAError):
        complain("zip-broken")
        return
    left, data = member.size, b""
    try:
        while not tool.eof:
            if not data and getattr(tool, "needs_input", True):
                data = part.read(position, min(_CHUNK, part.size - position))
                position += len(data)
            dry = not data
            piece, data = _step(tool, data)
            if dry and not piece:
                break
            if len(piece) > left:
                yield piece[:left]
                complain("zip-size")
                return
            left -= len(piece)
            yield piece
    except (zlib.error, OSError, EOFError, lzma.LZMAError):
        complain("zip-broken")
        return
    rest = len(data) + len(tool.unused_data) + part.size - position
    if left or (rest and tool.eof):
        complain("zip-size")
    # A stream of lzma need not say where it ends.
    elif not tool.eof and member.method != 14:
        complain("zip-broken")


def _step(tool: Any, data: bytes) -> tuple[bytes, bytes]:
    """One piece of output, and the input that is still to come."""
    piece = tool.decompress(data, _CHUNK)
    return piece, getattr(tool, "unconsumed_tail", b"")


def _tool(part: Part, member: Member) -> tuple[Any, int]:
    """A decompressor, and where its input starts."""
    if member.method == 8:
        return zlib.decompressobj(-15), 0
    if member.method == 12:
        return bz2.BZ2Decompressor(), 0
    head = part.read(0, min(9, part.size))
    length, lclppb, window = struct.unpack("<2xHBL", head)
    if length != 5 or lclppb >= 225:
        raise ValueError("no properties of lzma")
    rest, lc = divmod(lclppb, 9)
    pb, lp = divmod(rest, 5)
    # No more is ever looked back at than there is, whatever window the file asks memory for.
    size = min(window, max(member.size, 4096), 1 << 26)
    chain = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(size, 4096)}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain), 9
