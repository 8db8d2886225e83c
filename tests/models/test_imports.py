from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import pytest

from torchkeep.core.errors import UsageError
from torchkeep.models import imports


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No module of one test is seen by another."""
    for name in ("model", "part", "late", "pkg"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    before, path = dict(sys.modules), list(sys.path)
    monkeypatch.setattr(imports, "_modules", {})
    yield
    assert sys.path == path
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def folder(root: Path, **sources: str) -> Path:
    for name, text in sources.items():
        path = root / name.replace("__", "/")
        path = path / "__init__.py" if name.endswith("__") else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_names_are_those_of_plain_python(tmp_path):
    source = "import part\n\ndef make():\n    return part.VALUE"
    root = folder(tmp_path, model=source, part="VALUE = 1")
    assert imports.call(root, "model:make") == 1
    assert sys.modules["model"].make.__module__ == "model"
    assert str(root) not in sys.path


def test_code_is_imported_once(tmp_path):
    source = "seen = []\n\ndef make():\n    seen.append(1)\n    return len(seen)"
    root = folder(tmp_path, model=source)
    assert [imports.call(root, "model:make") for _ in range(3)] == [1, 2, 3]


def test_code_of_a_second_project_is_imported_once_too(tmp_path):
    source = "seen = []\n\ndef make():\n    seen.append(1)\n    return len(seen)"
    roots = [folder(tmp_path / each, model=source) for each in "ab"]
    assert [[imports.call(root, "model:make") for root in roots] for _ in "12"] == [[1, 1], [2, 2]]


def test_two_projects_with_the_same_names(tmp_path):
    source = "import part\n\ndef make():\n    import late\n    return part.VALUE, late.VALUE"
    roots = [
        folder(tmp_path / each, model=source, part=f"VALUE = {each!r}", late=f"VALUE = {each!r}")
        for each in "ab"
    ]
    for _ in range(2):
        for root in roots:
            assert imports.call(root, "model:make") == (root.name, root.name)
    # Who came first keeps the plain names.
    assert sys.modules["part"].VALUE == sys.modules["late"].VALUE == "a"


def test_a_project_calls_another(tmp_path):
    inner = folder(tmp_path / "inner", model="def make():\n    return 'inner'")
    outer = folder(
        tmp_path / "outer",
        model="from torchkeep.models import imports\nfrom pathlib import Path\n\ndef make():\n"
        f"    return imports.call(Path({str(inner)!r}), 'model:make'), __import__('part').VALUE",
        part="VALUE = 'outer'",
    )
    assert imports.call(outer, "model:make") == ("inner", "outer")
    assert sys.modules["model"].__file__ == str(outer / "model.py")


def test_packages_with_and_without_init(tmp_path):
    a = folder(
        tmp_path / "a",
        pkg__="",
        pkg__net="from pkg import sub\n\ndef make():\n    return sub.V",
        pkg__sub="V='a'",
    )
    b = folder(tmp_path / "b", pkg__net="def make():\n    return 'b'")
    c = folder(tmp_path / "c", pkg__net="def make():\n    return 'c'")
    for _ in range(2):
        assert [imports.call(root, "pkg.net:make") for root in (a, c)] == ["a", "c"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "pkg"]:
        del sys.modules[name]
    imports._modules.clear()
    for _ in range(2):
        assert [imports.call(root, "pkg.net:make") for root in (b, c)] == ["b", "c"]


def test_modules_of_others_get_their_names_back(tmp_path, monkeypatch):
    theirs = folder(tmp_path / "theirs", model="x = 1", model_extra="x = 2")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(theirs)
        model = importlib.import_module("model")
    root = folder(tmp_path / "ours", model="def make():\n    return __file__")
    assert imports.call(root, "model:make") == str(root / "model.py")
    assert sys.modules["model"] is model


def test_a_folder_of_data_hides_no_library(tmp_path):
    import torch

    root = folder(tmp_path, model="import torch\n\ndef make():\n    return torch")
    (root / "torch").mkdir()
    (root / "torch" / "weights.txt").write_text("")
    assert imports.call(root, "model:make") is torch


def test_a_failed_import_leaves_nothing(tmp_path):
    before = set(sys.modules)
    root = folder(tmp_path, model="import nowhere_at_all")
    with pytest.raises(UsageError, match="failed in import model: ModuleNotFoundError: No module"):
        imports.call(root, "model:make")
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("absent:make", "holds no module absent, from which absent:make is to come"),
        ("model.sub:make", "holds no module model.sub"),
        ("os:getcwd", "holds no module os"),
        ("torch:manual_seed", "holds no module torch"),
        ("model:absent", "module model has no callable absent"),
        ("model:value", "module model has no callable value"),
        ("random:make", "Python finds another module random first"),
    ],
)
def test_what_is_not_there(tmp_path, path, said):
    root = folder(tmp_path, model="value = 7", random="def make():\n    return 4")
    with pytest.raises(UsageError, match=said):
        imports.call(root, path)


def test_finding_runs_nothing(tmp_path, marker):
    run = f"import os\nos.mkdir({str(marker)!r})"
    root = folder(tmp_path, model=run, pkg__=run, pkg__net=run, plain__net=run)
    assert imports.find(root, "model:make") == root / "model.py"
    assert imports.find(root, "pkg.net:make") == root / "pkg" / "net.py"
    assert imports.find(root, "plain.net:make") == root / "plain" / "net.py"
    assert imports.find(root, "plain:make") == root / "plain"
    for absent in ("absent:make", "pkg.absent:make", "model.x:make", "absent.x:make", "os.path:x"):
        assert imports.find(root, absent) is None
    assert not marker.exists()


def test_threads_take_turns(tmp_path):
    roots = [
        folder(
            tmp_path / str(number),
            model="import time, part\n\ndef make():\n    time.sleep(0.01)\n"
            "    import late\n    return part.V, late.V",
            part=f"V={number}",
            late=f"V={number}",
        )
        for number in range(4)
    ]
    seen: list[tuple[int, object]] = []

    def work(number):
        seen.append((number, imports.call(roots[number], "model:make")))

    threads = [threading.Thread(target=work, args=(n % 4,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted((n % 4, (n % 4, n % 4)) for n in range(12))
