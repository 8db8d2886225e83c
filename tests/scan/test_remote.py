"""Of a file that is not on this machine only what matters is fetched."""

from __future__ import annotations

import io
import zipfile

import pytest
from doubles.http import FileServer
from doubles.sparse import Body
from doubles.sparse import checkpoint as sparse

from torchkeep import scan
from torchkeep.scan import Verdict

pytest.importorskip("torch")

SIZE, TENSORS = 200_000_000, 300


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of 200 MB of which only the records beside the tensors are on the disk."""
    path = tmp_path / "large.pt"
    sparse(path, SIZE, TENSORS)
    body = Body(path)
    yield body
    body.close()


def test_of_a_large_checkpoint_a_hundredth_is_fetched(checkpoint):
    with FileServer(checkpoint) as server:
        report = scan.file(server.url)
    assert report.verdict is Verdict.CLEAN
    assert len(checkpoint) > 0.99 * SIZE
    assert checkpoint.served <= len(checkpoint) / 100
    # Each tensor has a header of its own, far from the next one; all else takes a few requests.
    assert len(server.requests) <= TENSORS + 15


def test_small_members_are_fetched_many_at_a_time():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for number in range(2000):
            made.writestr(f"{number}.txt", "words")
    with FileServer(out.getvalue()) as server:
        assert scan.file(server.url).issues == []
    assert len(server.requests) <= 100
