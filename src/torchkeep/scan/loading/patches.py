"""What stands in the place of each loader while a guard is active, and how it is put back."""

from __future__ import annotations

import multiprocessing.reduction  # noqa: F401 - see _PLAIN
import pickle
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Final, NamedTuple

from torchkeep.scan.loading import arrays, pytorch, unpickle, workers

Make = Callable[[Any], Any]

# Channels between a process and its own children carry whatever the program sends, and no file.
# They load with what pickle was before. multiprocessing.reduction took its own reference when it
# was imported, which is why this module does so before anything is patched.
_PLAIN: Final = ModuleType(pickle.__name__, pickle.__doc__)
_PLAIN.__dict__.update({**vars(pickle), **vars(_PLAIN)})


def _plain(name: str, original: Any) -> Any:
    return getattr(_PLAIN, name) if name else _PLAIN


# By module: what is replaced in it, and by what.
TABLE: Final[dict[str, dict[str, Make]]] = {
    "pickle": {
        "load": unpickle.load,
        "loads": unpickle.loads,
        "Unpickler": unpickle.unpickler,
        "_Unpickler.load": unpickle.interpreted,
    },
    "multiprocessing.process": {"BaseProcess.start": workers.start},
    "multiprocessing.reduction": {"pickle": partial(_plain, "")},
    "torch.multiprocessing.queue": {"pickle": partial(_plain, "")},
    "torch.multiprocessing.spawn": {"pickle": partial(_plain, "")},
    "torch._inductor.compile_worker.subproc_pool": {"pickle": partial(_plain, "")},
    "torch.distributed.distributed_c10d": {"_unpickler": partial(_plain, "Unpickler")},
    "torch": {"load": pytorch.load},
    "torch.serialization": {"load": pytorch.load},
    "torch._weights_only_unpickler": {"Unpickler": pytorch.restricted},
    "torch.jit": {"load": pytorch.whole},
    "torch.jit._serialization": {"load": pytorch.whole},
    "torch.export": {"load": pytorch.whole},
    "torch.export.pt2_archive._package": {"load_pt2": pytorch.whole},
    "torch.hub": dict.fromkeys(("load", "list", "help"), pytorch.hub),
    "numpy": {"load": arrays.numpy_load},
    "numpy.lib._npyio_impl": {"load": arrays.numpy_load},
    "numpy.lib.npyio": {"load": arrays.numpy_load},
    "joblib": {"load": arrays.joblib_load},
    "joblib.numpy_pickle": {"load": arrays.joblib_load},
}


class _Patch(NamedTuple):
    owner: Any
    name: str
    original: Any
    replacement: Any
    make: Make


_applied: list[_Patch] = []
_adopted: list[tuple[type, tuple[type, ...]]] = []


def apply_all() -> None:
    """Patch every module of the table that is imported already."""
    for name in TABLE:
        if (module := sys.modules.get(name)) is not None:
            apply(module)
    _adopt(pickle.Unpickler)


def apply(module: ModuleType) -> None:
    """Patch one module that has been imported."""
    for path, make in TABLE[module.__name__].items():
        owner: Any = module
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        if (found := vars(owner).get(name)) is not None:
            _replace(owner, name, found, make)


def _replace(owner: Any, name: str, found: Any, make: Make) -> None:
    """Put a replacement in its place: the same one wherever the same loader is found."""
    # A module that is imported under the guard may have taken over what is a replacement already.
    original = next((one.original for one in _applied if one.replacement is found), found)
    known = (one.replacement for one in _applied if (one.original, one.make) == (original, make))
    replacement = next(known, None) or make(original)
    setattr(owner, name, replacement)
    _applied.append(_Patch(owner, name, original, replacement, make))


def _adopt(guarded: Any) -> None:
    """Put classes that were derived from the unpickler before the guard onto the guarded one."""
    bare = guarded.__base__
    for cls in _PLAIN.Unpickler.__subclasses__():
        if cls is not bare and cls.__dictoffset__:
            _adopted.append((cls, cls.__bases__))
            cls.__bases__ = tuple(
                bare if base is _PLAIN.Unpickler else base for base in cls.__bases__
            )


def undo_all() -> None:
    """Put everything back; what somebody else has put in a place since then stays there."""
    for patch in reversed(_applied):
        if vars(patch.owner).get(patch.name) is patch.replacement:
            setattr(patch.owner, patch.name, patch.original)
    _applied.clear()
    for cls, bases in _adopted:
        cls.__bases__ = bases
    _adopted.clear()
