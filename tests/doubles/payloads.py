"""Payloads that leave a mark where they run, and loaders that see another file than was scanned."""

from __future__ import annotations

import os
import pickle
from pathlib import Path


class Payload:
    """Makes a folder when it is unpickled: nothing else, and everybody can see it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def payload(mark: Path, protocol: int = 2) -> bytes:
    return pickle.dumps(Payload(mark), protocol)


def ran(mark: Path) -> bool:
    """Whether the payload has run; takes the mark away, so that it can be asked again."""
    if mark.exists():
        mark.rmdir()
        return True
    return False
