"""In which form weights lie, as far as it decides who loads them; told without torch."""

from __future__ import annotations

import io
import zipfile
from enum import StrEnum
from typing import BinaryIO


class Form(StrEnum):
    """The forms that can be loaded."""

    TENSORS = "safetensors"
    EXPORTED = "exported program"
    SCRIPT = "TorchScript"

    @property
    def brings_structure(self) -> bool:
        """Whether the file holds the module too, so that the entry needs no ``build``."""
        return self is not Form.TENSORS


def tell(file: BinaryIO) -> Form | None:
    """The form of the weights in ``file``; None for everything else, pickles above all.

    It chooses a loader and promises nothing: each loader checks what it is given.
    """
    if zipfile.is_zipfile(file):
        return _archive(file)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    length, brace = int.from_bytes(file.read(8), "little"), file.read(1)
    return Form.TENSORS if brace == b"{" and length <= size - 8 else None


def _archive(file: BinaryIO) -> Form | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if "constants.pkl" in names:  # where torch itself tells TorchScript from a pickled checkpoint
        return Form.SCRIPT
    return Form.EXPORTED if "archive_format" in names else None
