"""Ranged reads of files, web servers and object stores.

A reader that needs a directory at the end of a file and two records in its middle should touch
those bytes and no others, wherever the file lies. So every place is a :class:`Source`: a name, a
size, and ``read(offset, length)``, which returns exactly those bytes or raises
:class:`~torchkeep.core.errors.SourceError`. A source is one version of a file: when the bytes
behind it change between two reads, the second one says so instead of mixing both.

>>> with open("model.pt") as source:  # doctest: +SKIP
...     magic = source.read(0, 4)
"""

from __future__ import annotations

import os
import re
from typing import Final

from torchkeep.core.errors import MissingExtra, UsageError
from torchkeep.core.source.base import Readable, Source
from torchkeep.core.source.buffered import Buffered
from torchkeep.core.source.local import BytesSource, FileSource, path_of
from torchkeep.core.source.reader import Reader
from torchkeep.core.text import visible

__all__ = [
    "Buffered",
    "BytesSource",
    "FileSource",
    "Readable",
    "Reader",
    "Source",
    "bucket_at",
    "object_at",
    "open",
]

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def open(location: str | os.PathLike[str]) -> Source:  # noqa: A001 - source.open, as gzip.open
    """Open a file for ranged reads.

    A string that starts like a URL is one, whatever lies in the working folder: what a name means
    must not depend on which files somebody put there. A local file with such a name is opened as
    ``./s3://...`` or as a :class:`~pathlib.Path`.

    Args:
        location: A path, or a URL with ``file://``, ``http://``, ``https://``, ``s3://``,
            ``gs://`` or ``az://``.

    Raises:
        SourceError: It cannot be read, or not in pieces.
        UsageError: The URL is malformed, or of a kind that is not known.
        MissingExtra: An object store is named and the extra ``store`` is not installed.
    """
    match = _SCHEME.match(location) if isinstance(location, str) else None
    if match is None:
        return FileSource(location)
    scheme = match[1].lower()
    rest = str(location)[match.end() :]
    # Local files are most of the work: what speaks to a network is imported when it is needed.
    if scheme == "file":
        return FileSource(path_of(rest))
    if scheme in ("http", "https"):
        from torchkeep.core.source.http import HttpSource

        return HttpSource(f"{scheme}://{rest}")
    if scheme in ("s3", "gs", "az"):
        bucket, key = _object(scheme, rest)
        try:
            from torchkeep.core.source.objects import ObjectSource
        except ImportError:
            raise MissingExtra(f"Reading {scheme}://", "store") from None
        return ObjectSource(scheme, bucket, key)
    raise UsageError(
        f"{visible(scheme)}:// is no place that torchkeep reads from",
        next="give a path, or a URL with file://, http://, https://, s3://, gs:// or az://",
    )


def object_at(location: str | os.PathLike[str]) -> tuple[str, str, str] | None:
    """Scheme, bucket and key of an object in a store; None for any other place.

    Raises:
        UsageError: The URL names no object.
    """
    match = _SCHEME.match(location) if isinstance(location, str) else None
    if match is None or match[1].lower() not in ("s3", "gs", "az"):
        return None
    scheme = match[1].lower()
    return scheme, *_object(scheme, str(location)[match.end() :])


def bucket_at(location: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Scheme and bucket of a store that a URL names or leads into; None for any other place.

    Raises:
        UsageError: The URL names no bucket.
    """
    match = _SCHEME.match(location) if isinstance(location, str) else None
    if match is None or match[1].lower() not in ("s3", "gs", "az"):
        return None
    # Some key, so that the bucket alone is held to the same rules.
    bucket = str(location)[match.end() :].partition("/")[0]
    return match[1].lower(), _object(match[1].lower(), f"{bucket}/key")[0]


def _object(scheme: str, rest: str) -> tuple[str, str]:
    """Bucket and key. A key is taken as it stands: ``?``, ``#`` and ``%`` may be part of it."""
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        raise UsageError(
            f"a {scheme}:// URL has no room for a user name or a key",
            next="put credentials into the environment variables of the store",
        )
    # obstore reads "/x" and "x/" as "x": another object than the one that is named.
    if not bucket or not key.isprintable() or {"", ".", ".."} & set(key.split("/")):
        raise UsageError(
            f"{visible(f'{scheme}://{rest}')} names no object that can be read",
            next=f"write {scheme}://BUCKET/KEY; a key has no empty parts, '.' or '..'",
        )
    return bucket, key
