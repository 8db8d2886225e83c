"""A zip archive as its readers see it: by the directory at its end, and by the headers before it.

Python's :mod:`zipfile`, the reader of torch and tools that read a stream believe different fields.
Where all fields agree, all readers see the same archive; :func:`read` says where they do not.
"""

from torchkeep.scan.zip.archive import Archive, Member, Problem, read
from torchkeep.scan.zip.content import METHODS, opened
from torchkeep.scan.zip.series import series

__all__ = ["METHODS", "Archive", "Member", "Problem", "opened", "read", "series"]
