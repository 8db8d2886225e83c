"""Writes safetensors, byte by byte as its library does, from tensors that lie in another file."""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from math import prod
from typing import BinaryIO, Final

from torchkeep.core.errors import Refused
from torchkeep.core.progress import Advance
from torchkeep.core.source import Readable
from torchkeep.core.text import visible
from torchkeep.scan.conversion.forms import DTYPES
from torchkeep.scan.conversion.gather import gather, is_in_order
from torchkeep.scan.conversion.locate import Located, Place
from torchkeep.scan.tensors import ITEM_SIZES, Tensor

_CHUNK: Final = 4 << 20  # bytes of the file that are held at once
_LONG: Final = 256 << 10
_RANKS: Final = {dtype: rank for rank, dtype in enumerate(DTYPES)}


def in_order(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The order of the safetensors library: wide element types first, then by name."""
    return sorted(tensors, key=lambda tensor: (-_RANKS[tensor.dtype], tensor.name))


def size(tensor: Tensor) -> int:
    """Bytes that a tensor takes when it is written."""
    return prod(tensor.shape) * ITEM_SIZES[tensor.dtype]


def header(tensors: Iterable[Tensor]) -> bytes:
    """The header of a file with these tensors in this order, with its length before it."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        end = start + size(tensor)
        entries[tensor.name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": _shape(tensor),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write(file: BinaryIO, found: Located, tensors: Iterable[Tensor], advance: Advance) -> None:
    """Write the data of tensors, one behind the other.

    A storage that the file has a checksum of is checked when it is first needed: while it is
    copied where the tensor is all of it, else in a pass of its own before.

    Args:
        file: Where to.
        found: What they lie in.
        tensors: The tensors.
        advance: Told of bytes that were written.

    Raises:
        Refused: The bytes of a storage are not those that were saved.
        SourceError: They cannot be read.
    """
    checked: set[str] = set()
    with ThreadPoolExecutor(1) as beside:
        for tensor in tensors:
            key = tensor.storage.key
            place = found.places[key]
            pieces = _data(found.source, place, tensor)
            if place.crc is not None and key not in checked:
                checked.add(key)
                if is_in_order(tensor) and size(tensor) == place.size:
                    pieces = _checked(found, key, pieces, beside)
                else:
                    whole = _pieces(found.source, place.offset, place.size)
                    deque(_checked(found, key, whole, beside), maxlen=0)
            for piece in pieces:
                advance(file.write(piece))


def _data(source: Readable, place: Place, tensor: Tensor) -> Iterator[bytes | bytearray]:
    start = place.offset + tensor.offset * ITEM_SIZES[tensor.dtype]
    if is_in_order(tensor):
        yield from _pieces(source, start, size(tensor))
    else:
        yield gather(source, start, tensor)


def _pieces(source: Readable, start: int, length: int) -> Iterator[bytes]:
    for offset in range(start, start + length, _CHUNK):
        yield source.read(offset, min(_CHUNK, start + length - offset))


def _checked(
    found: Located, key: str, pieces: Iterator[bytes | bytearray], beside: Executor
) -> Iterator[bytes | bytearray]:
    """The pieces of a storage; after the last one it is known whether they are what was saved.

    The checksum of a long piece is worked out beside, while it is written.
    """
    crc = 0
    for piece in pieces:
        later = beside.submit(zlib.crc32, piece, crc) if len(piece) > _LONG else None
        yield piece
        crc = later.result() if later else zlib.crc32(piece, crc)
    if crc != found.places[key].crc:
        raise Refused(
            f"{found.source.name}: the bytes of storage {visible(key)} are not those that were"
            " saved (CRC-32)",
            next="fetch the file again: it is damaged",
        )


def _shape(tensor: Tensor) -> list[int]:
    """The dimensions; safetensors counts single numbers where torch counts pairs of them."""
    shape = list(tensor.shape)
    if tensor.dtype == "float4_e2m1fn_x2":
        shape[-1] *= 2
    return shape
