"""Objects in stores are whole or absent, whatever happens on the way."""

from __future__ import annotations

import random

import pytest
from servers import faults

from torchkeep.core import sink
from torchkeep.core.errors import Internal, TorchkeepError, UsageError

DATA = random.Random(1).randbytes(300_000)
PART = 64 << 10
SIZES = [0, 1, PART - 1, PART, PART + 1, 300_000]
SMALL, LARGE = DATA[:1000], DATA


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of a size that tests can afford; moto takes them."""
    uploads = pytest.importorskip("torchkeep.core.sink.uploads", reason="needs torchkeep[store]")
    monkeypatch.setattr(uploads, "PART", PART)
    monkeypatch.setattr("torchkeep.core.source.objects._RETRY", {"max_retries": 1})
    monkeypatch.setattr("torchkeep.core.sink.s3._ATTEMPTS", 2)


@pytest.fixture(autouse=True)
def tiny_parts(s3, monkeypatch):
    moto = pytest.importorskip("moto.s3.models")
    monkeypatch.setattr(moto, "S3_UPLOAD_PART_MIN_SIZE", 1)


def fail(url: str, data: bytes, then) -> None:
    """Write, and have something happen before the end."""
    with sink.replacing(url, exclusive=True) as file:
        file.write(data)
        then()


def write(url: str, data: bytes, *, exclusive: bool = True) -> None:
    with sink.replacing(url, exclusive=exclusive) as file:
        for at in range(0, len(data), 10_007):
            file.write(data[at : at + 10_007])


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_there(s3, size):
    write(f"{s3.url}/x", DATA[:size])
    assert s3.get("x") == DATA[:size]
    assert (s3.names(), s3.uploads()) == (["x"], [])


@pytest.mark.parametrize("size", [1000, 300_000])
def test_nothing_is_seen_before_the_end(s3, size):
    with sink.replacing(f"{s3.url}/x") as file:
        file.write(DATA[:size])
        assert s3.names() == []
    assert s3.get("x") == DATA[:size]


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_what_fails_leaves_nothing(s3, data):
    with pytest.raises(ZeroDivisionError):
        fail(f"{s3.url}/x", data, lambda: 1 / 0)
    assert (s3.names(), s3.uploads()) == ([], [])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_name_that_is_taken_stays(s3, data):
    s3.put("x", b"old")
    with pytest.raises(UsageError, match="exists already and is never overwritten"):
        write(f"{s3.url}/x", data)
    assert s3.get("x") == b"old"
    write(f"{s3.url}/x", data, exclusive=False)
    assert s3.get("x") == data


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_name_that_is_taken_meanwhile_stays(s3, data):
    with pytest.raises(UsageError, match="exists already"):
        fail(f"{s3.url}/x", data, lambda: s3.put("x", b"other"))
    assert (s3.get("x"), s3.uploads()) == (b"other", [])


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize(("data", "last"), [(SMALL, "PUT"), (LARGE, "POST")], ids=["s", "l"])
def test_a_lost_answer_is_success(s3, data, last, exclusive):
    def ends(asked):
        return asked.method == last and "uploads" not in asked.target

    s3.proxy.does(faults.lost, ends, times=1)
    write(f"{s3.url}/x", data, exclusive=exclusive)
    assert s3.get("x") == data
    s3.proxy.does(faults.lost, ends)  # however often
    write(f"{s3.url}/y", data, exclusive=exclusive)
    assert s3.get("y") == data


FAULTS = {
    "reset": faults.reset,
    "lost": faults.lost,
    "500": faults.status(500),
    "403": faults.status(403),
    "short": faults.short,
    "swapped": faults.swapped,
}


@pytest.mark.parametrize("times", [1, 1_000_000], ids=["once", "always"])
@pytest.mark.parametrize(
    ("data", "method"),
    [(SMALL, "HEAD"), (SMALL, "PUT"), (LARGE, "PUT"), (LARGE, "POST")],
)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_fault_is_success_or_a_typed_error(s3, data, fault, method, times):
    s3.proxy.does(fault, lambda asked: asked.method == method, times=times)
    told = ""
    try:
        write(f"{s3.url}/x", data)
    except TorchkeepError as error:
        told = str(error)
    assert "hunter2" not in told
    assert told or s3.names() == ["x"]
    assert all(s3.get(name) == data for name in s3.names())


def test_a_store_that_is_not_there(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Internal, match="no store answered as expected"):
        write("s3://bucket/x", SMALL)


def test_a_bucket_that_is_not_there(s3):
    with pytest.raises(Internal, match="NoSuchBucket"):
        write("s3://elsewhere/x", SMALL)


class TestOthers:
    """Stores whose uploads end without a condition, as obstore's own store in memory plays them."""

    @pytest.fixture
    def memory(self, monkeypatch):
        from obstore.store import MemoryStore

        from torchkeep.core.sink import objects

        store = MemoryStore()
        monkeypatch.setattr(objects, "store_of", lambda *_: store)
        return store

    @staticmethod
    def held(store) -> dict[str, bytes]:
        import obstore

        found = [one["path"] for page in obstore.list(store) for one in page]
        return {path: obstore.get(store, path).bytes().to_bytes() for path in found}

    @pytest.mark.parametrize("scheme", ["gs", "az"])
    @pytest.mark.parametrize("size", SIZES)
    def test_what_is_written_is_there(self, memory, scheme, size):
        write(f"{scheme}://bucket/x", DATA[:size])
        assert self.held(memory) == {"x": DATA[:size]}

    @pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
    def test_a_name_that_is_taken_meanwhile_stays(self, memory, data):
        with pytest.raises(UsageError, match="exists already"):
            fail("gs://bucket/x", data, lambda: memory.put("x", b"other"))
        assert self.held(memory) == {"x": b"other"}
        write("gs://bucket/x", data, exclusive=False)
        assert self.held(memory) == {"x": data}

    def test_a_lost_answer_is_success(self, memory, monkeypatch):
        import obstore
        from obstore.exceptions import AlreadyExistsError

        def lost(*arguments, copy=obstore.copy, **options):
            copy(*arguments, **options)
            raise AlreadyExistsError("it was repeated")

        monkeypatch.setattr(obstore, "copy", lost)
        write("gs://bucket/x", LARGE)
        assert self.held(memory) == {"x": LARGE}

    def test_what_fails_leaves_nothing(self, memory):
        with pytest.raises(ZeroDivisionError):
            fail("gs://bucket/x", LARGE, lambda: 1 / 0)
        assert self.held(memory) == {}


def test_a_path_is_a_file(tmp_path):
    write(str(tmp_path / "x"), SMALL)
    assert (tmp_path / "x").read_bytes() == SMALL
