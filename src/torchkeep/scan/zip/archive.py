"""Every member that some reader of an archive can reach, and where readers do not agree."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

from torchkeep.core.source import Readable
from torchkeep.scan.zip.directory import (
    Directory,
    Ending,
    Entry,
    end_records,
    ending,
    has_end_record,
    other_records,
)
from torchkeep.scan.zip.local import (
    ENCRYPTED,
    STREAMED,
    Local,
    Window,
    descriptor,
    differences,
    local,
)
from torchkeep.scan.zip.walk import walk

_UTF8: Final = 0x800
_MOST_ENDS: Final = 64  # end records that are looked at


class Member(NamedTuple):
    """One reading of a member.

    Attributes:
        name: Its name.
        data: Offset of its first byte in the file.
        packed: Bytes that it takes there.
        size: Bytes that it has.
        method: How it is compressed; 0 where it is not.
        crc: CRC-32 of its data; None where the archive has none.
        encrypted: Whether a header says so.
        listed: Whether the directory that readers take lists it just so.
    """

    name: str
    data: int
    packed: int
    size: int
    method: int
    crc: int | None
    encrypted: bool = False
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in which readers of the archive may differ.

    Attributes:
        text: Entry of the catalogue below ``scan.``.
        name: The member; empty for the archive itself.
        offset: Where it is in the file.
        about: What differs.
    """

    text: str
    name: str = ""
    offset: int | None = None
    about: str = ""


@dataclass(slots=True)
class Archive:
    """What readers see.

    Attributes:
        members: Every reading of every member.
        hidden: Offset and length of stretches that no member accounts for.
        problems: Where readers do not agree.
    """

    members: list[Member] = field(default_factory=list)
    hidden: list[tuple[int, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def note(self, text: str, name: str = "", offset: int | None = None, about: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(text, name, offset, about))


def read(source: Readable) -> Archive:
    """The archive in ``source``. Data of members is not read."""
    archive = Archive()
    records = end_records(source)
    if not records:
        archive.note("zip-no-end")
        _stream(archive, source, 0, source.size)
        return archive
    last = ending(source, records[0])
    first = last.directories[0] if last.directories else Directory((), 0, 0, 0, False)
    window = Window(source, len(first.entries))
    _follow(archive, window, first)
    _close(archive, source, last, first)
    for start, length in archive.hidden:
        _stream(archive, source, start, length)
    known = set(archive.members)
    others = other_records(source, records[0]) if archive.problems else []
    for directory in _others(archive, source, last, others):
        for entry in directory.entries:
            archive.members += [
                member for member in _readings(archive, window, entry) if member not in known
            ]
    if not any(member.crc for member in archive.members):
        # torch.serialization.set_crc32_options(False): none was computed.
        archive.members = [member._replace(crc=None) for member in archive.members]
    return archive


def _follow(archive: Archive, window: Window, directory: Directory) -> None:
    """Walk from header to header, and see that each byte belongs to one member."""
    entries = sorted(directory.entries, key=lambda entry: entry.offset)
    starts = [*(entry.offset for entry in entries[1:]), directory.start]
    position, names = 0, set[bytes]()
    for entry, following in zip(entries, starts, strict=False):
        if entry.offset != position:
            _step(archive, position, entry.offset)
        if entry.name in names:
            archive.note("zip-duplicate", named(entry), entry.offset)
        names.add(entry.name)
        found = _local(window, entry)
        if found is None:
            archive.note("zip-no-header", named(entry), entry.offset)
            continue
        archive.members += _both(archive, entry, found)
        end: int | None = found.data + entry.packed
        if (entry.flags | found.flags) & STREAMED:
            end = descriptor(window, entry, found.data + entry.packed, following)
            if end is None:
                archive.note("zip-descriptor", named(entry), found.data + entry.packed)
                end = following
        position = max(position, end or 0)
    if position != directory.start:
        _step(archive, position, directory.start)


def _step(archive: Archive, position: int, start: int) -> None:
    if start > position:
        archive.note("zip-gap" if position else "zip-prefix", "", position, f"{start - position}")
        archive.hidden.append((position, start - position))
    else:
        archive.note("zip-overlap", "", start)


def _close(archive: Archive, source: Readable, last: Ending, first: Directory) -> None:
    """What stands behind the directory that readers take."""
    if not last.agree:
        archive.note("zip-two-readings", "", last.start)
    elif not first.whole or first.end != last.start:
        archive.note("zip-directory", "", first.start)
    if last.end != source.size or has_end_record(last.comment):
        archive.note("zip-trailing", "", last.end)
        archive.hidden.append((last.end, source.size - last.end))
    if first.end < last.start:
        archive.hidden.append((first.end, last.start - first.end))


def _others(
    archive: Archive, source: Readable, last: Ending, records: list[int]
) -> Iterator[Directory]:
    yield from last.directories[1:]
    if not records:
        return
    loose = _outside(archive.members, records[:_MOST_ENDS])
    if loose:
        archive.note("zip-two-ends", "", loose[0])
    for at in loose[:4]:
        yield from ending(source, at).directories


def _outside(members: list[Member], places: list[int]) -> list[int]:
    """Those of ``places`` that lie in no member."""
    spans = sorted((member.data, member.data + member.packed) for member in members)
    starts = [start for start, _ in spans]
    ends = list(accumulate((end for _, end in spans), max))
    return [at for at in places if not (n := bisect_right(starts, at)) or ends[n - 1] <= at]


def _readings(archive: Archive, window: Window, entry: Entry) -> list[Member]:
    found = _local(window, entry)
    return _both(archive, entry, found) if found else []


def _local(window: Window, entry: Entry) -> Local | None:
    return local(window, entry.offset) if entry.offset >= 0 else None


def _both(archive: Archive, entry: Entry, found: Local) -> list[Member]:
    """A member as the directory has it, and as its own header does where that differs."""
    name = named(entry)
    encrypted = bool((entry.flags | found.flags) & ENCRYPTED)
    out = [Member(name, found.data, entry.packed, entry.size, entry.method, entry.crc, encrypted)]
    _check_name(archive, entry, found, name)
    if differs := differences(entry, found):
        archive.note("zip-differs", name, entry.offset, ", ".join(differs))
        packed = found.packed or entry.packed
        size = found.size or (packed if not found.method else entry.size)
        own = found.name.decode("utf-8", "replace")
        crc = found.crc or entry.crc
        out.append(Member(own, found.data, packed, size, found.method, crc, encrypted, False))
    return out


def _check_name(archive: Archive, entry: Entry, found: Local, name: str) -> None:
    other = entry.other_name if entry.other_name is not None else found.other_name
    named_twice = other is not None and other != entry.name
    if named_twice or not name or "\0" in name or "\ufffd" in name:
        archive.note("zip-name", name, entry.offset)


def named(entry: Entry) -> str:
    """The name of a member, as a reader shows it."""
    if entry.flags & _UTF8:
        return entry.name.decode("utf-8", "replace")
    try:  # torch takes the bytes as they stand, and they are mostly UTF-8
        return entry.name.decode("utf-8")
    except UnicodeDecodeError:
        return entry.name.decode("cp437")


def _stream(archive: Archive, source: Readable, start: int, length: int) -> None:
    for found, packed in walk(source, start, start + length):
        name = found.name.decode("utf-8", "replace")
        size = found.size or (packed if not found.method else 0)
        crc = found.crc or None
        encrypted = bool(found.flags & ENCRYPTED)
        archive.members.append(
            Member(name, found.data, packed, size, found.method, crc, encrypted, False)
        )
