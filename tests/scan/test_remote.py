"""Of a file that is not on this machine only what matters is fetched."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from doubles.http import FileServer

from torchkeep import scan
from torchkeep.scan import Verdict

torch = pytest.importorskip("torch")

TENSORS = 300


class Body:
    """The bytes of a file with holes, as a server slices them; none of the holes is ever held."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._size = path.stat().st_size
        self.served = 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, span: slice) -> bytes:
        data = os.pread(self._file.fileno(), span.stop - span.start, span.start)
        self.served += len(data)
        return data

    def close(self) -> None:
        self._file.close()


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of 200 MB of which only the records beside the tensors are on the disk."""
    path = tmp_path / "large.pt"
    weights = {f"layer.{n}.weight": torch.empty(166_666) for n in range(TENSORS)}
    with torch.serialization.skip_data():
        torch.save(weights, path)
    body = Body(path)
    yield body
    body.close()


def test_of_a_large_checkpoint_a_hundredth_is_fetched(checkpoint):
    with FileServer(checkpoint) as server:
        report = scan.file(server.url)
    assert report.verdict is Verdict.CLEAN
    assert len(checkpoint) > 200_000_000
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
