"""What works, and what is said, where optional parts are not installed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from torchkeep import models
from torchkeep.core.errors import MissingExtra


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("missing", ["torch", "numpy", "safetensors"])
def test_the_extra_is_named(missing):
    said = run(f"""
import sys

sys.modules[{missing!r}] = None
from torchkeep import models

for name in models.__all__:
    try:
        getattr(models, name)
    except Exception as error:
        print(name, type(error).__name__, error)
""")
    assert said.splitlines() == [
        f"{name} MissingExtra Loading a model needs an optional part that is not installed;"
        " run: pip install 'torchkeep[torch]'"
        for name in models.__all__
    ]


def test_importing_the_room_is_cheap():
    heavy = "torch numpy safetensors polars PIL pyarrow"
    code = (
        f"import sys, torchkeep.models; print([m for m in {heavy.split()!r} if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_every_name_is_there():
    for name in models.__all__:
        assert getattr(models, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        models.absent  # noqa: B018


def test_a_broken_installation_is_not_called_missing(monkeypatch):
    def fail(_name):
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr(models, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="other"):
        models.load  # noqa: B018


@pytest.mark.parametrize(
    ("test", "missing", "extra"), [("t.csv", "polars", "data"), ("d", "PIL.Image", "images")]
)
def test_readers_name_theirs(make, monkeypatch, test, missing, extra):
    project = make(f'test = "{test}"', t__csv=b"a,y\n1,0\n")
    (project.root / "d" / "a").mkdir(parents=True)
    (project.root / "d" / "a" / "x.png").write_bytes(np.zeros(9).tobytes())
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'torchkeep\[{extra}\]'"):
        models.test_data(project, "m")
