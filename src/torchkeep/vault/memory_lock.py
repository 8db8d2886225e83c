"""Memory for secrets: kept out of swap and of core dumps, and wiped when it has served.

This is as much as Python allows. Memory that Python and OpenSSL make on their own, such as the text
of a key while it is parsed and a cipher's own copy, is given back unwiped; what keeps that out of
core dumps is :func:`forbid_dumps`, and out of swap an encrypted swap.
"""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from typing import Final, Self

from torchkeep.core.errors import Internal

_SET_DUMPABLE: Final = 4  # PR_SET_DUMPABLE, prctl(2)


class Buffer:
    """Bytes of our own that are wiped when the ``with`` block ends.

    Locking may fail, since a user may lock only so much memory (``ulimit -l``); then the bytes can
    reach the swap, and :attr:`is_locked` says so.

    Args:
        length: Bytes that it holds, zeros at first.

    Attributes:
        view: The bytes.
        is_locked: Whether the system keeps them out of swap.
    """

    def __init__(self, length: int) -> None:
        self._map = mmap.mmap(-1, max(1, length))
        with suppress(AttributeError, OSError):  # not on this system
            self._map.madvise(mmap.MADV_DONTDUMP)
        self.is_locked = self._call("mlock")
        self.view = memoryview(self._map)[:length]

    def wipe(self) -> None:
        """Put zeros over the bytes and give the memory back; nothing can be read after that."""
        if self._map.closed:
            return
        self._map[:] = bytes(len(self._map))
        self.view.release()
        self._call("munlock")
        with suppress(BufferError):  # somebody still holds a part of the zeros
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def _call(self, name: str) -> bool:
        start = ctypes.c_char.from_buffer(self._map)
        try:
            call = getattr(ctypes.CDLL(None), name)
            size = ctypes.c_size_t(len(self._map))
            return bool(call(ctypes.c_void_p(ctypes.addressof(start)), size) == 0)
        except (AttributeError, OSError, TypeError):  # a system without that call
            return False


def forbid_dumps() -> None:
    """Have the system write no core dump of this process, and let no other process look into it.

    It holds from now on and for all threads. On systems other than Linux only the size of core
    dumps is set to zero.

    Raises:
        Internal: The system refused.
    """
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    except (ValueError, OSError) as error:
        raise _refused() from error
    if prctl is not None and prctl(_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise _refused()


def _refused() -> Internal:
    return Internal(
        "the system does not let this process forbid core dumps",
        next="run it where a process may lower its own limits",
    )
