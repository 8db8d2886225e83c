r"""Is this model file safe to load? Answered from bytes alone; nothing in a file is executed.

    >>> from torchkeep import scan
    >>> scan.data(b"\x80\x04N.", "nothing.pkl").verdict
    <Verdict.CLEAN: 'clean'>

A file is looked at in every reading that a loader might have (:mod:`torchkeep.scan.dispatch`); its
pickles are followed, never unpickled (:mod:`torchkeep.scan.pickle`), and what they may look up is
an exact list. The verdict depends on bytes and policy alone: not on the name, not on what is
installed. What was not scanned is never called clean.
"""

from torchkeep.scan.files import data, file, paths, stream
from torchkeep.scan.formats.texts import MODEL_SUFFIXES
from torchkeep.scan.pickle.policy import Tier
from torchkeep.scan.verdict import FileReport, Issue, Report, Verdict

__all__ = [
    "MODEL_SUFFIXES",
    "FileReport",
    "Issue",
    "Report",
    "Tier",
    "Verdict",
    "data",
    "file",
    "paths",
    "stream",
]
