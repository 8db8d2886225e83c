r"""Digests that name files and weights.

The *content* digest names weights whatever file they stand in: SHA-256 over

    ``torchkeep-content-v1\n`` and then, for every tensor in the byte order of its UTF-8 name,
    u64(len(name)) name, u64(len(dtype)) dtype, u64(rank), u64 of each dimension,
    SHA-256 of the tensor's little-endian C-order data (32 bytes)

with u64 little-endian and dtype as safetensors spells it (``F32``, ``BF16``, ``I64``, ...).
Metadata and the order in the file do not count.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torchkeep.core import progress, strict
from torchkeep.core.errors import Foreign
from torchkeep.core.progress import Advance
from torchkeep.core.source import Source

_BLOCK: Final = 1 << 20
_HEADER_LIMIT: Final = 100_000_000  # the safetensors library's own
_TOO_LARGE: Final = 1 << 64
_KEYS: Final = {"dtype", "shape", "data_offsets"}
_BITS: Final = (
    {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16}
    | {"F8_E4M3": 8, "F8_E4M3FNUZ": 8, "F8_E5M2": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8}
    | {"F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32}
    | {"U64": 64, "I64": 64, "F64": 64, "C64": 64}
)  # of one element, by the dtypes of safetensors 0.8


@dataclass(frozen=True, slots=True)
class TensorDigest:
    """One tensor, named by its bytes.

    Attributes:
        name: Its key in the state dict.
        dtype: As safetensors spells it.
        shape: Its dimensions.
        sha256: Digest of its little-endian C-order data.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: bytes


def content(tensors: Iterable[TensorDigest]) -> str:
    """The content digest of a set of tensors, in lower-case hex.

    Raises:
        ValueError: Two tensors have the same name.
    """
    out = hashlib.sha256(b"torchkeep-content-v1\n")
    before = None
    for tensor in sorted(tensors, key=lambda tensor: tensor.name.encode()):
        if tensor.name == before:
            raise ValueError("two tensors have the same name")
        before = tensor.name
        for text in (tensor.name.encode(), tensor.dtype.encode()):
            out.update(_u64(len(text)) + text)
        out.update(_u64(len(tensor.shape), *tensor.shape) + tensor.sha256)
    return out.hexdigest()


def sha256(source: Source) -> str:
    """SHA-256 of all bytes of ``source``, in lower-case hex."""
    with progress.task(f"hashing {source.name}", source.size) as advance:
        return _hash(source, 0, source.size, advance).hex()


def safetensors_content(source: Source) -> str:
    """The content digest of a safetensors file, from its bytes alone.

    The file must be one that every reader reads alike, with no byte of data outside of a tensor: a
    header without duplicate or unknown keys, and tensors whose ranges have the length of their
    dtype and shape and cover the data exactly, without holes or overlaps.

    Raises:
        Foreign: ``source`` is not a well-formed safetensors file.
    """
    try:
        return content(_tensors(source))
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        reason = f": {error}" if type(error) is ValueError else ""  # one of those below
        raise Foreign(
            f"{source.name} is not a well-formed safetensors file{reason}",
            next="fetch it again, or save it anew with the safetensors library",
        ) from error


class _Slot(NamedTuple):
    """What the header says of one tensor; sorts by place."""

    begin: int
    end: int
    name: str
    dtype: str
    shape: tuple[int, ...]


def _tensors(source: Source) -> Iterator[TensorDigest]:
    (length,) = struct.unpack("<Q", source.read(0, min(8, source.size)))
    start = 8 + length
    if length > _HEADER_LIMIT or start > source.size:
        raise ValueError("the length of its header is wrong")
    slots = sorted(_slots(source.read(8, length)))
    end = 0
    for slot in slots:
        if slot.begin != end:
            raise ValueError("its tensors overlap, or leave a hole")
        end = slot.end
    if start + end != source.size:
        raise ValueError("its data is too short, or longer than its tensors")
    with progress.task(f"hashing {source.name}", end) as advance:
        for slot in slots:
            data = _hash(source, start + slot.begin, slot.end - slot.begin, advance)
            yield TensorDigest(slot.name, slot.dtype, slot.shape, data)


def _slots(header: bytes) -> Iterator[_Slot]:
    if not header.startswith(b"{"):
        raise ValueError("its header is no JSON object")
    for name, entry in strict.loads(header).items():
        if name != "__metadata__":
            yield _slot(name, entry)
        elif not all(isinstance(value, str) for value in entry.values()):
            raise ValueError("its metadata is not text")


def _slot(name: str, entry: dict[str, Any]) -> _Slot:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if entry.keys() != _KEYS or not isinstance(shape, list):
        raise ValueError("the entry of a tensor is not dtype, shape and data_offsets")
    if not all(type(number) is int and 0 <= number < _TOO_LARGE for number in (*shape, begin, end)):
        raise ValueError("a dimension or offset is no whole number of 64 bits")
    if dtype not in _BITS:
        raise ValueError("the dtype of a tensor is unknown")
    if _elements(shape) * _BITS[dtype] != (end - begin) * 8:
        raise ValueError("the data of a tensor has not the length of its dtype and shape")
    return _Slot(begin, end, name, dtype, tuple(shape))


def _elements(shape: list[int]) -> int:
    out = 1
    for size in shape:  # a file can name a million dimensions: stop before the product is huge
        out *= size
        if out >= _TOO_LARGE:
            raise ValueError("a tensor has too many elements")
    return out


def _hash(source: Source, offset: int, length: int, advance: Advance) -> bytes:
    out = hashlib.sha256()
    for start in range(offset, offset + length, _BLOCK):
        block = source.read(start, min(_BLOCK, offset + length - start))
        out.update(block)
        advance(len(block))
    return out.digest()


def _u64(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)
