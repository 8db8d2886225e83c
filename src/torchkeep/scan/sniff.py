"""What kind of model file some bytes are, by their content and never by their name."""

from __future__ import annotations

import zipfile
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final

from torchkeep.core import strict

_HEADER_LIMIT: Final = 100_000_000  # bytes of a safetensors header, as its library has it
_KEYS: Final = {"dtype", "shape", "data_offsets"}
_BITS: Final = {
    8: "BOOL U8 I8 F8_E4M3 F8_E4M3FNUZ F8_E5M2 F8_E5M2FNUZ F8_E8M0",
    16: "U16 I16 F16 BF16",
    32: "U32 I32 F32",
    64: "U64 I64 F64 C64",
    6: "F6_E2M3 F6_E3M2",
    4: "F4",
}
_DTYPES: Final = {name: bits for bits, names in _BITS.items() for name in names.split()}


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
    (b"\x1f\x8b\x08", Kind.COMPRESSED),
    (b"BZh", Kind.COMPRESSED),
    (b"\xfd7zXZ\x00", Kind.COMPRESSED),
    (b"(\xb5/\xfd", Kind.COMPRESSED),
    (b"7z\xbc\xaf'\x1c", Kind.COMPRESSED),
)


def sniff(path: Path) -> Kind:
    """The kind of a file; :attr:`Kind.UNKNOWN` where its content does not tell.

    A file that two loaders could take for different things is never called safetensors.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
        for magic, kind in _MAGIC:
            if head.startswith(magic):
                return kind
        if head.startswith(b"PK\3\4") or _ends_as_zip(file):
            return _zip_kind(file)
        pickled, safe = _starts_pickle(head), _is_safetensors(file)
        if pickled != safe:
            return Kind.PICKLE if pickled else Kind.SAFETENSORS
        return Kind.UNKNOWN


def _starts_pickle(head: bytes) -> bool:
    """Whether ``head`` is a protocol and then an opcode.

    The length of a safetensors header can be 0x0280; a zero follows it then, and is no opcode.
    """
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2] != 0


def _ends_as_zip(file: BinaryIO) -> bool:
    try:
        return zipfile.is_zipfile(file)
    except zipfile.BadZipFile:  # an archive, of a kind that Python does not read
        return True


def _zip_kind(file: BinaryIO) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name.lower() for name in archive.namelist()]
    except Exception:  # zipfile lets struct's, Unicode's and integers' errors out of bad archives
        return Kind.ZIP
    return Kind.TORCH_ZIP if any(name.endswith((".pkl", ".pickle")) for name in names) else Kind.ZIP


def _is_safetensors(file: BinaryIO) -> bool:
    """Whether the whole file is well formed: every byte of it is header, or data of one tensor."""
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or length > min(size - 8, _HEADER_LIMIT) or file.read(1) != b"{":
        return False
    file.seek(8)
    try:
        header = strict.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            return False
        end = 0
        for start, stop in sorted(_range(entry) for entry in header.values()):
            if start != end:
                return False
            end = stop
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return end == size - 8 - length


def _range(entry: dict[str, Any]) -> tuple[int, int]:
    """Where the data of a tensor lies; ValueError where that is not as long as it must be."""
    start, stop = entry["data_offsets"]
    numbers = (*entry["shape"], start, stop)
    if entry.keys() != _KEYS or not all(type(n) is int and 0 <= n < 1 << 64 for n in numbers):
        raise ValueError("entry")
    bits = _DTYPES[entry["dtype"]]
    for size in entry["shape"]:  # a file can name a million dimensions
        bits = min(bits * size, 1 << 70)
    if bits != (stop - start) * 8:
        raise ValueError("length")
    return start, stop
