"""Proposes a project file from what lies in a folder. It looks at names and runs nothing."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from torchkeep.core import files, tree
from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.project import FILE
from torchkeep.core.text import is_encodable, visible
from torchkeep.scan.rules import MODEL_SUFFIXES

_TABLES: Final = frozenset({".csv", ".tsv", ".parquet", ".jsonl", ".arrow", ".feather"})
_BUILDERS: Final = re.compile(r"(build|make|create|get)(_\w+)?$")
# Arrays are more often data than weights, and a pickle of weights is listed so that it is seen.
_NOT_WEIGHTS: Final = frozenset({".npy", ".npz"})
_SOURCE_LIMIT: Final = 1 << 20


def propose(root: Path) -> str:
    """The text of a project file for ``root``, with comments where a person must decide."""
    found = tree.walk(root).files
    names = [entry.path for entry in found if is_encodable(entry.path)]
    weights = [n for n in names if _suffix(n) in MODEL_SUFFIXES - _NOT_WEIGHTS]
    tables = [n for n in names if _suffix(n) in _TABLES]
    builders = list(_builders(root, names))
    blocks = [
        "# Proposed by `torchkeep init` from what lies in this folder. Read it before you keep\n"
        '# it; every key is described in the documentation under "The project file".',
        f"[project]\nname = {json.dumps(root.resolve().name or 'project')}",
        *_models(weights, builders),
        *_data(tables),
        '[policy]\nprofile = "baseline"            # or "strict": whatever is not measured counts',
    ]
    return "\n\n".join(blocks) + "\n"


def write(root: Path) -> Path:
    """Write the proposal into ``root``.

    Raises:
        UsageError: There is no such folder, or it has a project file.
    """
    if not root.is_dir():
        raise UsageError(
            f"{visible(str(root))} is not a folder", next="name the folder of a project"
        )
    path = root / FILE
    if path.exists():
        raise UsageError(
            f"{visible(str(path))} exists and is never overwritten",
            next="run: torchkeep init --stdout, and compare",
        )
    files.write(path, propose(root), exclusive=True)
    return path


def _models(weights: list[str], builders: list[str]) -> Iterator[str]:
    if not weights:
        yield (
            "# No model file was found.\n# [models.NAME]\n"
            '# build = "module:function"\n# weights = "NAME.safetensors"'
        )
    for name, path in _named(weights):
        lines = [f"[models.{name}]"]
        if _suffix(path) not in {".pt2", ".onnx", ".gguf"}:
            guess = json.dumps(builders[0]) if len(builders) == 1 else '"module:function"'
            mark = "" if len(builders) == 1 else "# "
            others = f"   # one of: {', '.join(builders)}" if len(builders) > 1 else ""
            lines.append(f"{mark}build = {guess}{others}")
        lines.append(f"weights = {json.dumps(path)}")
        lines.append(
            '# test = "module:function"         # returns (x, y); or a .npz, Parquet or CSV file'
        )
        yield "\n".join(lines)


def _data(tables: list[str]) -> Iterator[str]:
    for name, path in _named(tables):
        yield f"[data.{name}]\npath = {json.dumps(path)}"


def _named(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each path with a bare key of its own."""
    taken: set[str] = set()
    for path in paths:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(path).stem).strip("-") or "file"
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name)
        yield name, path


def _builders(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Top-level functions that look as if they return a module, as import paths."""
    for name in names:
        if not re.fullmatch(r"(\w+/)*\w+\.py", name):
            continue
        try:
            body = ast.parse(files.read(root / name, limit=_SOURCE_LIMIT)).body
        except (SyntaxError, ValueError, RecursionError, MemoryError, SourceError):
            continue
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for node in body:
            if isinstance(node, ast.FunctionDef) and _builds_module(node):
                yield f"{module}:{node.name}"


def _builds_module(node: ast.FunctionDef) -> bool:
    required = len(node.args.args) - len(node.args.defaults)
    returns = ast.unparse(node.returns) if node.returns else ""
    return required == 0 and (
        returns.endswith("Module") or (not returns and _BUILDERS.match(node.name) is not None)
    )


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
