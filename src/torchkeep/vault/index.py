"""The index: what is in a sealed file and where. It is encrypted, as names tell a lot."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from torchkeep.core import safetensors
from torchkeep.core.safetensors import Slot
from torchkeep.vault import canonical
from torchkeep.vault.canonical import Fields, from_hex
from torchkeep.vault.schedule import LENGTH
from torchkeep.vault.suite import TAG

MOST_PARTS: Final = 100_000
"""Parts of a file."""

_LONGEST_PATH: Final = 4096
_MOST_BYTES: Final = (1 << 53) - 1
_MOST_METADATA: Final = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """What is encrypted under one key.

    Attributes:
        ordinal: Its number through all parts.
        offset: Bytes of data before it, as they stand in the file.
        length: Bytes that it has in clear.
        descriptor: What its key is bound to.
    """

    ordinal: int
    offset: int
    length: int
    descriptor: list[object]


class Part(ABC):
    """One file, one set of tensors or one table of records.

    Attributes:
        path: What to call it, relative and with ``/``.
        kind: As the index spells it.
        length: Items that it has.
    """

    kind: str
    path: str

    @abstractmethod
    def __len__(self) -> int:
        """Items that it has."""

    @abstractmethod
    def descriptor(self, number: int) -> list[object]:
        """What the key of an item is bound to."""

    @abstractmethod
    def size(self, number: int) -> int:
        """Bytes of an item in clear."""

    @abstractmethod
    def table(self) -> bytes:
        """What the index holds of its items."""

    def to_json(self) -> dict[str, Any]:
        """What the index says about it."""
        return {"kind": self.kind, "path": self.path, "table": len(self.table())}

    def offsets(self, chunk: int) -> list[int] | array[int]:
        """Bytes of its data before each item as they stand in the file, and of all of it."""
        sizes = (sealed(self.size(number), chunk) for number in range(len(self)))
        return array("Q", accumulate(sizes, initial=0))


class Tensors(Part):
    """A safetensors file, tensor by tensor.

    Args:
        path: Its name.
        header: Its header without the length before it.

    Attributes:
        header: The same.
        slots: Its tensors, in the order of their data.

    Raises:
        ValueError: The header is not well-formed.
    """

    kind = "tensors"

    def __init__(self, path: str, header: bytes) -> None:
        self.path = path
        self.header = header
        self.slots: list[Slot] = safetensors.slots(header)
        self._names: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.slots)

    def number(self, name: str) -> int | None:
        """The number of a tensor by its name; None where there is none of that name."""
        if self._names is None:
            self._names = {slot.name: number for number, slot in enumerate(self.slots)}
        return self._names.get(name)

    def descriptor(self, number: int) -> list[object]:
        """A tensor with its path, name, dtype, shape and length."""
        slot = self.slots[number]
        length = slot.end - slot.begin
        return ["tensor", self.path, slot.name, slot.dtype, list(slot.shape), length]

    def size(self, number: int) -> int:
        """Bytes of a tensor."""
        return self.slots[number].end - self.slots[number].begin

    def table(self) -> bytes:
        """The header."""
        return self.header


class File(Part):
    """A file that is one item."""

    kind = "file"

    def __init__(self, path: str, length: int) -> None:
        self.path = path
        self._length = length

    def __len__(self) -> int:
        return 1

    def descriptor(self, number: int) -> list[object]:
        """A file with its path: its length is not known when it is written from a stream."""
        return ["file", self.path]

    def size(self, number: int) -> int:
        """Bytes of the file."""
        return self._length

    def table(self) -> bytes:
        """None."""
        return b""

    def to_json(self) -> dict[str, Any]:
        """With its length."""
        return super().to_json() | {"bytes": self._length}


class Records(Part):
    """Records that are read one by one, as a data set is."""

    kind = "records"

    def __init__(self, path: str, lengths: array[int]) -> None:
        self.path = path
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._lengths)

    def descriptor(self, number: int) -> list[object]:
        """A record with its number in the part."""
        return ["record", self.path, number, self._lengths[number]]

    def size(self, number: int) -> int:
        """Bytes of a record."""
        return self._lengths[number]

    def table(self) -> bytes:
        """A u64 for each length."""
        if sys.byteorder == "little":
            return self._lengths.tobytes()
        swapped = self._lengths[:]
        swapped.byteswap()
        return swapped.tobytes()


@dataclass(frozen=True)
class Index:
    """Everything in a file.

    Attributes:
        parts: Its parts, in order.
        metadata: Text by name, of whoever sealed it.
        content: Content digest of all its tensors, in hex; None where it has none.
    """

    parts: tuple[Part, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    content: str | None = None

    def encode(self) -> bytes:
        """The plaintext of the section."""
        body = canonical.encode(
            {
                "content": self.content,
                "metadata": dict(self.metadata),
                "parts": [part.to_json() for part in self.parts],
            }
        )
        tables = b"".join(part.table() for part in self.parts)
        return len(body).to_bytes(4, "little") + body + tables


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the items of one part lie.

    Attributes:
        part: The part.
        first: Ordinal of its first item.
        base: Bytes of data before it.
        offsets: Bytes of its data before each item, and of all of it.
    """

    part: Part
    first: int
    base: int
    offsets: list[int] | array[int]

    def item(self, number: int) -> Item:
        """One of its items, by its number in the part."""
        return Item(
            self.first + number,
            self.base + self.offsets[number],
            self.part.size(number),
            self.part.descriptor(number),
        )


def layouts(index: Index, chunk: int) -> list[Layout]:
    """Where all parts lie."""
    out: list[Layout] = []
    first = base = 0
    for part in index.parts:
        offsets = part.offsets(chunk)
        out.append(Layout(part, first, base, offsets))
        first, base = first + len(part), base + offsets[-1]
    return out


def sealed(length: int, chunk: int) -> int:
    """Bytes that an item takes in the file."""
    return length + TAG * count(length, chunk)


def count(length: int, chunk: int) -> int:
    """Chunks of an item; an empty one has one."""
    return max(1, -(-length // chunk))


def is_path(path: object) -> bool:
    """Whether a path stays below the folder that it is unpacked to, on every system."""
    return (
        isinstance(path, str)
        and 0 < len(path) <= _LONGEST_PATH
        and not {"", ".", ".."} & set(path.split("/"))
        and not {"\0", "\\", ":"} & set(path)
    )


def metadata_of(value: object) -> dict[str, str]:
    """Metadata.

    Raises:
        ValueError: They are not text by name, or too many.
    """
    if (
        not isinstance(value, dict)
        or len(value) > _MOST_METADATA
        or not all(isinstance(text, str) for text in value.values())
    ):
        raise ValueError("metadata is not text by name")
    return value


def decode(data: bytes) -> Index:
    """Read the plaintext of the section.

    Raises:
        ValueError: It is none.
    """
    start = 4 + int.from_bytes(data[:4], "little")
    fields = Fields(canonical.decode(data[4:start]))
    content = fields.take("content")
    metadata = metadata_of(fields.take("metadata"))
    said = fields.items("parts", MOST_PARTS, Fields)
    fields.done()
    parts = []
    for one in said:
        length = one.number("table", 0, len(data) - start)
        parts.append(_part(one, data[start : start + length]))
        start += length
    if start != len(data):
        raise ValueError("something follows the last table")
    if len({part.path for part in parts}) != len(parts):
        raise ValueError("two parts have the same path")
    if content is not None:
        from_hex(content, LENGTH)
    return Index(tuple(parts), metadata, content)


def _part(fields: Fields, table: bytes) -> Part:
    kind, path = fields.take("kind"), fields.take("path")
    if not is_path(path):
        raise ValueError("the path of a part leads elsewhere")
    if kind == "tensors":
        part: Part = Tensors(path, table)
    elif kind == "file" and not table:
        part = File(path, fields.number("bytes", 0, _MOST_BYTES))
    elif kind == "records" and len(table) % 8 == 0:
        part = Records(path, _lengths(table))
    else:
        raise ValueError("a part is of no known kind")
    fields.done()
    return part


def _lengths(table: bytes) -> array[int]:
    lengths = array("Q", table)
    if sys.byteorder != "little":
        lengths.byteswap()
    if sum(lengths) > _MOST_BYTES:
        raise ValueError("its records are larger than any file")
    return lengths
