"""Projects on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

from torchkeep.core.project import Project


def safetensors(**tensors: bytes) -> bytes:
    """A safetensors file of one-dimensional ``U8`` tensors, without the library."""
    header, start = {}, 0
    for name, data in tensors.items():
        end = start + len(data)
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(tensors.values())


def write(folder: Path, files: dict[str | bytes, bytes | str]) -> Path:
    """Write files by their names below ``folder``; a name may be bytes that are not UTF-8."""
    for name, data in files.items():
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def project(folder: Path, files: dict[str | bytes, bytes | str] | None = None) -> Project:
    """The project in ``folder``, with a project file unless ``files`` bring one."""
    given = {"torchkeep.toml": '[project]\nname = "sample"\n'} | (files or {})
    return Project.open(write(folder, given))


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below ``folder`` with its content, to compare before and after."""
    return {
        os.fspath(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
