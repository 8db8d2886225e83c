"""The directory at the end of a zip archive, in each way that a reader may find it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from torchkeep.core.source import Readable

_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_END_MAGIC: Final = b"PK\x05\x06"
_TAIL: Final = _END.size + 0xFFFF
_LONGEST: Final = 1 << 26  # bytes of a directory that is read: some 700,000 members
NAME_FIELD: Final = b"up"  # 0x7075: the name in UTF-8
SHORT: Final = 0xFFFF
LONG: Final = 0xFFFFFFFF


class Entry(NamedTuple):
    """A member as the directory has it (archives have many: a tuple is the fastest to make).

    Attributes:
        name: Its name, as bytes.
        flags: Bit 0: encrypted; bit 3: sizes follow the data; bit 11: the name is UTF-8.
        method: How it is compressed; 0 where it is not.
        crc: CRC-32 of its data.
        packed: Bytes that it takes in the archive.
        size: Bytes that it has.
        offset: Where its own header is, in the file.
        other_name: The name that an extra field gives; None where there is none.
        whole: Whether its extra fields could be read to their end.
    """

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    other_name: bytes | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Directory:
    """One reading of the directory.

    Attributes:
        entries: The members, in its order.
        start: Offset of its first byte.
        end: Offset after its last one.
        shift: What was added to the offsets that the file gives.
        whole: Whether it holds as many entries as it says and nothing else.
    """

    entries: tuple[Entry, ...]
    start: int
    end: int
    shift: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """What stands behind the directory, and the readings of it.

    Attributes:
        directories: Every reading; the first is the one that :mod:`zipfile` takes, the second,
            where offsets are wrong, that of torch.
        start: Offset of the first end record that belongs to it.
        end: Offset after the comment.
        agree: Whether there is but one reading.
        comment: The comment.
    """

    directories: tuple[Directory, ...]
    start: int
    end: int
    agree: bool
    comment: bytes


@dataclass(frozen=True, slots=True)
class _Claim:
    """Where an end record says that the directory is."""

    count: int
    size: int
    offset: int


def end_records(source: Readable) -> list[int]:
    """Offsets of what may be end records, the one that readers take first."""
    if last_end(source) is not None:
        return [source.size - _END.size]
    return _search(source)


def last_end(source: Readable, end: int | None = None) -> int | None:
    """Offset of an end record without a comment right before ``end``; None where there is none.

    Whatever looks like one before it lies in the archive, or the archive has a gap there.
    """
    at = (source.size if end is None else end) - _END.size
    if at < 0:
        return None
    raw = source.read(at, _END.size)
    return at if raw[:4] == _END_MAGIC and raw[-2:] == b"\0\0" else None


def _search(source: Readable) -> list[int]:
    length = min(_TAIL, source.size)
    tail = source.read(source.size - length, length)
    found, at = [], len(tail) - _END.size
    while (at := tail.rfind(_END_MAGIC, 0, max(at + len(_END_MAGIC), 0))) >= 0:
        found.append(source.size - length + at)
        at -= 1
    return found


def shift_of(source: Readable, end: int) -> int | None:
    """How far before its directory's own count the archive that ends at ``end`` starts.

    None where no archive ends there; its end records are believed.
    """
    at = last_end(source, end)
    if at is None:
        return None
    length = min(at, _LOCATOR.size + _END64.size)
    raw = source.read(at - length, length + _END.size)
    _, _, _, _, _, size, start, _ = _END.unpack(raw[length:])
    records: int = at
    if raw[:4] == b"PK\x06\x06" and raw[_END64.size : _END64.size + 4] == b"PK\x06\x07":
        size, start = struct.unpack_from("<2Q", raw, 40)
        records = at - length
    return records - int(size) - int(start)


def other_records(source: Readable, known: int) -> list[int]:
    """Offsets of what may be end records before the one at ``known``."""
    return [at for at in _search(source) if at != known]


def has_end_record(data: bytes) -> bool:
    """Whether an end record may start in ``data``."""
    return _END_MAGIC in data


def ending(source: Readable, offset: int) -> Ending:
    """What the end record at ``offset`` leads to."""
    fields = _END.unpack(source.read(offset, _END.size))
    _, disk, first_disk, here, count, size, start, comment = fields
    short = _Claim(count, size, start)
    claims, records, agree = _long(source, offset)
    agree = agree and disk in (0, SHORT) and first_disk in (0, SHORT) and here == count
    if not claims:
        claims = [short]
    elif not all(_same(short, claim) for claim in claims):
        claims.append(short)
        agree = False
    readings: dict[tuple[int, int, int, int], Directory] = {}
    for claim in claims:
        beside = records - claim.size
        for place, shift in ((beside, beside - claim.offset), (claim.offset, 0)):
            key = (place, shift, claim.size, claim.count)
            if key not in readings and 0 <= place <= source.size:
                readings[key] = _directory(source, claim, place, shift)
    end = min(offset + _END.size + comment, source.size)
    text = source.read(offset + _END.size, end - offset - _END.size)
    agree = agree and len(readings) == 1 and end == offset + _END.size + comment
    return Ending(tuple(readings.values()), records, end, agree, text)


def _same(short: _Claim, long: _Claim) -> bool:
    """Whether the short record says the same, or that the long one knows."""
    return (
        short.count in (min(long.count, SHORT), SHORT)
        and short.size in (min(long.size, LONG), LONG)
        and short.offset in (min(long.offset, LONG), LONG)
    )


def _long(source: Readable, offset: int) -> tuple[list[_Claim], int, bool]:
    """What the records for large archives say, where they start, and whether they are sound."""
    at = offset - _LOCATOR.size
    if at < 0:
        return [], offset, True
    magic, disk, place, disks = _LOCATOR.unpack(source.read(at, _LOCATOR.size))
    if magic != b"PK\x06\x07":
        return [], offset, True
    beside = at - _END64.size
    claims, sound = [], place == beside and disk == 0 and disks in (0, 1)
    for position in dict.fromkeys((beside, place)):
        if not 0 <= position <= source.size - _END64.size:
            continue
        fields = _END64.unpack(source.read(position, _END64.size))
        if fields[0] == b"PK\x06\x06":
            _, length, _, _, disk, first, here, count, size, start = fields
            sound = sound and length == _END64.size - 12 and not disk and not first
            sound = sound and here == count
            claims.append(_Claim(count, size, start))
    start = beside if claims else at
    return claims, start, sound and len(claims) == 1


def _directory(source: Readable, claim: _Claim, place: int, shift: int) -> Directory:
    size = min(claim.size, source.size - place, _LONGEST)
    data = source.read(place, size) if size > 0 else b""
    entries: list[Entry] = []
    at = 0
    while data[at : at + 4] == b"PK\x01\x02":
        if at + _ENTRY.size > len(data):
            break
        entry, at = _entry(data, at, shift)
        entries.append(entry)
    whole = at == claim.size and len(entries) == claim.count
    return Directory(tuple(entries), place, place + at, shift, whole)


def _entry(data: bytes, at: int, shift: int) -> tuple[Entry, int]:
    fields = _ENTRY.unpack_from(data, at)
    flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    name_length, extra_length, comment_length, disk, offset = *fields[10:14], fields[16]
    at += _ENTRY.size
    name = data[at : at + name_length]
    extra = data[at + name_length : at + name_length + extra_length]
    end = at + name_length + extra_length + comment_length
    whole, other = end <= len(data) and disk in (0, SHORT), None
    if extra and (LONG in (size, packed, offset) or NAME_FIELD in extra):
        wide = [(size, LONG), (packed, LONG), (offset, LONG)]
        (size, packed, offset), other, sound = widened(extra, wide)
        whole = whole and sound
    elif LONG in (size, packed, offset):
        whole = False
    entry = Entry(name, flags, method, crc, packed, size, offset + shift, other, whole)
    return entry, end


def widened(extra: bytes, values: list[tuple[int, int]]) -> tuple[list[int], bytes | None, bool]:
    """Put numbers of 64 bits from the extra fields in the place of those that say so.

    Args:
        extra: The extra fields.
        values: Each number, and the one that stands for "look there".

    Returns:
        The numbers, the name that a field gives, and whether the fields are sound.
    """
    out = [value for value, _ in values]
    wanted = [index for index, (value, mark) in enumerate(values) if value == mark]
    other, sound, at, seen = None, True, 0, False
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        sound = sound and len(body) == length
        if kind == 1 and wanted:
            sound = sound and not seen and len(body) >= 8 * len(wanted)
            numbers = struct.unpack_from(f"<{min(len(wanted), len(body) // 8)}Q", body)
            for index, number in zip(wanted, numbers, strict=False):
                out[index] = number if not seen else out[index]
            seen = True
        elif kind == 0x7075 and len(body) > 5:
            other = body[5:]
    return out, other, sound and (seen or not wanted)
