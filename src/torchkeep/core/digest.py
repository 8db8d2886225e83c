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
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from torchkeep.core import progress
from torchkeep.core.errors import Foreign

_BLOCK: Final = 1 << 20
_HEADER_LIMIT: Final = 100_000_000  # the safetensors library's own


class Readable(Protocol):
    """Bytes that can be read from any place (:mod:`torchkeep.core.source`)."""

    @property
    def name(self) -> str:
        """What to call it in a message."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""


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
    """The content digest of a set of tensors with different names, in lower-case hex."""
    out = hashlib.sha256(b"torchkeep-content-v1\n")
    for tensor in sorted(tensors, key=lambda tensor: tensor.name.encode()):
        for text in (tensor.name.encode(), tensor.dtype.encode()):
            out.update(_u64(len(text)) + text)
        out.update(_u64(len(tensor.shape), *tensor.shape) + tensor.sha256)
    return out.hexdigest()


def sha256(source: Readable) -> str:
    """SHA-256 of all bytes of ``source``, in lower-case hex."""
    return _hash(source, 0, source.size).hex()


def safetensors_content(source: Readable) -> str:
    """The content digest of a safetensors file, from its bytes alone.

    Raises:
        Foreign: ``source`` is not a well-formed safetensors file.
    """
    try:
        return content(list(_tensors(source)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise Foreign(f"{source.name} is not a well-formed safetensors file") from error


def _tensors(source: Readable) -> Iterator[TensorDigest]:
    (length,) = struct.unpack("<Q", source.read(0, min(8, source.size)))
    start = 8 + length
    if length > _HEADER_LIMIT or start > source.size:
        raise ValueError("header length")
    header = json.loads(source.read(8, length), object_pairs_hook=_unique)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= source.size - start:
            raise ValueError("data offsets")
        data = _hash(source, start + begin, end - begin)
        yield TensorDigest(name, entry["dtype"], tuple(entry["shape"]), data)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("duplicate key")
    return out


def _hash(source: Readable, offset: int, length: int) -> bytes:
    out = hashlib.sha256()
    with progress.task(f"hashing {source.name}", length) as advance:
        for start in range(offset, offset + length, _BLOCK):
            block = source.read(start, min(_BLOCK, offset + length - start))
            out.update(block)
            advance(len(block))
    return out.digest()


def _u64(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)
