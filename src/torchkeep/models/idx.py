"""IDX files, the format of MNIST and its relatives: one array of numbers, plain or gzipped."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from torchkeep.core.errors import Foreign
from torchkeep.models import bounded

# The third byte of a file says what its numbers are; all are big-endian.
_NUMBERS: Final = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(path: Path, limit: int | None) -> Tensor:
    """The array in an IDX file.

    Args:
        path: The file.
        limit: At most so many entries, the first ones.

    Raises:
        SourceError: It cannot be read.
        Foreign: It is no IDX file, or its length is not what its header says.
    """
    name = bounded.shown(path)
    file = bounded.unpacked(bounded.read(path))
    zeros, number, rank = struct.unpack(">HBB", bounded.take(file, 4, name))
    if zeros or number not in _NUMBERS or not rank:
        raise Foreign(
            f"{name} is no IDX file: it starts with {zeros:04x}{number:02x}{rank:02x}",
            next="expected a file such as t10k-images-idx3-ubyte.gz",
        )
    shape = struct.unpack(f">{rank}I", bounded.take(file, 4 * rank, name))
    dtype = np.dtype(_NUMBERS[number])
    each = math.prod(shape[1:]) * dtype.itemsize
    bounded.check(each * shape[0], name)
    kept = shape[0] if limit is None else min(limit, shape[0])
    data = bounded.take(file, kept * each, name)
    bounded.skip(file, (shape[0] - kept) * each, name)
    array = np.frombuffer(data, dtype).reshape(kept, *shape[1:])
    return torch.from_numpy(array.astype(dtype.newbyteorder("=")))
