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
from typing import Final

from torchkeep.core import progress, safetensors
from torchkeep.core.errors import Foreign
from torchkeep.core.progress import Advance
from torchkeep.core.source import Source

_BLOCK: Final = 1 << 20


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
    except (ValueError, struct.error) as error:
        reason = f": {error}" if type(error) is ValueError else ""  # one of those below
        raise Foreign(
            f"{source.name} is not a well-formed safetensors file{reason}",
            next="fetch it again, or save it anew with the safetensors library",
        ) from error


def _tensors(source: Source) -> Iterator[TensorDigest]:
    (length,) = struct.unpack("<Q", source.read(0, min(8, source.size)))
    start = 8 + length
    if length > safetensors.LONGEST or start > source.size:
        raise ValueError("the length of its header is wrong")
    slots = safetensors.slots(source.read(8, length))
    end = slots[-1].end if slots else 0
    if start + end != source.size:
        raise ValueError("its data is too short, or longer than its tensors")
    with progress.task(f"hashing {source.name}", end) as advance:
        for slot in slots:
            data = _hash(source, start + slot.begin, slot.end - slot.begin, advance)
            yield TensorDigest(slot.name, slot.dtype, slot.shape, data)


def _hash(source: Source, offset: int, length: int, advance: Advance) -> bytes:
    out = hashlib.sha256()
    for start in range(offset, offset + length, _BLOCK):
        block = source.read(start, min(_BLOCK, offset + length - start))
        out.update(block)
        advance(len(block))
    return out.digest()


def _u64(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)
