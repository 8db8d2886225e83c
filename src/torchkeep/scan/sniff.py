"""What a file is, by its content and never by its name.

A file can be several things at once: a zip archive is found from its end, a pickle from its start.
Each loader believes its own reading, so every one is reported.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan.formats.native import is_native
from torchkeep.scan.protobuf import is_model

_HEADER_LIMIT: Final = 1 << 48  # no safetensors header is near that long
_AFTER_BRACE: Final = (b'"', b"}", b" ", b"\t", b"\r", b"\n")
_TAIL: Final = 65_557  # bytes of the longest end record of a zip archive with its comment


class Kind(StrEnum):
    """What scanning tells apart."""

    PICKLE = "pickle"
    ZIP = "zip"
    TAR = "tar"
    COMPRESSED = "compressed"
    SEVEN_ZIP = "7z"
    SAFETENSORS = "safetensors"
    NPY = "npy"
    HDF5 = "hdf5"
    GGUF = "gguf"
    ONNX = "onnx"
    NATIVE = "native"
    RAR = "rar"
    EXECUTORCH = "executorch"
    TFLITE = "tflite"
    TENSORRT = "tensorrt"
    JSON = "json"
    TEXT = "text"
    EMPTY = "empty"
    UNKNOWN = "unknown"


_MAGIC: Final = (
    (b"PK\x03\x04", Kind.ZIP),
    (b"PK\x05\x06", Kind.ZIP),
    (b"\x89HDF\r\n\x1a\n", Kind.HDF5),
    (b"GGUF", Kind.GGUF),
    (b"\x93NUMPY", Kind.NPY),
    (b"\x1f\x8b", Kind.COMPRESSED),
    (b"BZh", Kind.COMPRESSED),
    (b"\xfd7zXZ\x00", Kind.COMPRESSED),
    (b"\x28\xb5\x2f\xfd", Kind.COMPRESSED),
    (b"\x04\x22\x4d\x18", Kind.COMPRESSED),
    (b"7z\xbc\xaf\x27\x1c", Kind.SEVEN_ZIP),
    (b"Rar!\x1a\x07", Kind.RAR),
    (b"ftrt", Kind.TENSORRT),
    (b"ptrt", Kind.TENSORRT),
)
_FLAT: Final = {b"ET12": Kind.EXECUTORCH, b"TFL3": Kind.TFLITE}  # behind four bytes
_FIRST: Final = frozenset(magic[0] for magic, _ in _MAGIC)


def kinds(source: Readable) -> tuple[Kind, ...]:
    """Every reading of a file that a loader might have; one of them at least."""
    if not source.size:
        return (Kind.EMPTY,)
    head = source.read(0, min(512, source.size))
    found = [kind for magic, kind in _MAGIC if head.startswith(magic)] if head[0] in _FIRST else []
    if head[4:8] in _FLAT and b"\0" in head:
        found.append(_FLAT[head[4:8]])
    if is_native(source, head):
        found.append(Kind.NATIVE)
    is_safetensors = _is_safetensors(head)
    # A header of 640 bytes starts like a pickle of protocol 2; but zero is no opcode.
    if head[:1] == b"\x80" and b"" < head[1:2] <= b"\5" and not (is_safetensors and not head[2]):
        found.append(Kind.PICKLE)
    if _is_zlib(head) or _is_lzma(head):
        found.append(Kind.COMPRESSED)
    if head[257:262] == b"ustar" or _is_old_tar(head):
        found.append(Kind.TAR)
    if Kind.ZIP not in found and _ends_like_zip(source, head):
        found.append(Kind.ZIP)
    if is_safetensors:
        found.append(Kind.SAFETENSORS)
    return tuple(found) or (_by_elimination(source, head),)


def _is_zlib(head: bytes) -> bool:
    return (
        len(head) > 2
        and head[0] == 0x78
        and (head[0] << 8 | head[1]) % 31 == 0
        and head[1] in (0x01, 0x5E, 0x9C, 0xDA)
    )


def _is_lzma(head: bytes) -> bool:
    """The old format of lzma has no magic: its decoder takes what is plausible, and so do we."""
    if len(head) < 14 or head[0] >= 225 or head[13]:
        return False
    dictionary, size = (int.from_bytes(head[a:b], "little") for a, b in ((1, 5), (5, 13)))
    lowest = dictionary & -dictionary
    return (
        bool(dictionary)
        and (dictionary in (lowest, 3 * lowest) or dictionary == 0xFFFFFFFF)
        and (size < 1 << 38 or size == (1 << 64) - 1)
    )


def _is_old_tar(head: bytes) -> bool:
    """A tar header of before 1988 has no magic, but a checksum."""
    if len(head) < 512:
        return False
    try:
        claimed = int(head[148:156].strip(b"\0 ") or b"x", 8)
    except ValueError:
        return False
    return claimed == sum(head[:148]) + 8 * 0x20 + sum(head[156:]) and claimed > 256


def _ends_like_zip(source: Readable, head: bytes) -> bool:
    if source.size == len(head):
        return b"PK\x05\x06" in head
    length = min(_TAIL, source.size)
    return b"PK\x05\x06" in source.read(source.size - length, length)


def _is_safetensors(head: bytes) -> bool:
    """A header that does not fit the file is a finding, so a plausible one is enough."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and head[9:10] in _AFTER_BRACE and 2 <= length < _HEADER_LIMIT


def _by_elimination(source: Readable, head: bytes) -> Kind:
    if head.lstrip()[:1] in (b"{", b"["):
        return Kind.JSON
    if is_model(source):
        return Kind.ONNX
    if b"\0" not in head:
        return Kind.TEXT
    return Kind.UNKNOWN


def is_json_object(text: bytes) -> bool:
    """Whether ``text`` is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
