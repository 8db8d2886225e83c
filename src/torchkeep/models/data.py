"""Test data of a model: samples and classes as tensors, checked against the model's entry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import torch
from torch import Tensor

from torchkeep.core import source
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.project import Project
from torchkeep.core.schema import ModelTable, TestData
from torchkeep.core.text import visible
from torchkeep.models import arrays, bounded, entry, idx, imports, pictures, tables
from torchkeep.models.tensors import content_of

_PIXELS: Final = (0.0, 1.0)  # where pictures go whose entry says no range
_NUMBERS: Final = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool}
    | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)


@dataclass(frozen=True, slots=True)
class TestSet:
    """What measurements of a model run on.

    Attributes:
        x: Samples, N first; pictures are N,C,H,W. In the entry's ``range``; ``mean`` and ``std``
            are not applied.
        y: Their classes, int64 of shape N.
    """

    __test__: ClassVar = False  # not a test case, whatever its name says to a test runner

    x: Tensor
    y: Tensor

    @property
    def content(self) -> str:
        """The content digest of these very samples, wherever they came from."""
        return content_of({"x": self.x, "y": self.y})


def test_data(project: Project, name: str) -> TestSet:
    """The test data of a model: what its entry calls ``test``.

    A ``.npz`` archive, a Parquet or CSV table, a folder with IDX files (``x`` and ``y`` name them),
    a folder of pictures with a subfolder per class, or a callable of the project, which is run.
    Bytes (uint8) are pixels: 0..255 becomes the entry's ``range``, [0, 1] where it has none, and
    N,H,W becomes N,1,H,W. What a callable returns stays as it is; float64 becomes float32.

    Args:
        project: The project.
        name: The model's name in the project file.

    Raises:
        UsageError: There is no such model, its entry is wrong, or the callable fails.
        SourceError: A file cannot be read.
        Foreign: A file is damaged or too large, or the samples do not fit the entry: lengths,
            classes, range, numbers that are not finite.
    """
    table = entry.find(project, name)
    if table.test is None:
        raise entry.wrong(
            project,
            "models",
            name,
            message="names no test data",
            next='add test = "FILE" or test = "module:callable"',
        )
    if (table.test.path is None) == (table.test.call is None):
        raise entry.wrong(
            project,
            "models",
            name,
            "test",
            message="expected one of `path` and `call`",
            next='write test = { path = "FILE" } or test = { call = "module:callable" }',
        )
    if table.test.call is not None:
        x, y = _called(project.root, table.test.call)
        return _checked(x[: table.test.limit], y[: table.test.limit], table, table.test.call)
    path = project.root / str(table.test.path)
    x, y = _read(path, table.test)
    return _checked(_in_range(x, table), y, table, visible(str(table.test.path)))


test_data.__test__ = False  # type: ignore[attr-defined]


def _called(root: Path, call: str) -> tuple[Tensor, Tensor]:
    made = imports.call(root, call)
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise UsageError(
            f"{call} returned {type(made).__name__}, expected two tensors or arrays: (x, y)",
            next="let it return the samples and their classes",
        )
    try:
        x, y = (torch.as_tensor(each).detach().cpu() for each in made)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{call} returned something that is no array: {visible(str(error))}",
            next="let it return the samples and their classes",
        ) from error
    return (x, y) if x.ndim and y.ndim else (x.reshape(-1), y.reshape(-1))


def _read(path: Path, test: TestData) -> tuple[Tensor, Tensor]:
    if path.is_dir():
        return _folder(path, test)
    head = _head(path)
    if head.startswith(b"PK"):
        if test.x and len(test.x) > 1:
            raise _ambiguous("one array", path)
        return arrays.read(path, (test.x[0] if test.x else "x", test.y or "y"), test.limit)
    if head == b"PAR1" or path.suffix.lower() == ".csv":
        return tables.read(path, test.x, test.y, test.limit)
    raise Foreign(
        f"{bounded.shown(path)} is no test data that torchkeep reads",
        next="expected .npz, Parquet, .csv, a folder of pictures, a folder with IDX files that"
        " `x` and `y` name, or a callable",
    )


def _head(path: Path) -> bytes:
    with source.open(path) as opened:
        return opened.read(0, min(4, opened.size))


def _folder(path: Path, test: TestData) -> tuple[Tensor, Tensor]:
    if test.x is None and test.y is None:
        return pictures.read(path, test.limit)
    if test.x is None or test.y is None or len(test.x) > 1:
        raise _ambiguous("one IDX file", path)
    return idx.read(path / test.x[0], test.limit), idx.read(path / test.y, test.limit)


def _ambiguous(what: str, path: Path) -> UsageError:
    return UsageError(
        f"`x` and `y` must each name {what} of {bounded.shown(path)}",
        next='write test = { path = "...", x = "...", y = "..." }',
    )


def _in_range(x: Tensor, table: ModelTable) -> Tensor:
    """Pixels stretched to the entry's range; everything else as it is."""
    if x.dtype is not torch.uint8:
        return x
    low, high = table.range or _PIXELS
    pixels = x.float().div_(255).mul_(high - low).add_(low).clamp_(low, high)
    return pixels.unsqueeze(1) if pixels.ndim == 3 else pixels


def _checked(x: Tensor, y: Tensor, table: ModelTable, where: str) -> TestSet:
    x = x.float() if x.dtype is torch.float64 else x
    y = y.squeeze(1) if y.ndim == 2 and y.shape[1] == 1 else y
    if problem := _problem(x, y, table):
        raise Foreign(
            f"test data of {where}: {problem}",
            next="check the data and the model's entry in the project file",
        )
    return TestSet(x, y.long())


def _problem(x: Tensor, y: Tensor, table: ModelTable) -> str | None:
    if x.dtype not in _NUMBERS or y.dtype not in _NUMBERS:
        return f"{x.dtype} samples and {y.dtype} classes, expected ordinary numbers"
    if len(x) != len(y):
        return f"{len(x)} samples and {len(y)} classes"
    if not x.numel():
        return "it has no samples"
    if y.ndim != 1:
        return f"classes of shape {list(y.shape)}, expected one per sample"
    if not x.isfinite().all():
        return "samples hold numbers that are not finite"
    if not (y == y.long()).all():
        return "classes are not whole numbers"
    return _class_problem(y.long(), table) or _range_problem(x, table)


def _class_problem(y: Tensor, table: ModelTable) -> str | None:
    low, high = int(y.min()), int(y.max())
    if low < 0 or (table.classes is not None and high >= table.classes):
        expected = "0 or more" if table.classes is None else f"0 to {table.classes - 1}"
        return f"classes from {low} to {high}, expected {expected}"
    return None


def _range_problem(x: Tensor, table: ModelTable) -> str | None:
    if table.range is None:
        return None
    # The bounds as numbers of that kind: 0.1 as float32 is a little more than 0.1.
    dtype = x.dtype if x.is_floating_point() else torch.float64
    low, high = torch.tensor(table.range, dtype=dtype).tolist()
    seen = x.min().item(), x.max().item()
    if low <= seen[0] and seen[1] <= high:
        return None
    return f"inputs from {seen[0]:g} to {seen[1]:g}, expected {low:g} to {high:g}"
