r"""Is this model file safe to load? Answered from bytes alone; nothing in a file is executed.

    >>> from torchkeep import scan
    >>> scan.data(b"\x80\x04N.", "nothing.pkl").verdict
    <Verdict.CLEAN: 'clean'>

A file is looked at in every reading that a loader might have (:mod:`torchkeep.scan.dispatch`); its
pickles are followed, never unpickled (:mod:`torchkeep.scan.pickle`), and what they may look up is
an exact list. The verdict depends on bytes and policy alone: not on the name, not on what is
installed. What was not scanned is never called clean.
"""

from typing import TYPE_CHECKING, Any

from torchkeep.scan.files import data, file, paths, stream
from torchkeep.scan.formats.texts import MODEL_SUFFIXES
from torchkeep.scan.pickle.policy import Tier
from torchkeep.scan.verdict import FileReport, Issue, Report, Verdict

if TYPE_CHECKING:
    from torchkeep.scan.conversion import Conversion, convert
else:

    def __getattr__(name: str) -> Any:
        """Import what converts when it is needed: a scan of one small file must start at once."""
        if name in ("Conversion", "convert"):
            from torchkeep.scan import conversion

            return getattr(conversion, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "MODEL_SUFFIXES",
    "Conversion",
    "FileReport",
    "Issue",
    "Report",
    "Tier",
    "Verdict",
    "convert",
    "data",
    "file",
    "paths",
    "stream",
]
