"""Arrays in a NumPy archive (``.npz``)."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.text import visible
from torchkeep.models import bounded

_BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(RuntimeError, ValueError),
)
_HEADERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(path: Path, names: tuple[str, str], limit: int | None) -> tuple[Tensor, Tensor]:
    """Two arrays of an archive.

    Args:
        path: The ``.npz`` file.
        names: Which arrays.
        limit: At most so many entries of each, the first ones.

    Raises:
        SourceError: It cannot be read.
        UsageError: It has no array of that name.
        Foreign: It is damaged, too large, or an array holds objects: those are pickles, which are
            never loaded.
    """
    data = bounded.read(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            x, y = (_array(archive, name, path)[:limit] for name in names)
    except _BROKEN as error:
        raise bounded.damaged(bounded.shown(path), visible(str(error))) from error
    return _tensor(x), _tensor(y)


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    held = sorted(each.removesuffix(".npy") for each in archive.namelist())
    if name not in held:
        raise UsageError(
            f"{bounded.shown(path)} has no array {visible(name)}; it has:"
            f" {visible(', '.join(held[:10]))}",
            next='name the arrays in the entry: test = { path = "...", x = "...", y = "..." }',
        )
    shown = f"{visible(name)} in {bounded.shown(path)}"
    bounded.check(archive.getinfo(f"{name}.npy").file_size, shown)
    raw = archive.read(f"{name}.npy")  # never more than the directory says
    shape, fortran, dtype, start = _header(raw, shown)
    if dtype.kind not in "biuf":
        kind = "objects, which are pickles and never loaded" if dtype.hasobject else str(dtype)
        raise Foreign(f"{shown} holds {kind}; expected numbers", next="save it as numbers")
    if math.prod(shape) * dtype.itemsize != len(raw) - start:
        raise bounded.damaged(shown, "its length is not what its header says")
    if not shape:
        raise Foreign(f"{shown} is one number; expected one entry per sample")
    return np.frombuffer(raw, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def _header(raw: bytes, shown: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    stream = io.BytesIO(raw)
    try:
        read_header = _HEADERS[np.lib.format.read_magic(stream)]  # later ones are for named fields
        shape, fortran, dtype = read_header(stream)
    except (ValueError, KeyError) as error:
        raise bounded.damaged(shown, f"no NumPy array: {visible(str(error))}") from error
    return shape, fortran, dtype, stream.tell()


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind == "f":
        dtype: type = np.float32
    elif array.dtype in (np.uint8, np.bool_):
        dtype = array.dtype.type
    else:
        dtype = np.int64
    return torch.from_numpy(np.array(array, dtype, order="C"))
