"""Places that are written whole or not at all: files, and objects in stores.

:func:`replacing` is that of :mod:`torchkeep.core.files` for a path, and the same for a URL of an
object store: what is written goes up in parts that nobody sees, and appears under its key,
complete, when the ``with`` block ends.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import BinaryIO

from torchkeep.core import files
from torchkeep.core.errors import MissingExtra
from torchkeep.core.source import object_at

__all__ = ["replacing"]


def replacing(
    place: str | os.PathLike[str], *, exclusive: bool = False
) -> AbstractContextManager[BinaryIO]:
    """Open a new file or object that takes its place when the ``with`` block ends.

    An exception in the block leaves what was there as it was. Of a process that is killed, parts
    that nobody sees may stay in a store until its lifecycle rules remove them.

    Args:
        place: A path, or a URL with ``s3://``, ``gs://`` or ``az://``.
        exclusive: Whether the name must be free: nothing is ever overwritten then.

    Raises:
        UsageError: The name is taken, or names no place to write to.
        Internal: The disk, or the store, refused.
        MissingExtra: An object store is named and the extra ``store`` is not installed.
    """
    found = object_at(place)
    if found is None:
        return files.replacing(place, exclusive=exclusive)
    try:
        from torchkeep.core.sink.uploads import uploading
    except ImportError:
        raise MissingExtra(f"Writing {found[0]}://", "store") from None
    return uploading(*found, exclusive=exclusive)
