"""Checkpoints of torch on disk, and what safetensors makes of the same tensors."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file


def save(value, path: Path, *, legacy: bool = False, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return path


def expected(tensors: dict, folder: Path) -> bytes:
    """The file that the safetensors library writes of these tensors."""
    path = folder / "expected.safetensors"
    # Shared ones are refused there, and so are views: each gets memory of its own.
    own = {name: torch.empty(t.shape, dtype=t.dtype) for name, t in tensors.items()}
    for name, tensor in tensors.items():
        bits(own[name]).copy_(bits(tensor.detach()))
    save_file(own, path, metadata={"format": "pt"})
    return path.read_bytes()


def bits(tensor):
    """The same bytes as whole numbers: types without arithmetic, and NaN, compare so."""
    sizes = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.view(sizes[tensor.element_size()])


def rewritten(path: Path, change, *, deflated: str = "") -> None:
    """Write an archive anew, with what ``change`` makes of each record (None: left out)."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            name = entry.filename.partition("/")[2]
            data = change(name, old.read(entry))
            if data is not None:
                new.writestr(entry.filename, data, 8 if name == deflated else 0)
    path.write_bytes(out.getvalue())
