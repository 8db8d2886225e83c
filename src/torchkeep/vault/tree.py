"""The digest tree over the chunks as they stand in the file.

Digests of chunks are hashed in pages of 1,024, and the pages to the root: whoever reads one chunk
checks it with one page and the list of pages, not with the digests of the whole file.
"""

from __future__ import annotations

from typing import Final

from torchkeep.vault.suite import Suite

PAGE: Final = 1024
"""Digests in a page."""

_LENGTH: Final = 32


def leaf(suite: Suite, chunk: bytes | memoryview) -> bytes:
    """The digest of a chunk, with its tag."""
    out = suite.hash(b"\0")
    out.update(chunk)
    return out.digest()


def pages(suite: Suite, digests: bytes | bytearray) -> bytes:
    """The hashes of all pages, one after the other."""
    step = PAGE * _LENGTH
    view = memoryview(digests)
    return b"".join(page(suite, view[at : at + step]) for at in range(0, len(digests), step))


def page(suite: Suite, digests: bytes | memoryview) -> bytes:
    """The hash of one page of digests."""
    out = suite.hash(b"\1")
    out.update(digests)
    return out.digest()


def root(suite: Suite, count: int, all_pages: bytes) -> bytes:
    """The root over all pages of ``count`` digests."""
    out = suite.hash(b"\2" + count.to_bytes(8, "little"))
    out.update(all_pages)
    return out.digest()


def sizes(count: int) -> tuple[int, int]:
    """Bytes of the digests and of the pages of ``count`` chunks."""
    return count * _LENGTH, -(-count // PAGE) * _LENGTH
