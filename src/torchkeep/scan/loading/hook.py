"""Guards libraries that are imported while a guard is active."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from torchkeep.scan.loading import active, patches


class _Finder(MetaPathFinder):
    """Finds modules of the table as others do, and patches them when they have been run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the first other finder finds, with a loader that patches."""
        if name not in patches.TABLE:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find and (spec := find(name, path, target)):
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec  # type: ignore[no-any-return]
        return None


class _Loader(Loader):
    """Stands in for a module's loader until the module has been run."""

    def __init__(self, inner: Loader) -> None:
        self._inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then patch it."""
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        self._inner.exec_module(module)
        if active.terms() is not None:
            patches.apply(module)


_FINDER = _Finder()


def insert() -> None:
    """Look at every import from now on."""
    sys.meta_path.insert(0, _FINDER)


def remove() -> None:
    """Look at none any more."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
