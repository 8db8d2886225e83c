"""``core.plugins``: whatever a stranger's package does, the others load and it does not vanish."""

import importlib
import sys
from pathlib import Path

import pytest

from torchkeep.core import plugins

GROUP = "torchkeep.test"


class Site:
    """A folder of installed packages at the front of ``sys.path``."""

    def __init__(self, folder: Path):
        self.folder = folder

    def install(self, name, points="", *, module="", metadata=True, listing=None):
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        text = f"[{GROUP}]\n{points}\n".encode() if listing is None else listing
        (info / "entry_points.txt").write_bytes(text)
        (self.folder / f"{name}_module.py").write_text(module or "VALUE = 1\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    before = set(sys.modules)
    yield Site(tmp_path / "site")
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load():
    importlib.invalidate_caches()
    return list(plugins.load(GROUP))


def test_they_come_in_the_order_of_their_names(site):
    site.install("one", "zebra = one_module:VALUE\nbear = one_module:VALUE", module="VALUE = 'one'")
    site.install("two", "ape = two_module:VALUE", module="VALUE = 'two'")
    site.install("three", "bear = three_module:VALUE", module="VALUE = 'three'")
    assert [(p.name, p.package, p.value, p.error) for p in load()] == [
        ("ape", "two", "two", None),
        ("bear", "one", "one", None),
        ("bear", "three", "three", None),
        ("zebra", "one", "one", None),
    ]


def test_nothing_is_installed(site):
    assert load() == []


FAILURES = {
    "no module": ("bad = nowhere_module:VALUE", "", ModuleNotFoundError),
    "no name in it": ("bad = bad_module:NOTHING", "", AttributeError),
    "raises": ("bad = bad_module:VALUE", "raise ZeroDivisionError", ZeroDivisionError),
    "does not parse": ("bad = bad_module:VALUE", "def (", SyntaxError),
    "leaves the program": ("bad = bad_module:VALUE", "import sys; sys.exit(0)", SystemExit),
    "an exception of its own": (
        "bad = bad_module:VALUE",
        "class Mine(BaseException): pass\nraise Mine",
        BaseException,
    ),
    "too deep": ("bad = bad_module:VALUE", "def f(): f()\nf()", RecursionError),
    "no place at all": ("bad = not valid!!", "", Exception),
}


@pytest.mark.parametrize(("points", "module", "error"), FAILURES.values(), ids=FAILURES)
def test_one_that_fails_hides_no_other_and_is_shown(site, points, module, error):
    site.install("bad", points, module=module)
    site.install("good", "alpha = good_module:VALUE\nomega = good_module:VALUE")
    found = {(p.name, p.package): p for p in load()}
    assert set(found) == {("alpha", "good"), ("omega", "good"), ("bad", "bad")}
    assert isinstance(found["bad", "bad"].error, error)
    assert found["bad", "bad"].value is None
    assert found["alpha", "good"].value == found["omega", "good"].value == 1


@pytest.mark.parametrize(
    ("listing", "error"),
    [
        (b"[torchkeep.test]\nthis line says nothing\n", Exception),
        (b"[other.group]\nthis line says nothing\n", Exception),
        (b"[torchkeep.test]\na = \xff\n", UnicodeDecodeError),
    ],
)
def test_a_damaged_list_hides_no_other_and_is_shown(site, listing, error):
    site.install("bad", listing=listing)
    site.install("good", "alpha = good_module:VALUE")
    broken, good = load()
    assert (good.name, good.value) == ("alpha", 1)
    assert (broken.name, broken.package, broken.value) == ("entry_points.txt", "bad", None)
    assert isinstance(broken.error, error)


def test_packages_without_a_name_are_all_loaded(site):
    site.install("first", "a = first_module:VALUE", metadata=False)
    site.install("second", "a = second_module:VALUE", metadata=False)
    assert [(p.name, p.package, p.value) for p in load()] == [("a", "", 1), ("a", "", 1)]


def test_the_package_that_python_would_import_wins(site, tmp_path, monkeypatch):
    site.install("twin", "a = twin_module:VALUE", module="VALUE = 'hidden'")
    monkeypatch.syspath_prepend(str(tmp_path / "front"))
    Site(tmp_path / "front").install("twin", "a = twin_module:VALUE", module="VALUE = 'seen'")
    assert [(p.package, p.value) for p in load()] == [("twin", "seen")]


def test_ctrl_c_is_no_failure_of_a_plug_in(site):
    site.install("bad", "bad = bad_module:VALUE", module="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load()


def test_our_own_are_found():
    names = [p.name for p in plugins.load("torchkeep.rules") if p.package == "torchkeep"]
    assert {"audit", "scan"} <= set(names)
