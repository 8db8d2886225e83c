"""The loaders of torch: a file is scanned once and loaded from what was scanned.

Each function here takes what stands in a module and returns what stands there under a guard. torch
itself is never imported here.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

from torchkeep.scan.job import Followed
from torchkeep.scan.loading import active, tape
from torchkeep.scan.loading.recording import can_seek, of_path
from torchkeep.scan.loading.refusal import Unsafe, deny, scan
from torchkeep.scan.loading.terms import Terms
from torchkeep.scan.loading.unpickle import Guarded, Names, known, unvouched

Loader = Callable[..., Any]

_KNOWN: Final = {"map_location", "pickle_module", "weights_only", "mmap"}

_forcing: ContextVar[bool] = ContextVar("forcing", default=False)


def load(original: Loader) -> Loader:
    """``torch.load``."""

    @wraps(original)
    def guarded(f: Any, *args: Any, **kwargs: Any) -> Any:
        terms = active.terms()
        if terms is None or tape.is_scanned(f):
            return original(f, *args, **kwargs)
        with unvouched():
            if not tape.is_path(f):
                return _from_open(original, f, terms, args, kwargs)
            if _is_mapped(kwargs) or _is_safetensors(f):
                with known(_scan_path(f, terms)):
                    return original(f, *args, **kwargs)
            reader = tape.scanned(f, terms)
            with known(tape.of(reader).followed):
                return _restricted_first(original, reader, args, kwargs)

    return guarded


def whole(original: Loader) -> Loader:
    """``torch.jit.load`` and ``torch.export.load``: they read all of a file but raw numbers."""

    @wraps(original)
    def guarded(f: Any, *args: Any, **kwargs: Any) -> Any:
        terms = active.terms()
        if terms is None or tape.is_scanned(f):
            return original(f, *args, **kwargs)
        with unvouched():
            return original(tape.scanned(f, terms), *args, **kwargs)

    return guarded


def hub(original: Loader) -> Loader:
    """``torch.hub.load``, ``list`` and ``help``: they run the Python code of a repository."""

    @wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        terms = active.terms()
        if terms is not None and not terms.hub:
            why = f"torch.hub.{original.__name__} runs the Python code of a repository"
            deny("a repository", why, next="read that code, then use guard(hub=True)")
        return original(*args, **kwargs)

    return guarded


class _Restricted(Guarded):
    """Comes before torch's own unpickler of ``weights_only``."""

    __slots__ = ()

    def _admit(self, names: Names) -> None:
        if _forcing.get() and not _are_known_to_torch(names):
            raise pickle.UnpicklingError("it holds more than weights")


def restricted(original: Any) -> Any:
    """``torch._weights_only_unpickler.Unpickler``."""
    return type(original.__name__, (_Restricted, original), {"__module__": original.__module__})


def _scan_path(path: Any, terms: Terms) -> list[Followed]:
    """Scan a file that torch maps into memory itself; returns its pickles."""
    recording, file = of_path(path)
    with file:
        return scan(recording, terms)[1]


def _from_open(original: Loader, f: Any, terms: Terms, args: Any, kwargs: dict[str, Any]) -> Any:
    """Load from a file that was given open; it is left behind what was read of it."""
    if not can_seek(f):
        return original(f, *args, **kwargs)  # torch says so
    start = f.tell()
    reader = tape.scanned(f, terms)
    with known(tape.of(reader).followed):
        loaded = _restricted_first(original, reader, args, kwargs)
    f.seek(start + reader.tell())
    return loaded


def _restricted_first(
    original: Loader, reader: io.BufferedReader, args: Any, kwargs: dict[str, Any]
) -> Any:
    """Load with ``weights_only`` where that is enough, else as was asked for."""
    if not _asks_for_more(args, kwargs):
        return original(reader, *args, **kwargs)
    start = reader.tell()
    token = _forcing.set(True)
    try:
        narrow = {**kwargs, "weights_only": True, "pickle_module": None}
        return original(reader, *args[:1], **narrow)
    except Unsafe:
        raise
    except Exception:  # whatever it is, the call that was asked for says it again
        reader.seek(start)
    finally:
        _forcing.reset(token)
    return original(reader, *args, **kwargs)


def _asks_for_more(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call leaves ``weights_only`` and has no use for what only that allows."""
    module = args[1] if len(args) > 1 else kwargs.get("pickle_module")
    leaves = kwargs.get("weights_only") is False or (module is not None)
    return leaves and module in (None, pickle) and kwargs.keys() <= _KNOWN and len(args) < 3


def _are_known_to_torch(names: Names) -> bool:
    """Whether torch's ``weights_only`` knows every name, told before any storage is read."""
    torch: Any = sys.modules["torch._weights_only_unpickler"]
    listed = torch._get_allowed_globals().keys() | torch._get_user_allowed_globals().keys()
    return all(f"{module}.{name}" in listed for module, name in names)


def _is_mapped(kwargs: dict[str, Any]) -> bool:
    asked = kwargs.get("mmap")
    if asked is None:
        module: Any = sys.modules.get("torch.utils.serialization")
        return bool(module is not None and module.config.load.mmap)
    return bool(asked)


def _is_safetensors(path: Any) -> bool:
    """Whether torch hands a file to another library, by its name; there is no pickle in it."""
    return os.fsdecode(path).endswith(".safetensors")
