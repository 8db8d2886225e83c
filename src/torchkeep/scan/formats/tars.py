"""Tar archives: every file in them is scanned, and names that lead out of the archive are noted.

The headers are walked here and not by :mod:`tarfile`, whose expressions take quadratic time on
some of them and which reads extended headers of any length into memory. Where tools disagree on
what an archive holds (a directory with content, two sizes), the archive is malformed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan import dispatch
from torchkeep.scan.job import Job
from torchkeep.scan.part import Part
from torchkeep.scan.verdict import Verdict

_BLOCK: Final = 512
_LONGEST_HEADER: Final = 1 << 20  # bytes of an extended header
_MOST_MEMBERS: Final = 200_000
_LARGEST: Final = 8**11  # bytes: from here on a header has no room for the size
_EMPTY: Final = frozenset(b"123456")  # links, devices, directories, pipes: none has content
_NAMES: Final = {b"L"[0]: "path", b"K"[0]: "linkpath"}  # long names as GNU tar writes them
_PAX: Final = frozenset(b"xX")


class _Damaged(Exception):
    """Tools would not agree on what the archive holds, or find that it holds nothing."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: Its path there.
        link: What it leads to, for links.
        kind: The letter of its kind.
        start: Offset of its content.
        size: Bytes of its content.
        sparse: Whether holes were left out of its content.
    """

    name: str
    link: str
    kind: int
    start: int
    size: int
    sparse: bool

    @property
    def is_file(self) -> bool:
        """Whether it has content; what no tool knows is taken for a file by all."""
        return self.kind not in _EMPTY and not (self.kind == 0 and self.name.endswith("/"))


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Scan every file in an archive."""
    from torchkeep.scan.formats import torch_tar

    members: list[Member] = []
    end = 0
    try:
        for found in walk(source):
            members.append(found)
            end = found.start + -(-found.size // _BLOCK) * _BLOCK
            if len(members) > _MOST_MEMBERS:
                raise _Damaged("it has more members than any model needs")
    except _Damaged as error:
        job.issue(32, Verdict.MALFORMED, "damaged", member=member, offset=end, why=str(error))
    _names(job, members, member)
    _rest(job, source, member, min(end, source.size))
    last = {found.name: found for found in members if found.is_file}
    is_torch = last.keys() >= torch_tar.NAMES
    for found in members:
        if is_torch and found is last.get(found.name) and found.name in torch_tar.NAMES:
            continue
        if found.is_file:
            part = Part(source, found.start, found.size)
            inside = f"{member}!{found.name}" if member else found.name
            dispatch.look(job, part, inside, depth + 1)
    if is_torch:
        parts = {name: Part(source, last[name].start, last[name].size) for name in torch_tar.NAMES}
        torch_tar.look(job, parts, member, depth)


def walk(source: Readable) -> Iterator[Member]:
    """The entries of an archive, in order."""
    offset = 0
    shared: dict[str, str] = {}
    own: dict[str, str] = {}
    while offset + _BLOCK <= source.size:
        head = source.read(offset, _BLOCK)
        if not head.strip(b"\0"):
            return
        if not _has_sum(head):
            if not offset:
                raise _Damaged("its first header is wrong")
            return  # what follows is noted as what stands behind the archive
        start, kind, size = offset + _BLOCK, head[156], _number(head[124:136])
        if kind in _NAMES or kind in _PAX or kind == b"g"[0]:
            data = _extended(source, start, size)
            if kind in _NAMES:
                own[_NAMES[kind]] = data.split(b"\0")[0].decode("utf-8", "surrogateescape")
            else:
                (shared if kind == b"g"[0] else own).update(_records(data))
            offset = start + -(-size // _BLOCK) * _BLOCK
            continue
        found = _member(head, shared | own, kind, start, size)
        if start + found.size > source.size:
            raise _Damaged(f"{found.name:.80} runs past its end")
        yield found
        own = {}
        offset = start + -(-found.size // _BLOCK) * _BLOCK


def _member(head: bytes, said: dict[str, str], kind: int, start: int, size: int) -> Member:
    name = _text(head[:100])
    prefix = _text(head[345:500])
    if head[257:263] != b"ustar\0" and not leads_out(prefix):
        prefix = (
            ""  # GNU tar keeps times there; Python takes it for a part of the name all the same
        )
    own = said.get("path", f"{prefix}/{name}" if prefix else name)
    if "size" in said:
        if not said["size"].isascii() or not said["size"].isdigit() or len(said["size"]) > 18:
            raise _Damaged(f"{own:.80} has a size that is no number")
        claimed, size = size, int(said["size"])
        if claimed != size < _LARGEST:
            raise _Damaged(f"{own:.80} has two sizes")
    sparse = kind == b"S"[0] or any(key.startswith("GNU.sparse") for key in said)
    found = Member(own, said.get("linkpath", _text(head[157:257])), kind, start, size, sparse)
    if not found.is_file and size:
        raise _Damaged(f"{own:.80} is no file and has content")
    return found


def _extended(source: Readable, start: int, size: int) -> bytes:
    if size > _LONGEST_HEADER or start + size > source.size:
        raise _Damaged("an extended header is longer than any model needs")
    return source.read(start, size)


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """Lines such as ``20 path=some/name``; the number is the length of the line."""
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not space < end <= len(data) or not equals or data[end - 1 : end] != b"\n":
            raise _Damaged("an extended header is wrong")
        yield key.decode("utf-8", "replace"), value.decode("utf-8", "surrogateescape")
        at = end


def _has_sum(head: bytes) -> bool:
    try:
        claimed = _number(head[148:156])
    except _Damaged:
        return False
    rest = head[:148] + b" " * 8 + head[156:]
    return claimed in (sum(rest), sum(byte - 256 * (byte > 127) for byte in rest))


def _number(field: bytes) -> int:
    """A number as tar writes it: octal digits, or binary where the first bit is set."""
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big")
        if field[0] == 0xFF or value >> 62:
            raise _Damaged("a header has a size that no file has")
        return value
    digits = field.split(b"\0")[0].strip(b" ")
    if digits and not all(48 <= digit < 56 for digit in digits):
        raise _Damaged("a header has a size that is no number")
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _names(job: Job, members: list[Member], member: str) -> None:
    """Note what unpacking the archive would put elsewhere than into its folder."""
    seen: set[str] = set()
    for found in members:
        link = found.link if found.kind in b"12" else ""
        if leads_out(found.name) or (link and _link_leads_out(found)):
            inside = f"{member}!{found.name}" if member else found.name
            job.issue(36, Verdict.MALFORMED, "path-outside", member=inside)
        elif found.kind in b"346" or found.sparse:
            text = "odd-member"
            job.issue(37, Verdict.NEEDS_REVIEW, text, member=member, name=found.name[:200])
        if found.is_file and posixpath.normpath(found.name) in seen:
            text = "duplicate-member"
            job.issue(38, Verdict.NEEDS_REVIEW, text, member=member, name=found.name[:200])
        seen.add(posixpath.normpath(found.name))


def leads_out(name: str) -> bool:
    """Whether a path leads out of the folder that it is relative to, on any system."""
    path = name.replace("\\", "/")
    return path.startswith("/") or path[1:2] == ":" or ".." in path.split("/")


def _link_leads_out(found: Member) -> bool:
    path = found.link.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":":
        return True
    base = posixpath.dirname(found.name) if found.kind == b"2"[0] else ""
    return posixpath.normpath(posixpath.join(base, path)).split("/")[0] == ".."


def _rest(job: Job, source: Readable, member: str, end: int) -> None:
    """Behind an archive stand zeros; anything else is read by some tools only."""
    offset = end
    while offset < source.size:
        length = min(1 << 20, source.size - offset)
        if source.read(offset, length).strip(b"\0"):
            text, rest = "trailing-bytes", source.size - end
            job.issue(20, Verdict.NEEDS_REVIEW, text, member=member, offset=end, count=rest)
            return
        offset += length
