r"""Is this model file safe to load? Answered from bytes alone; nothing in a file is executed.

    >>> from torchkeep import scan
    >>> scan.data(b"\x80\x04N.", "nothing.pkl").verdict
    <Verdict.CLEAN: 'clean'>

A file is looked at in every reading that a loader might have (:mod:`torchkeep.scan.dispatch`); its
pickles are followed, never unpickled (:mod:`torchkeep.scan.pickle`), and what they may look up is
an exact list. The verdict depends on bytes and policy alone: not on the name, not on what is
installed. What was not scanned is never called clean.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchkeep.scan.files import data, file, paths, stream
from torchkeep.scan.formats.texts import MODEL_SUFFIXES
from torchkeep.scan.pickle.policy import Tier
from torchkeep.scan.verdict import FileReport, Issue, Report, Verdict

if TYPE_CHECKING:
    from torchkeep.scan.attest import statement
    from torchkeep.scan.conversion import Conversion, convert
    from torchkeep.scan.loading import Unsafe, guard, install
else:
    # What converts and what guards is imported when it is needed: a scan of one small file must
    # start at once.
    _LATER = {
        "Conversion": "conversion",
        "convert": "conversion",
        "Unsafe": "loading",
        "guard": "loading",
        "install": "loading",
        "statement": "attest",
    }

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


__all__ = [
    "MODEL_SUFFIXES",
    "Conversion",
    "FileReport",
    "Issue",
    "Report",
    "Tier",
    "Unsafe",
    "Verdict",
    "convert",
    "data",
    "file",
    "guard",
    "install",
    "paths",
    "statement",
    "stream",
]
