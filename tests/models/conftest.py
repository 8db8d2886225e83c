"""Small projects, and archives with a record exchanged."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from torchkeep.core.project import Project

torch.set_num_threads(1)

MODEL = """
from torch import nn


def build():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 2))
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Project]:
    """Writes a project with one model ``m``: what its entry says, and files by name."""

    def make(
        entry: str = "", *, folder: str = "project", model: str = MODEL, more: str = "", **files
    ) -> Project:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        (root / "model.py").write_text(model)
        for name, data in files.items():
            (root / name.replace("__", ".")).write_bytes(data)
        (root / "torchkeep.toml").write_text(f'[project]\nname = "p"\n[models.m]\n{entry}\n{more}')
        return Project.load(root / "torchkeep.toml")

    return make


@pytest.fixture
def repacked() -> Callable[..., bytes]:
    """Writes a torch archive anew with some records exchanged, added or (None) left out."""

    def repacked(data: bytes, changes: Mapping[str, bytes | None]) -> bytes:
        reader = torch._C.PyTorchFileReader(io.BytesIO(data))
        records = {
            name: reader.get_record(name)
            for name in reader.get_all_records()
            if not name.startswith(".data/") and name not in ("version", "byteorder")
        }
        out = io.BytesIO()
        writer = torch._C.PyTorchFileWriter(out)
        for name, record in {**records, **changes}.items():
            if record is not None:
                writer.write_record(name, record, len(record))
        writer.write_end_of_file()
        return out.getvalue()

    return repacked


class Recorder:
    """Where it is unpickled without limits it makes an empty folder, and nothing else."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A folder that exists once something has run that should not."""
    return tmp_path / "reached"


@pytest.fixture
def recorder(marker: Path) -> bytes:
    """What :func:`torch.save` makes of a :class:`Recorder`."""
    out = io.BytesIO()
    torch.save((Recorder(marker),), out)
    return out.getvalue()
