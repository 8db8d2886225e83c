"""``core.errors``: one tree, as its docstring draws it, that survives the way between processes."""

import copy
import importlib
import pickle
import pkgutil
import re
from pathlib import Path

import pytest

import torchkeep.core
from torchkeep.core import errors
from torchkeep.core.errors import (
    Foreign,
    Incomplete,
    Internal,
    MissingExtra,
    NoSink,
    ProjectError,
    Refused,
    SourceError,
    TorchkeepError,
    UsageError,
)

EXAMPLES = [
    TorchkeepError("it broke", next="mend it"),
    Refused("a wrong key"),
    UsageError("no such file", next="name one"),
    ProjectError("unknown key", path=Path("torchkeep.toml"), line=3, key="models.a", next="fix it"),
    MissingExtra("Reading s3://", "store"),
    Foreign("no DSSE envelope"),
    SourceError("the file is gone"),
    Internal("a bug"),
    NoSink("nobody keeps it"),
    Incomplete("not all was read"),
]


def drawn():
    """The tree in the docstring: class, parent, exit status."""
    parents, found = [], []
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+)(?: +(\d))?", line)
        if match and hasattr(errors, match[2]):
            depth = len(match[1]) // 4
            parents[depth:] = [match[2]]
            status = int(match[3]) if match[3] else None
            found.append((match[2], parents[depth - 1] if depth else None, status))
    return found


def classes(base=TorchkeepError):
    yield base
    for kind in base.__subclasses__():
        yield from classes(kind)


def test_the_tree_is_the_one_that_is_drawn():
    tree = {kind for kind in classes() if kind.__module__ == errors.__name__}
    assert {name for name, _, _ in drawn()} == {kind.__name__ for kind in tree}
    for name, parent, status in drawn():
        kind = getattr(errors, name)
        assert kind.__base__.__name__ == (parent or "Exception")
        if status is not None:
            assert kind.exit_code == status


def test_every_kind_of_core_has_a_code_of_its_own():
    for module in pkgutil.walk_packages(torchkeep.core.__path__, "torchkeep.core."):
        importlib.import_module(module.name)
    kinds = [kind for kind in classes() if kind.__module__.startswith("torchkeep.core")]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z][a-z-]*", code) for code in codes)
    assert {kind.exit_code for kind in kinds} == {1, 2, 3}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_stays_what_it_is_on_the_way_from_a_worker(error, way):
    other = way(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
    assert other.args == error.args


def test_examples_are_of_every_kind():
    tree = {kind for kind in classes() if kind.__module__ == errors.__name__}
    assert {type(error) for error in EXAMPLES} == tree


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TorchkeepError("a"), "a"),
        (TorchkeepError("a", next="b"), "a; b"),
        (ProjectError("bad", path=Path("p.toml")), "p.toml: bad"),
        (ProjectError("bad", path=Path("p.toml"), line=2), "p.toml:2: bad"),
        (ProjectError("bad", path=Path("p.toml"), key="a.b"), "p.toml: a.b: bad"),
        (ProjectError("bad", path=Path("p.toml"), line=2, key="a"), "p.toml:2: a: bad"),
        (ProjectError("bad", path=Path("a\n\x1b[1m/p.toml")), "a\\n\\x1b[1m/p.toml: bad"),
        (
            MissingExtra("Reading s3://", "store"),
            "Reading s3:// needs an optional part that is not installed;"
            " run: pip install 'torchkeep[store]'",
        ),
    ],
)
def test_one_line_says_what_and_what_next(error, text):
    assert str(error) == text
    assert "\n" not in text
