"""The header of a safetensors file, read so strictly that every reader reads it alike.

The format: eight bytes with the length of the header, the header in JSON, and the data of all
tensors without a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from torchkeep.core import strict

LONGEST: Final = 100_000_000
"""Bytes of the longest header: the limit of the safetensors library."""

BITS: Final = (
    {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16}
    | {"F8_E4M3": 8, "F8_E4M3FNUZ": 8, "F8_E5M2": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8}
    | {"F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32}
    | {"U64": 64, "I64": 64, "F64": 64, "C64": 64}
)
"""Of one element, by the dtypes of safetensors 0.8."""

TORCH: Final = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F4": "float4_e2m1fn_x2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
"""What torch calls each dtype; F6 it does not have."""

_TOO_LARGE: Final = 1 << 64
_KEYS: Final = {"dtype", "shape", "data_offsets"}


class Slot(NamedTuple):
    """What the header says of one tensor; sorts by place.

    Attributes:
        begin: Offset of its first byte in the data.
        end: Offset behind its last one.
        name: Its key in the state dict.
        dtype: As safetensors spells it.
        shape: Its dimensions.
    """

    begin: int
    end: int
    name: str
    dtype: str
    shape: tuple[int, ...]


def slots(header: bytes) -> list[Slot]:
    """The tensors of a header, in the order of their data.

    Raises:
        ValueError: It is not well-formed: no key may stand twice or be unknown, and the tensors
            must have the length of their dtype and shape and cover the data without holes or
            overlaps.
    """
    try:
        found = sorted(_slots(header))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the entry of a tensor is not dtype, shape and data_offsets") from error
    end = 0
    for slot in found:
        if slot.begin != end:
            raise ValueError("its tensors overlap, or leave a hole")
        end = slot.end
    return found


def _slots(header: bytes) -> Iterator[Slot]:
    if not header.startswith(b"{"):
        raise ValueError("its header is no JSON object")
    for name, entry in strict.loads(header).items():
        if name != "__metadata__":
            yield _slot(name, entry)
        elif not all(isinstance(value, str) for value in entry.values()):
            raise ValueError("its metadata is not text")


def _slot(name: str, entry: dict[str, Any]) -> Slot:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if entry.keys() != _KEYS or not isinstance(shape, list):
        raise ValueError("the entry of a tensor is not dtype, shape and data_offsets")
    if not all(type(number) is int and 0 <= number < _TOO_LARGE for number in (*shape, begin, end)):
        raise ValueError("a dimension or offset is no whole number of 64 bits")
    if dtype not in BITS:
        raise ValueError("the dtype of a tensor is unknown")
    if _elements(shape) * BITS[dtype] != (end - begin) * 8:
        raise ValueError("the data of a tensor has not the length of its dtype and shape")
    return Slot(begin, end, name, dtype, tuple(shape))


def _elements(shape: list[int]) -> int:
    out = 1
    for size in shape:  # a file can name a million dimensions: stop before the product is huge
        out *= size
        if out >= _TOO_LARGE:
            raise ValueError("a tensor has too many elements")
    return out
