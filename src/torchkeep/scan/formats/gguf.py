"""GGUF: facts by name, a table of tensors, then their data; a chat template is among the facts."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, Final, NamedTuple

from torchkeep.core.source import Readable
from torchkeep.scan.formats import configs
from torchkeep.scan.formats.legacy import refuse
from torchkeep.scan.job import Job
from torchkeep.scan.verdict import Verdict

_MOST: Final = 1_000_000  # facts, and tensors
_MOST_ITEMS: Final = 50_000_000
_DEEPEST: Final = 4  # arrays in arrays
_KEPT: Final = 1 << 20  # bytes of a text that are looked at
_CHUNK: Final = 1 << 18
_MOST_DIMENSIONS: Final = 4  # the format's own limit
_MOST_ALIGNMENT: Final = 1 << 16  # bytes; files have 32
_UINT32: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# Elements and bytes of a block, by type of tensor.
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36),
}  # fmt: skip


class _Wrong(Exception):
    """The file is none that a loader should open."""


class _Tensor(NamedTuple):
    """An entry of the table.

    Attributes:
        name: Its name.
        kind: The number of its type.
        offset: Where its data starts, counted from where all data starts.
        size: Bytes of its data; None where the type is newer than the table of types.
    """

    name: str
    kind: int
    offset: int
    size: int | None


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Check lengths and places against the file, and the chat templates."""
    reader = _Reader(source)
    try:
        _check(job, reader, member)
    except _Wrong as error:
        refuse(job, member, reader.offset, str(error))


def _check(job: Job, reader: _Reader, member: str) -> None:
    reader.take(4)
    version = reader.number(4)
    if version > 0xFFFF:
        reader.order = "big"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if not 1 <= version <= 3:
        raise _Wrong(f"version {version} does not exist")
    reader.wide = 4 if version == 1 else 8
    tensors, facts = reader.count(), reader.count()
    alignment = 32
    for key, kind, value in _facts(reader, facts):
        if key == "general.alignment":
            alignment = value if kind == _UINT32 else 0
        if "chat_template" in key and isinstance(value, str):
            configs.template(job, value, member)
    if not 0 < alignment <= _MOST_ALIGNMENT or alignment & (alignment - 1):
        raise _Wrong("its alignment is none")
    table = [_tensor(reader) for _ in range(tensors)]
    if len({tensor.name for tensor in table}) < len(table):
        raise _Wrong("two tensors have the same name")
    start = _padded(reader.offset, alignment)
    _places(job, table, alignment, start, reader.source.size, member)


def _places(
    job: Job, table: list[_Tensor], alignment: int, start: int, size: int, member: str
) -> None:
    """Tensors lie one behind the other, each at a multiple of the alignment, to the end."""
    end = 0
    for tensor in sorted(table, key=lambda tensor: (tensor.offset, tensor.size or 0)):
        if tensor.size is None:
            text, kind = "gguf-type", tensor.kind
            job.issue(61, Verdict.NOT_SCANNED, text, member=member, name=tensor.name, kind=kind)
            return  # where it ends, and what lies behind it, is not known
        if tensor.offset != end:
            raise _Wrong(f"{tensor.name:.80} is not where the tensor before it ends")
        end = _padded(tensor.offset + tensor.size, alignment)
        if start + tensor.offset + tensor.size > size:
            raise _Wrong(f"{tensor.name:.80} runs past its end")
    if start + end < size:
        text, at = "trailing-bytes", start + end
        job.issue(20, Verdict.NEEDS_REVIEW, text, member=member, offset=at, count=size - at)


def _padded(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _facts(reader: _Reader, count: int) -> Iterator[tuple[str, int, Any]]:
    """Names of the facts, their types, and what they are."""
    seen = set()
    for _ in range(count):
        key = reader.text()
        if key in seen:
            raise _Wrong(f"{key:.80} is there twice")
        seen.add(key)
        kind = reader.number(4)
        yield key, kind, _value(reader, kind)


def _value(reader: _Reader, kind: int, depth: int = 0) -> Any:
    """A fact; None for an array, which is passed by."""
    if kind == _STRING:
        return reader.text()
    if kind in _SIZES:
        return reader.number(_SIZES[kind])
    if kind != _ARRAY or depth > _DEEPEST:
        raise _Wrong(f"type {kind} does not exist")
    inner, count = reader.number(4), reader.number(reader.wide)
    if inner in _SIZES:
        reader.skip(_SIZES[inner] * count)
    elif count > _MOST_ITEMS or (count and reader.offset + count > reader.source.size):
        raise _Wrong("an array is longer than the file")
    else:
        for _ in range(count):
            if inner == _STRING:
                reader.skip(reader.number(reader.wide))
            else:
                _value(reader, inner, depth + 1)
    return None


def _tensor(reader: _Reader) -> _Tensor:
    name = reader.text()
    dimensions = reader.number(4)
    if dimensions > _MOST_DIMENSIONS:
        raise _Wrong(f"{name:.80} has {dimensions} dimensions")
    shape = [reader.number(reader.wide) for _ in range(dimensions)]
    kind, offset = reader.number(4), reader.number(8)
    if kind not in _BLOCKS:
        return _Tensor(name, kind, offset, None)
    block, size = _BLOCKS[kind]
    if (shape[0] if shape else 1) % block:
        raise _Wrong(f"{name:.80} has a shape that its type cannot have")
    return _Tensor(name, kind, offset, prod(shape) // block * size)


class _Reader:
    """Reads the file from its start on, a piece at a time."""

    def __init__(self, source: Readable) -> None:
        self.source = source
        self.order = "little"
        self.wide = 8
        self._base = self._at = 0
        self._buffer = b""

    @property
    def offset(self) -> int:
        """Offset of the next byte."""
        return self._base + self._at

    def take(self, length: int) -> bytes:
        """The next bytes."""
        if self._at + length > len(self._buffer):
            if self.offset + length > self.source.size:
                raise _Wrong("it is cut short")
            self._base, self._at = self.offset, 0
            wanted = min(max(length, _CHUNK), self.source.size - self._base)
            self._buffer = self.source.read(self._base, wanted)
        self._at += length
        return self._buffer[self._at - length : self._at]

    def number(self, width: int) -> int:
        """The next bytes, as a number without a sign."""
        data = self.take(width)
        return int.from_bytes(data, "little" if self.order == "little" else "big")

    def count(self) -> int:
        """A number of things that follow."""
        value = self.number(self.wide)
        if value > _MOST:
            raise _Wrong(f"it claims {value} entries")
        return value

    def skip(self, length: int) -> None:
        """Pass by bytes."""
        if self.offset + length > self.source.size:
            raise _Wrong("a text or an array runs past its end")
        if self._at + length <= len(self._buffer):
            self._at += length
        else:
            self._base, self._at, self._buffer = self.offset + length, 0, b""

    def text(self) -> str:
        """A text; one that is too long to look at is refused."""
        length = self.number(self.wide)
        if length > _KEPT:
            raise _Wrong("a text is longer than any needs")
        return self.take(length).decode("utf-8", "replace")
