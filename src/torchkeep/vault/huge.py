"""Large pages for large tensors: a fresh page costs more than decrypting what it will hold."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any, Final

PAGE: Final = 2 << 20
"""Bytes of a large page."""


def advise(address: int, length: int) -> None:
    """Ask the system to back memory with large pages, where it knows the wish.

    Args:
        address: Where the memory starts.
        length: Its bytes; only whole large pages within it are asked for.
    """
    start = -(-address // PAGE) * PAGE
    end = (address + length) // PAGE * PAGE
    wish = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux; others decide by themselves
    if wish is not None and start < end:
        _madvise()(ctypes.c_void_p(start), ctypes.c_size_t(end - start), wish)


@cache
def _madvise() -> Any:
    return ctypes.CDLL(None).madvise
