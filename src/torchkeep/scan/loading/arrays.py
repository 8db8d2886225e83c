"""The loaders of numpy and joblib.

Each function here takes what stands in a module and returns what stands there under a guard.
Neither library is ever imported here.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import wraps
from typing import Any

from torchkeep.scan.loading import active, tape
from torchkeep.scan.loading.recording import can_seek
from torchkeep.scan.loading.refusal import Unsafe, deny
from torchkeep.scan.loading.unpickle import unvouched, vouched
from torchkeep.scan.sniff import Kind
from torchkeep.scan.verdict import FileReport, Verdict

Loader = Callable[..., Any]

_ZIP = b"PK"


def numpy_load(original: Loader) -> Loader:
    """``numpy.load``; without ``allow_pickle`` it unpickles nothing."""

    @wraps(original)
    def guarded(
        file: Any, mmap_mode: Any = None, allow_pickle: bool = False, *args: Any, **kwargs: Any
    ) -> Any:
        def load(opened: Any) -> Any:
            return original(opened, mmap_mode, allow_pickle, *args, **kwargs)

        terms = active.terms()
        if terms is None or not allow_pickle or tape.is_scanned(file):
            return load(file)
        with unvouched():
            if not tape.is_path(file) and not _is_zip(file):
                return _plainly(load, file)  # arrays may stand in a row: each pickle is followed
            reader = tape.scanned(file, terms)
            if mmap_mode and tape.is_path(file) and tape.of(reader).report.format == "npy":
                reader.close()
                return _mapped(load(file))
            loaded = load(reader)
            if getattr(loaded, "fid", reader) is None:
                loaded.fid = reader  # an archive of arrays reads them later, and closes this then
            return loaded

    return guarded


def joblib_load(original: Loader) -> Loader:
    """``joblib.load``; arrays come into memory, whatever ``mmap_mode`` says."""

    @wraps(original)
    def guarded(filename: Any, mmap_mode: Any = None, *args: Any, **kwargs: Any) -> Any:
        terms = active.terms()
        if terms is None or tape.is_scanned(filename):
            return original(filename, mmap_mode, *args, **kwargs)
        reader = tape.scanned(filename, terms)
        with vouched() if _is_pickle(tape.of(reader).report) else unvouched():
            return original(reader, None, *args, **kwargs)

    return guarded


def _is_pickle(report: FileReport) -> bool:
    """Whether the scan read a file as joblib does, and in no other way."""
    is_clean = report.verdict is Verdict.CLEAN and report.has_pickle
    return is_clean and report.format in (Kind.PICKLE, Kind.COMPRESSED)


def _plainly(load: Loader, file: Any) -> Any:
    """Load; numpy hides behind its own error that a pickle was refused."""
    try:
        return load(file)
    except pickle.UnpicklingError as error:
        if isinstance(error.__cause__, Unsafe):
            raise error.__cause__ from None
        raise


def _mapped(array: Any) -> Any:
    """What numpy maps into memory holds no objects; anything else was no array when it was scanned.

    Raises:
        Unsafe: It is something else.
    """
    if not hasattr(array, "dtype"):
        deny("an array", "its file has changed since it was scanned")
    return array


def _is_zip(file: Any) -> bool:
    if not can_seek(file):
        return False
    start = file.tell()
    head = file.read(len(_ZIP))
    file.seek(start)
    return bool(head == _ZIP)
