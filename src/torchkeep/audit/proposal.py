"""Proposes a project file from what lies in a folder. It looks at names and runs nothing."""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from torchkeep.core import files, tree
from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.messages import message
from torchkeep.core.project import FILE
from torchkeep.core.schema import IMPORT_PATH
from torchkeep.core.text import is_encodable, is_plain, visible
from torchkeep.scan import MODEL_SUFFIXES

_TABLES: Final = frozenset({".csv", ".tsv", ".parquet", ".jsonl", ".arrow", ".feather"})
_BUILDERS: Final = re.compile(r"(build|make|create|get)(_\w+)?$")
# Arrays are more often data than weights, and a pickle of weights is listed so that it is seen.
_NOT_WEIGHTS: Final = frozenset({".npy", ".npz"})
_WITH_STRUCTURE: Final = frozenset({".pt2", ".onnx", ".gguf"})
_SOURCE_LIMIT: Final = 1 << 20  # bytes
_SHOWN: Final = 5  # functions to choose from


def propose(root: Path, language: str = "en") -> str:
    """The text of a project file for ``root``, with comments where a person must decide.

    Args:
        root: The folder.
        language: Language of the comments, ``en`` or ``zh``.

    Raises:
        UsageError: There is no such folder.
    """
    if not os.path.isdir(root):  # noqa: PTH112 (Path.is_dir raises where it may not look)
        raise UsageError(
            f"{visible(str(root))} is not a folder", next="name the folder of a project"
        )
    names = [entry.path for entry in tree.walk(root).files if is_encodable(entry.path)]
    weights = [n for n in names if _suffix(n) in MODEL_SUFFIXES - _NOT_WEIGHTS]
    tables = [n for n in names if _suffix(n) in _TABLES]
    builders = list(_builders(root, names))
    blocks = [
        f"# {_say('head', language)}",
        f"[project]\nname = {_quoted(root.resolve().name.strip() or 'project')}",
        *(_model(name, path, builders, language) for name, path in _named(weights)),
        *([] if weights else [_no_model(language)]),
        *(f"[data.{name}]\npath = {_quoted(path)}" for name, path in _named(tables)),
        f'[policy]\nprofile = "baseline"   # {_say("profile", language)}',
    ]
    return "\n\n".join(blocks) + "\n"


def write(root: Path, language: str = "en") -> Path:
    """Write the proposal into ``root``.

    Raises:
        UsageError: There is no such folder, or it has a project file.
    """
    path = root / FILE
    if os.path.lexists(path):
        raise UsageError(
            f"{visible(str(path))} exists and is never overwritten",
            next="run torchkeep init --stdout on the same folder, and compare",
        )
    files.write(path, propose(root, language), exclusive=True)
    return path


def _model(name: str, path: str, builders: Sequence[str], language: str) -> str:
    lines = [f"[models.{name}]", f"weights = {_quoted(path)}"]
    if _suffix(path) not in _WITH_STRUCTURE:
        if len(builders) == 1:
            lines.append(f'build = "{builders[0]}"   # {_say("build-unknown", language)}')
        else:
            kind = "build" if builders else "build-unknown"
            comment = _say(kind, language, names=tuple(builders[:_SHOWN]))
            lines.append(f'# build = "module:function"   # {comment}')
    lines.append(f'# test = "module:function"   # {_say("test", language)}')
    return "\n".join(lines)


def _no_model(language: str) -> str:
    example = ("[models.NAME]", 'weights = "NAME.safetensors"', 'build = "module:function"')
    return "\n".join(f"# {line}" for line in (_say("no-model", language), *example))


def _say(name: str, language: str, **args: object) -> str:
    return message(f"audit.proposal.{name}", **args).text(language)


def _quoted(text: str) -> str:
    """A TOML string that reads as what it is: hidden characters are written as escapes."""
    if not is_encodable(text):
        text = visible(text)
    shown = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if is_plain(c) else f"\\U{ord(c):08x}" for c in shown) + '"'


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
        if not re.fullmatch(r"([^/.]+/)*[^/.]+\.py", name):
            continue
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        paths = (f"{module}:{function}" for function in _functions(root / name))
        yield from (path for path in paths if re.match(IMPORT_PATH, path))


def _functions(path: Path) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in that code is not for us to say
            body = ast.parse(files.read(path, limit=_SOURCE_LIMIT)).body
        return [n.name for n in body if isinstance(n, ast.FunctionDef) and _builds_module(n)]
    except (SyntaxError, ValueError, RecursionError, MemoryError, SourceError):
        return []


def _builds_module(node: ast.FunctionDef) -> bool:
    required = len(node.args.args) - len(node.args.defaults)
    returns = ast.unparse(node.returns) if node.returns else ""
    return required == 0 and (
        returns.endswith("Module") or (not returns and _BUILDERS.match(node.name) is not None)
    )


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
