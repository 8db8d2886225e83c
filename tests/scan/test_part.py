"""Pieces of a source give their own bytes and no others."""

from __future__ import annotations

import pytest

from torchkeep.core.errors import SourceError
from torchkeep.core.source import BytesSource
from torchkeep.scan.part import Held, Part

PIECES = [Part(BytesSource(b"0123456789"), 3, 4), Held(b"3456")]


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_has_its_own_bytes(piece):
    assert (piece.size, piece.read(0, 4), piece.read(1, 2), piece.read(4, 0)) == (
        4, b"3456", b"45", b"",
    )  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, 5), (4, 1), (1, -1), (9, 0)])
def test_a_piece_has_no_bytes_of_its_neighbours(piece, offset, length):
    with pytest.raises(SourceError, match="4 bytes"):
        piece.read(offset, length)
