"""Project code: found without running it, and run where a command must.

``build = "model:build_income"`` names ``build_income`` in ``model.py`` (or the package ``model``)
of the project's folder. It is never taken from elsewhere: a project file alone can then not make
torchkeep call something that happens to be installed, such as ``os:abort``.

Project code says ``import model`` to itself, so its modules must stand under their plain names, and
two projects in one process may each have a ``model``. While code of a project runs here, its folder
is first on ``sys.path`` and its own modules hold their names; afterwards ``sys.path`` is as before,
and a name that somebody else had before is theirs again. So the first project keeps its plain
names (pickling and introspection work), a second one gets them back whenever its code runs here,
and neither ever sees the other's modules. Code is imported once per process, as Python does.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from torchkeep.core.errors import UsageError
from torchkeep.core.text import visible

_modules: Final[dict[Path, dict[str, ModuleType]]] = {}  # of each project, by its folder
_lock: Final = threading.RLock()


def find(root: Path, path: str) -> Path | None:
    """The file or folder of the module in ``package.module:callable``; None where there is none.

    No code of the project runs.
    """
    importlib.invalidate_caches()
    parts = path.partition(":")[0].split(".")
    places = [str(root.resolve())]
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec and spec.origin else Path(*places[:1])


def call(root: Path, path: str) -> Any:
    """What ``package.module:callable``, imported from the project's folder, returns when called.

    Raises:
        UsageError: There is no such callable, or the project's code raised.
    """
    root = root.resolve()
    with _lock, _standing(root):
        function = _resolve(root, path)
        return _run(f"{path}()", function)


def _resolve(root: Path, path: str) -> Callable[[], Any]:
    name, _, attribute = path.partition(":")
    if find(root, path) is None:
        raise UsageError(
            f"the project holds no module {name}, from which {path} is to come",
            next=f"expected {name.replace('.', '/')}.py in the folder of the project file",
        )
    module = _run(f"import {name}", lambda: importlib.import_module(name))
    if not _lies_in(root, _top(name), module):
        raise UsageError(
            f"{path} cannot be had: Python finds another module {_top(name)} first",
            next=f"rename {_top(name)} in the project",
        )
    function = getattr(module, attribute, None)
    if not callable(function):
        raise UsageError(
            f"module {name} has no callable {attribute}, which {path} names",
            next="check the spelling in the project file",
        )
    return function  # type: ignore[no-any-return]


def _run(what: str, act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (Exception, SystemExit) as error:  # whatever the project's code raises
        raise UsageError(
            f"the project's code failed in {what}: {type(error).__name__}: {visible(str(error))}",
            next="run it by itself to see where",
        ) from error


@contextmanager
def _standing(root: Path) -> Iterator[None]:
    """Let the modules of one project stand under their plain names."""
    importlib.invalidate_caches()
    _, others = _holders(root)
    for name in others:
        del sys.modules[name]
    sys.modules.update(_modules.get(root, {}))
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
        own, _ = _holders(root)
        _modules[root] = own
        taken = {_top(name) for name in others}
        for name in own:
            if _top(name) in taken:
                del sys.modules[name]
        sys.modules.update(others)


def _holders(root: Path) -> tuple[dict[str, ModuleType], dict[str, ModuleType]]:
    """Who stands under names that the project can import: its own modules, and those of others."""
    own: dict[str, ModuleType] = {}
    others: dict[str, ModuleType] = {}
    modules = dict(sys.modules)
    # The standard library is needed by everybody, also by code that runs in between.
    tops = {_top(name) for name in modules} - sys.stdlib_module_names - {"__main__"}
    names = {top for top in tops if _is_importable(root, top)}
    for name, module in modules.items():
        if _top(name) in names:
            (own if _lies_in(root, _top(name), module) else others)[name] = module
    return own, others


def _is_importable(root: Path, name: str) -> bool:
    spec = PathFinder.find_spec(name, [str(root)])
    if spec and spec.origin is None:  # a folder without __init__.py yields to any real module
        spec = PathFinder.find_spec(name, [str(root), *sys.path])
        return spec is not None and spec.origin is None
    return spec is not None


def _lies_in(root: Path, top: str, module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    places = [Path(place) for place in ([file] if file else getattr(module, "__path__", ()))]
    return any(place.parent == root or place.is_relative_to(root / top) for place in places)


def _top(name: str) -> str:
    return name.partition(".")[0]
