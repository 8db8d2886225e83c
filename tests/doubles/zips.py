"""Zip archives, written field by field, so that a test can make any of them lie.

The payload names a callable that would run a command. No test ever unpickles it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field, replace

PAYLOAD = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
PLAIN = b"\x80\x02}."  # an empty dict


@dataclass(frozen=True)
class Record:
    """One member; what is None is told truthfully."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    crc: int | None = None
    packed: int | None = None
    size: int | None = None
    extra: bytes = b""
    local: dict = field(default_factory=dict)  # what its own header says instead
    streamed: bool = False  # sizes follow the data
    offset: int | None = None
    listed: bool = True
    before: bytes = b""  # bytes that belong to no member

    @property
    def content(self) -> bytes:
        if self.method == 8:
            tool = zlib.compressobj(wbits=-15)
            return tool.compress(self.data) + tool.flush()
        return self.data

    def fields(self) -> tuple[int, int, int]:
        content = self.content
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        packed = len(content) if self.packed is None else self.packed
        return crc, packed, len(self.data) if self.size is None else self.size


def header(record: Record) -> bytes:
    crc, packed, size = record.fields()
    said = {"name": record.name, "flags": record.flags, "method": record.method}
    said |= {"crc": crc, "packed": packed, "size": size, "extra": record.extra}
    if record.streamed:
        said |= {"crc": 0, "packed": 0, "size": 0, "flags": record.flags | 8}
    said |= record.local
    fixed = (20, said["flags"], said["method"], 0, 0, said["crc"], said["packed"], said["size"])
    lengths = (len(said["name"]), len(said["extra"]))
    return struct.pack("<4s5H3L2H", b"PK\3\4", *fixed, *lengths) + said["name"] + said["extra"]


def entry(record: Record, offset: int) -> bytes:
    crc, packed, size = record.fields()
    flags = record.flags | (8 if record.streamed else 0)
    fixed = (20, 20, flags, record.method, 0, 0, crc, packed, size, len(record.name))
    rest = (len(record.extra), 0, 0, 0, 0, offset if record.offset is None else record.offset)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *fixed, *rest) + record.name + record.extra


def end(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    return (
        struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, offset, len(comment)) + comment
    )


def archive(*records: Record, comment: bytes = b"", **said: int) -> bytes:
    """An archive; ``said`` changes count, size and offset of the end record."""
    out, listing = b"", b""
    for record in records:
        out += record.before
        if record.listed:
            listing += entry(record, len(out))
        out += header(record) + record.content
        if record.streamed:
            out += struct.pack("<4s3L", b"PK\7\x08", *record.fields())
    count = sum(record.listed for record in records)
    fields = {"count": count, "size": len(listing), "offset": len(out)} | said
    return out + listing + end(comment=comment, **fields)


def torch_like(data: bytes, **changes) -> list[Record]:
    """The records of a file of ``torch.save`` without tensors."""
    return [
        replace(Record(b"archive/data.pkl", data), **changes),
        Record(b"archive/byteorder", b"little"),
        Record(b"archive/version", b"3\n"),
    ]
