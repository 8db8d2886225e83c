"""Key blocks of sealed objects in stores, where nothing can be appended.

All blocks of the object ``NAME``, from the first one on, lie in the object ``NAME.keys``: the first
rewrap makes it, and each later one replaces what it has read, or nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

from torchkeep.core import sink, source
from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.source import Source, object_at
from torchkeep.vault import blocks
from torchkeep.vault.errors import Damaged

if TYPE_CHECKING:  # needs the extra `store`
    from torchkeep.core.sink.objects import Store

Location = str | os.PathLike[str]

SUFFIX: Final = ".keys"


class Joined(Source):
    """A sealed object and the key blocks that lie beside it, as one file.

    Args:
        location: Where the object lies.
        main: The object; closing this closes it.

    Raises:
        Damaged: What lies beside it is no key block of this file.
        SourceError: The store does not serve it.
    """

    def __init__(self, location: Location, main: Source) -> None:
        super().__init__(main.name)
        self._location, self._main = location, main
        self._store, self._key = _keys_of(location)
        self._held = self._store.fetch(self._key, blocks.MOST_BYTES)
        self.version, self.size = main.version, main.size
        self._at = main.size
        if self._held is not None:
            self._at = self._first(self._held.data)
            self.size = self._at + len(self._held.data)

    @property
    def requests(self) -> int:
        """How often the store was asked for the two objects."""
        return self._main.requests + 1

    @property
    def bytes_read(self) -> int:
        """How many bytes of the two came from there."""
        return self._main.bytes_read + (len(self._held.data) if self._held else 0)

    def close(self) -> None:
        """Close the object."""
        super().close()
        self._main.close()

    def put(self, keys: bytes) -> None:
        """Put key blocks beside the object.

        Args:
            keys: All blocks, from the first one on.

        Raises:
            SourceError: Somebody else has sealed it anew or for others meanwhile.
            Internal: The store refused.
        """
        store, key, held = self._store, self._key, self._held
        try:
            store.put(key, keys, exclusive=held is None, instead_of=held)
        except UsageError:
            raise SourceError(
                f"{self.name} was sealed for others by somebody else meanwhile", next="run it again"
            ) from None
        with source.open(self._location) as now:
            if now.version == self.version:
                return
        # A file that was sealed anew in between must not be left with key blocks of the old one.
        store.remove(key)
        raise SourceError(f"{self.name} was sealed anew meanwhile", next="run it again")

    def _first(self, keys: bytes) -> int:
        """Where the first block starts, which stands in both objects."""
        at = self._main.size - blocks.reach(keys)
        if not 0 < at < self._main.size:
            raise Damaged(self.name, f"its key blocks in {SUFFIX} have no start")
        if not keys.startswith(self._main.read(at, self._main.size - at)):
            raise Damaged(self.name, f"its key blocks in {SUFFIX} belong to another file")
        return at

    def _read(self, offset: int, length: int) -> bytes:
        near = max(0, min(length, self._at - offset))
        data = self._main.read(offset, near) if near else b""
        if self._held is not None and near < length:
            start = offset + near - self._at
            data += self._held.data[start : start + length - near]
        return data


def joined(location: Location, opened: Source) -> Source:
    """What is open, buffered; an object in a store with the key blocks that lie beside it.

    Raises:
        Damaged: What lies beside it is no key block of this file.
        SourceError: The store does not serve it.
    """
    buffered = source.Buffered(opened)
    if object_at(location) is None:
        return buffered
    try:
        return Joined(location, buffered)
    except BaseException:
        opened.close()
        raise


@contextmanager
def replacing(place: Location, *, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Write a sealed file, as :func:`torchkeep.core.sink.replacing` does.

    Key blocks that lie beside a sealed object of that name go with it.

    Raises:
        UsageError: The name is taken, or such blocks are all that is left of an object.
    """
    in_store = object_at(place) is not None
    with sink.replacing(place, exclusive=exclusive) as file:
        if in_store and exclusive:
            store, key = _keys_of(place)
            if store.exists(key):
                raise store.taken(key)
        yield file
    if in_store and not exclusive:
        store, key = _keys_of(place)
        store.remove(key)


def _keys_of(location: Location) -> tuple[Store, str]:
    """The object with the key blocks of another."""
    from torchkeep.core.sink.objects import Store

    found = object_at(location)
    if found is None:
        raise ValueError(f"{location!s} is no object in a store")
    scheme, bucket, key = found
    return Store(scheme, bucket), key + SUFFIX
