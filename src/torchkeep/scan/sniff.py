"""What kind of model file some bytes are, by their content and never by their name."""

from __future__ import annotations

import json
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

_HEADER_LIMIT: Final = 100_000_000  # bytes of a safetensors header, as its library has it


class Kind(StrEnum):
    """Kinds that matter for loading."""

    PICKLE = "pickle"
    TORCH_ZIP = "torch-zip"
    ZIP = "zip"
    COMPRESSED = "compressed"
    SAFETENSORS = "safetensors"
    HDF5 = "hdf5"
    GGUF = "gguf"
    NPY = "npy"
    UNKNOWN = "unknown"


_MAGIC: Final = (
    (b"\x89HDF\r\n\x1a\n", Kind.HDF5),
    (b"GGUF", Kind.GGUF),
    (b"\x93NUMPY", Kind.NPY),
    (b"\x1f\x8b", Kind.COMPRESSED),
    (b"BZh", Kind.COMPRESSED),
    (b"\xfd7zXZ\x00", Kind.COMPRESSED),
    (b"(\xb5/\xfd", Kind.COMPRESSED),
    (b"7z\xbc\xaf'\x1c", Kind.COMPRESSED),
)


def sniff(path: Path) -> Kind:
    """The kind of a file; :attr:`Kind.UNKNOWN` where its content does not tell.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
        for magic, kind in _MAGIC:
            if head.startswith(magic):
                return kind
        if len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
            return Kind.PICKLE
        if zipfile.is_zipfile(file):
            return _zip_kind(file)
        return Kind.SAFETENSORS if _is_safetensors(file) else Kind.UNKNOWN


def _zip_kind(file: BinaryIO) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name.lower() for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return Kind.ZIP
    return Kind.TORCH_ZIP if any(name.endswith((".pkl", ".pickle")) for name in names) else Kind.ZIP


def _is_safetensors(file: BinaryIO) -> bool:
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or length > min(size - 8, _HEADER_LIMIT) or file.read(1) != b"{":
        return False
    file.seek(8)
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        return False
    return all(
        isinstance(entry, dict)
        and (name == "__metadata__" or {"dtype", "shape", "data_offsets"} <= entry.keys())
        for name, entry in header.items()
    )
