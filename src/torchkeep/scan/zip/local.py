"""The header that stands before each member's data, and what may follow the data."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from torchkeep.core.source import Readable
from torchkeep.scan.zip.directory import LONG, NAME_FIELD, Entry, widened

_HEADER: Final = struct.Struct("<4s5H3L2H")
MAGIC: Final = b"PK\x03\x04"
ENCRYPTED: Final = 0x01
STREAMED: Final = 0x08
_HINTS: Final = 0x06  # how hard a writer tried; no reader asks
_USUAL: Final = 128  # bytes that hold nearly every header with its name and its extra fields
_NEAR: Final = 192  # bytes that hold the end of a member and the header of the next one of torch
_FAR: Final = 1 << 18
_SMALL: Final = 1 << 14  # bytes a member, below which whole stretches are read


class Local(NamedTuple):
    """A member as its own header has it.

    Attributes:
        name: Its name, as bytes.
        flags: As in the directory.
        method: How it is compressed.
        crc: CRC-32 of its data; 0 where it follows the data.
        packed: Bytes that it takes; 0 where they follow the data.
        size: Bytes that it has; 0 where they follow the data.
        data: Offset of its first byte.
        other_name: The name that an extra field gives.
        whole: Whether its extra fields could be read to their end.
    """

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    data: int
    other_name: bytes | None
    whole: bool


class Window:
    """The last bytes that were read: headers lie in a row, and one read serves several.

    Args:
        source: The file.
        members: How many members are expected in it.
    """

    def __init__(self, source: Readable, members: int) -> None:
        self._source = source
        self._ahead = _FAR if source.size < _SMALL * (members + 1) else _NEAR
        self._start = 0
        self._bytes = b""

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer at the end of the file."""
        end = min(offset + length, self._source.size)
        if offset < self._start or end > self._start + len(self._bytes):
            ahead = min(max(length, self._ahead), self._source.size - offset)
            self._bytes = self._source.read(offset, ahead) if ahead > 0 else b""
            self._start = offset
        return self._bytes[offset - self._start : end - self._start]


def local(window: Window, offset: int) -> Local | None:
    """The header at ``offset``; None where there is none."""
    raw = window.read(offset, _USUAL)
    if len(raw) < _HEADER.size or raw[:4] != MAGIC:
        return None
    fields = _HEADER.unpack_from(raw)
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = fields
    middle = _HEADER.size + name_length
    end = middle + extra_length
    if len(raw) < end and len(raw := window.read(offset, end)) < end:
        return None
    name, extra, other, whole = raw[_HEADER.size : middle], raw[middle:end], None, True
    if size == LONG or packed == LONG or NAME_FIELD in extra:
        (size, packed), other, whole = widened(extra, [(size, LONG), (packed, LONG)])
    return Local(name, flags, method, crc, packed, size, offset + end, other, whole)


def differences(entry: Entry, found: Local) -> list[str]:
    """The fields in which a member's own header contradicts the directory."""
    if entry[:6] == found[:6] and entry.whole and found.whole:  # from the name to the size
        return []
    later = found.flags & STREAMED  # then a zero says nothing
    if later and not (found.crc or found.packed or found.size):
        ours = (entry.name, entry.flags, entry.method, entry.whole, True)
        if ours == (found.name, found.flags, found.method, True, found.whole):
            return []
    fields = {
        "name": entry.name == found.name,
        "flags": (entry.flags ^ found.flags) & ~_HINTS == 0,
        "method": entry.method == found.method,
        "CRC": entry.crc == found.crc or (later and not found.crc),
        "packed size": entry.packed == found.packed or (later and not found.packed),
        "size": entry.size == found.size or (later and not found.size),
        "extra field": entry.whole and found.whole,
    }
    return [name for name, agrees in fields.items() if not agrees]


_DESCRIPTOR: Final = struct.Struct("<4s3L")
_DESCRIPTORS: Final = ("<4x3L", "<3L", "<4xL2Q", "<L2Q")


def descriptor(window: Window, entry: Entry, at: int, following: int) -> int | None:
    """Where what follows a member's data ends; None where it contradicts the directory.

    Args:
        window: The file.
        entry: The member.
        at: Offset after its data.
        following: Where the next thing in the file starts.
    """
    usual = _DESCRIPTOR.pack(b"PK\x07\x08", entry.crc, entry.packed & LONG, entry.size & LONG)
    if following - at == len(usual) and window.read(at, len(usual)) == usual:
        return following if entry.packed <= LONG and entry.size <= LONG else None
    ends = []
    for form in _DESCRIPTORS:
        length = struct.calcsize(form)
        raw = window.read(at, length)
        if len(raw) < length or ("x" in form and raw[:4] != b"PK\x07\x08"):
            continue
        if struct.unpack(form, raw) == (entry.crc, entry.packed, entry.size):
            ends.append(at + length)
            if ends[-1] == following:
                break
    return following if following in ends else ends[0] if ends else None
