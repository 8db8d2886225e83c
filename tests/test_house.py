"""The house: floors, private doors, sizes, weights, and nothing of the machine that built it."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "torchkeep"
HEAVY = ("torch", "numpy", "polars", "pyarrow", "safetensors", "rich", "pandas", "matplotlib")


def rooms() -> list[str]:
    return sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


def sources() -> dict[str, str]:
    """Every module by its path below the package."""
    return {
        path.relative_to(SOURCE).as_posix(): path.read_text("utf-8")
        for path in sorted(SOURCE.rglob("*.py"))
    }


# Floors.


def lint(folder: Path) -> str:
    """What import-linter says of the package in ``folder``; empty where all is well."""
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "from importlinter.cli import lint_imports_command as run; run()",
            ),
            "--no-cache",
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A house of its own, in which a test may break walls."""
    shutil.copytree(SOURCE, tmp_path / "torchkeep", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(folder: Path, module: str, line: str) -> None:
    path = folder / "torchkeep" / module
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef _planted() -> None:\n    {line}\n")


def test_no_room_imports_from_above_or_beside(copy):
    assert lint(copy) == ""
    plant(copy, "core/text.py", "from torchkeep.scan import sniff as x")
    plant(copy, "scan/sniff.py", "import torchkeep.audit.run")
    plant(copy, "models/entry.py", "from torchkeep import cli")
    plant(copy, "vault/__init__.py", "import torchkeep.scan")  # its neighbour on the floor
    plant(copy, "core/tree.py", "import numpy")
    found = lint(copy)
    for source, target in [
        ("core", "scan"),
        ("scan", "audit"),
        ("models", "cli"),
        ("vault", "scan"),
        ("core", "numpy"),
    ]:
        name = target if target == "numpy" else f"torchkeep.{target}"
        assert f"torchkeep.{source} is not allowed to import {name}:" in found
    assert "Contracts: 0 kept, 2 broken." in found


def test_a_room_without_a_floor_is_refused(copy):
    plant(copy, "attic/__init__.py", "pass")
    assert "attic" in lint(copy)


def test_the_picture_of_the_floors_is_the_one_that_holds():
    done = subprocess.run(
        [sys.executable, "tools/floors.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


# Doors.


def private_imports(sources: Mapping[str, str]) -> Iterator[str]:
    """Imports of a room's private module, or private name, from another room."""
    for path, text in sources.items():
        room = path.partition("/")[0]
        for node in ast.walk(ast.parse(text)):
            for name in _imported(node):
                parts = name.split(".")
                hidden = any(re.match("_(?!_)", part) for part in parts)
                if parts[0] == "torchkeep" and parts[1:2] != [room] and hidden:
                    yield f"{path}:{node.lineno}: {name}"


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module, names):
            return [f"{module}.{alias.name}" for alias in names]
    return []


def test_no_room_enters_by_a_private_door():
    assert list(private_imports(sources())) == []


@pytest.mark.parametrize(
    "line",
    [
        "import torchkeep.core._hidden",
        "from torchkeep.core import _hidden",
        "from torchkeep.core._hidden import open",
        "def f():\n    from torchkeep.core.text import _escape",
    ],
)
def test_a_private_door_would_be_seen(line):
    assert list(private_imports({"scan/x.py": line}))
    assert not list(private_imports({"core/x.py": line}))
    assert not list(private_imports({"scan/x.py": "from torchkeep import __version__"}))


def relative_imports(sources: Mapping[str, str]) -> Iterator[str]:
    for path, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{path}:{node.lineno}"


def test_every_import_names_its_room():
    """A relative import would slip past the test above."""
    assert list(relative_imports(sources())) == []
    assert list(relative_imports({"core/x.py": "from . import y"}))


@pytest.mark.parametrize("room", rooms())
def test_a_room_says_its_job_and_what_it_offers(room):
    tree = ast.parse((SOURCE / room / "__init__.py").read_text("utf-8"))
    assert ast.get_docstring(tree)
    offered = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    here = {path.stem for path in (SOURCE / room).iterdir()}
    here |= {name.rpartition(".")[2] for node in ast.walk(tree) for name in _imported(node)}
    here |= {
        getattr(node, "name", None) or getattr(getattr(node, "targets", [node])[0], "id", None)
        for node in tree.body
    }
    assert offered
    assert len(set(offered)) == len(offered)
    assert set(offered) <= here


def test_core_offers_all_of_its_modules():
    from torchkeep import core

    modules = {path.stem for path in (SOURCE / "core").glob("[a-z]*.py")}
    modules |= {path.parent.name for path in (SOURCE / "core").glob("*/__init__.py")}
    assert set(core.__all__) == modules


def test_every_room_with_rules_hands_them_to_the_audit():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["torchkeep.rules"] == {
        path.parent.name: f"torchkeep.{path.parent.name}.rules:RULESET"
        for path in sorted(SOURCE.glob("*/rules.py"))
    }


# Sizes.


def too_large(sources: Mapping[str, str], *, lines: int = 400, function: int = 50) -> Iterator[str]:
    for path, text in sources.items():
        if len(text.splitlines()) > lines:
            yield f"{path}: {len(text.splitlines())} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > function:
                    yield f"{path}:{node.lineno}: {node.name} has {size} lines"


def test_files_and_functions_are_short():
    assert list(too_large(sources())) == []
    assert list(too_large({"x.py": "x = 1\n" * 401}))
    assert list(too_large({"x.py": "def f():\n" + "    x = 1\n" * 50}))
    assert not list(too_large({"x.py": "def f():\n" + "    x = 1\n" * 49 + "y = 1\n" * 350}))


# Weights.

LOOK = """
import sys, pkgutil, importlib
heavy = {heavy!r}
def look(what):
    loaded = [name for name in heavy if name in sys.modules]
    if loaded:
        print(what, loaded)
        sys.exit(1)
import torchkeep
look("torchkeep")
import torchkeep.cli, torchkeep.cli.app
look("torchkeep.cli")
import torchkeep.core
for module in pkgutil.walk_packages(torchkeep.core.__path__, "torchkeep.core."):
    try:
        importlib.import_module(module.name)
    except ImportError:
        assert module.name in {extras!r}, module.name
    look(module.name)
for room in ("scan", "models", "audit"):
    importlib.import_module("torchkeep." + room)
    look(room)
{more}
look("more")
"""
EXTRAS = ("torchkeep.core.source.objects", "torchkeep.core.db.postgres")  # bring a library each


def looked(more: str = "") -> str:
    code = LOOK.format(heavy=HEAVY, extras=EXTRAS, more=more)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout


def test_what_everybody_imports_is_light():
    assert looked() == ""
    assert looked("sys.modules['rich'] = sys") == "more ['rich']\n"


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], (*HEAVY, "pydantic", "cryptography")),
        (["--version"], (*HEAVY, "pydantic", "cryptography")),
        (["audit", "--help"], (*HEAVY, "cryptography")),
    ],
)
def test_help_needs_nothing_heavy(arguments, unwanted):
    code = (
        "import sys\nfrom torchkeep.cli.app import run\n"
        f"status = run({arguments!r})\n"
        f"found = [name for name in {unwanted!r} if name in sys.modules]\n"
        "sys.exit(str(found) if found else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# Traces of the machine.


def tracked() -> dict[str, bytes]:
    """The files of the repository as git lists them."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no clone of the repository")
    names = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True
    ).stdout.split(b"\0")
    paths = [ROOT / os.fsdecode(name) for name in names if name]
    return {
        path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths if path.is_file()
    }


# Put together here so that this file does not name what it looks for.
TRACES = re.compile(
    rb"(?<![\w.~$}/-])/(?:work|root)/"
    rb"|\bpypi" + rb"\.org\b|\bpythonhosted" + rb"\.org\b|\bfile:" + rb"///(?:work|root|home)\b"
)


def traces(files: Mapping[str, bytes]) -> Iterator[str]:
    """Lines that name a folder of the machine, or the host of a package registry."""
    for name, data in files.items():
        if b"\0" in data[:8192]:
            continue
        for number, line in enumerate(data.split(b"\n"), 1):
            if TRACES.search(line):
                yield f"{name}:{number}: {line.decode(errors='replace').strip()[:80]}"


def test_nothing_names_the_machine_that_built_it():
    assert list(traces(tracked())) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cd /" + "work/main", True),
        ('"/' + 'root/.config"', True),
        ("--index-url https://pypi" + ".org/simple", True),
        ("https://files.pythonhosted" + ".org/x", True),
        ("path/to/" + "work/x", False),
        ("$HOME/root/x", False),
        ("docs/root/index.md", False),
        ("homework/main", False),
    ],
)
def test_a_trace_would_be_seen(line, found):
    assert bool(list(traces({"x": line.encode()}))) == found


PIN = re.compile(r"(#.*|[A-Za-z0-9._-]+(\[[a-z,]+\])?==[A-Za-z0-9.+!]+)?")


def unpinned(text: str) -> list[str]:
    """Lines of a lock that are more, or less, than a name and its version."""
    return [line for line in text.splitlines() if not PIN.fullmatch(line)]


def test_locks_hold_names_and_versions_only():
    locks = {
        name: data.decode()
        for name, data in tracked().items()
        if re.search(r"(^|/)(requirements|constraints)[^/]*(/[^/]*)?\.(txt|lock|in)$", name)
    }
    assert locks
    assert {name: unpinned(text) for name, text in locks.items() if unpinned(text)} == {}


@pytest.mark.parametrize(
    "line",
    [
        "torch @ https://example.org/torch.whl",
        "--index-url https://example.org/simple",
        "--find-links /opt/wheels",
        "-e .",
        "torch>=2.6",
        "torch",
        "torch==2.13.0 --hash=sha256:ab",
        "torch==2.13.0+cpu ; x",
    ],
)
def test_a_lock_that_says_more_would_be_seen(line):
    assert unpinned(f"# ok\n\nnumpy==2.4.6\n{line}\n") == [line]
