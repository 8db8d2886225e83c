"""Reading test data without believing what it says about its own size."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

from torchkeep.core import files
from torchkeep.core.errors import Foreign
from torchkeep.core.text import visible

LIMIT = 4 << 30
"""Bytes that the samples of one test set may take, packed or unpacked."""

_CHUNK = 1 << 20


def read(path: Path) -> bytes:
    """A whole file.

    Raises:
        SourceError: It cannot be read, or is larger than :data:`LIMIT`.
    """
    return files.read(path, limit=LIMIT)


def check(size: int, name: str) -> None:
    """Refuse to make ``size`` bytes out of a file.

    Raises:
        Foreign: They are more than :data:`LIMIT`.
    """
    if size > LIMIT:
        raise Foreign(
            f"{name} unpacks to {size:,} bytes, more than the {LIMIT:,} that test data may take",
            next="keep the samples that measurements need in a file of their own",
        )


def unpacked(data: bytes) -> BinaryIO:
    """``data`` as a file, through gzip where it is packed so."""
    file = io.BytesIO(data)
    return gzip.GzipFile(fileobj=file) if data.startswith(b"\x1f\x8b") else file  # type: ignore[return-value]


def take(file: BinaryIO, length: int, name: str) -> bytes:
    """Exactly ``length`` bytes; no more is allocated than there are.

    Raises:
        Foreign: The file ends before, or is damaged.
    """
    out = bytearray()
    while len(out) < length:
        chunk = _chunk(file, min(_CHUNK, length - len(out)), name)
        if not chunk:
            raise damaged(name, f"it ends {length - len(out):,} bytes too early")
        out += chunk
    return bytes(out)


def skip(file: BinaryIO, length: int, name: str) -> None:
    """Pass over exactly ``length`` bytes, which must be all that is left.

    Raises:
        Foreign: There are more or fewer, or they are damaged.
    """
    while chunk := _chunk(file, _CHUNK, name):
        length -= len(chunk)
        if length < 0:
            raise damaged(name, "more bytes follow than its header says")
    if length:
        raise damaged(name, f"it ends {length:,} bytes too early")


def damaged(name: str, why: str) -> Foreign:
    """The error for a file that breaks its own format."""
    return Foreign(f"{name} is damaged: {why}", next="fetch it again: it may be cut short")


def shown(path: Path) -> str:
    """What to call a file in a message."""
    return visible(str(path))


def _chunk(file: BinaryIO, length: int, name: str) -> bytes:
    try:
        return file.read(length)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(name, visible(str(error))) from error
