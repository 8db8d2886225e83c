"""Sources on this machine, and what holds for every source."""

import gzip
import io
import os
import random
import socket
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from doubles.http import FileServer
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.core import source
from torchkeep.core.errors import MissingExtra, SourceError, UsageError
from torchkeep.core.source import Buffered, BytesSource, FileSource, Reader

DATA = random.Random(0).randbytes(40_000)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The same bytes in every kind of source that needs no other package."""
    path = tmp_path_factory.mktemp("source") / "data.bin"
    path.write_bytes(DATA)
    with FileServer(DATA) as server, pytest.MonkeyPatch.context() as patch:
        patch.delenv("http_proxy", raising=False)
        opened = {
            "memory": BytesSource(DATA),
            "file": source.open(path),
            "http": source.open(server.url),
            "buffered": Buffered(BytesSource(DATA), block=100, keep=3),
            "buffered http": Buffered(source.open(server.url), block=1000),
        }
        yield opened
        for each in opened.values():
            each.close()


KINDS = ("memory", "file", "http", "buffered", "buffered http")


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(first=st.integers(0, len(DATA)), second=st.integers(0, len(DATA)))
def test_a_read_is_a_slice(places, kind, first, second):
    start, end = sorted((first, second))
    assert places[kind].read(start, end - start) == DATA[start:end]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(offsets=st.lists(st.integers(0, len(DATA) - 1), min_size=2, max_size=9))
def test_small_reads_in_any_order_are_slices(places, kind, offsets):
    for offset in offsets:
        length = min(20, len(DATA) - offset)
        assert places[kind].read(offset, length) == DATA[offset : offset + length]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("offset", "length"), [(0, 40_001), (40_000, 1), (10**18, 1), (-1, 1), (5, -1), (40_001, 0)]
)
def test_what_the_file_does_not_have_is_an_error(places, kind, offset, length):
    with pytest.raises(SourceError, match=f"has 40000 bytes; {length} from byte {offset} on"):
        places[kind].read(offset, length)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_read_at_once(places, kind):
    def piece(offset):
        return places[kind].read(offset, 1000) == DATA[offset : offset + 1000]

    offsets = random.Random(1).choices(range(39_000), k=200)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(piece, offsets))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_over_it_reads_like_one(places, kind):
    ours, real = places[kind].file(buffer=512), io.BytesIO(DATA)
    with ours:
        for act in (
            lambda file: file.read(10),
            lambda file: file.seek(-100, os.SEEK_END),
            lambda file: file.read(),
            lambda file: file.seek(100_000),
            lambda file: file.read(1),
            lambda file: file.seek(1234),
            lambda file: file.seek(10, os.SEEK_CUR),
            lambda file: file.read(5000),
            lambda file: file.tell(),
            lambda file: file.readline(),
        ):
            assert act(ours) == act(real)
        assert not ours.writable()
    assert places[kind].read(0, 4) == DATA[:4]


def test_a_closed_source_is_not_read(tmp_path):
    (tmp_path / "data").write_bytes(DATA)
    for each in (BytesSource(DATA), FileSource(tmp_path / "data"), Buffered(BytesSource(DATA))):
        with each:
            each.read(0, 10)
        each.close()
        with pytest.raises(ValueError, match="is closed"):
            each.read(0, 10)


def test_closing_the_buffer_closes_what_it_reads():
    inner = BytesSource(DATA)
    Buffered(inner).close()
    with pytest.raises(ValueError, match="is closed"):
        inner.read(0, 1)


class TestReader:
    @staticmethod
    def checkpoint():
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("model/data.pkl", DATA[:5000])
            for number in range(300):
                archive.writestr(f"model/data/{number}", DATA)
        return file.getvalue()

    def test_the_directory_and_the_pickle_of_a_checkpoint_are_one_percent_of_it(self):
        data = self.checkpoint()
        with FileServer(data) as server, Buffered(source.open(server.url)) as remote:
            with zipfile.ZipFile(remote.file()) as archive:
                assert len(archive.namelist()) == 301
                assert archive.read("model/data.pkl") == DATA[:5000]
            assert remote.bytes_read <= 0.01 * len(data)
            assert remote.requests == len(server.requests) <= 3

    def test_no_archive_is_no_archive(self):
        with Reader(BytesSource(b"tiny")) as file:
            assert not zipfile.is_zipfile(file)

    def test_a_fault_is_not_taken_for_another_format(self, tmp_path):
        path = tmp_path / "model.pt"
        path.write_bytes(self.checkpoint())
        with FileSource(path) as file:
            path.write_bytes(b"")
            with pytest.raises(SourceError, match="changed"):
                zipfile.ZipFile(file.file())

    def test_tar_and_gzip_read_it(self):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            info = tarfile.TarInfo("weights")
            info.size = len(DATA)
            archive.addfile(info, io.BytesIO(DATA))
        with tarfile.open(fileobj=BytesSource(file.getvalue()).file()) as archive:
            assert archive.extractfile("weights").read() == DATA
        with gzip.open(BytesSource(gzip.compress(DATA)).file()) as unpacked:
            assert unpacked.read() == DATA

    def test_a_position_is_checked(self):
        with Reader(BytesSource(DATA)) as file:
            with pytest.raises(OSError, match="Invalid argument"):
                file.seek(-1)
            with pytest.raises(ValueError, match="whence is 7"):
                file.seek(0, 7)


class TestBuffered:
    def test_near_reads_are_one_request(self):
        inner = BytesSource(DATA)
        buffered = Buffered(inner, block=1024)
        for offset in range(0, 2000, 20):
            buffered.read(offset, 20)
        assert (buffered.requests, buffered.bytes_read) == (2, 2048)

    def test_two_blocks_at_once_are_one_request(self):
        buffered = Buffered(BytesSource(DATA), block=1024)
        buffered.read(1000, 100)
        assert (buffered.requests, buffered.bytes_read) == (1, 2048)

    def test_the_oldest_block_goes_first(self):
        buffered = Buffered(BytesSource(DATA), block=100, keep=2)
        for offset in (0, 100, 0, 200, 0):  # 0 is used again and stays, 100 goes
            buffered.read(offset, 10)
        assert buffered.requests == 3
        buffered.read(100, 10)
        assert buffered.requests == 4

    def test_a_long_read_goes_straight_through(self):
        buffered = Buffered(BytesSource(DATA), block=100)
        buffered.read(50, 5000)
        assert (buffered.requests, buffered.bytes_read) == (1, 5000)
        buffered.read(50, 10)
        assert buffered.requests == 2

    def test_it_is_the_same_file(self):
        inner = BytesSource(DATA, "model.pt")
        buffered = Buffered(inner)
        assert (buffered.name, buffered.size, buffered.version) == (inner.name, 40_000, "")


class TestFile:
    def test_it_counts_what_it_touches(self, tmp_path):
        path = tmp_path / "data"
        path.write_bytes(DATA)
        with FileSource(path) as file:
            file.read(100, 50)
            file.read(39_000, 1000)
            assert (file.size, file.requests, file.bytes_read) == (40_000, 2, 1050)

    def test_it_goes_on_after_a_short_read(self, tmp_path, monkeypatch):
        path = tmp_path / "data"
        path.write_bytes(DATA)
        whole = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, length, at: whole(fd, min(length, 999), at))
        with FileSource(path) as file:
            assert file.read(17, 30_000) == DATA[17:30_017]

    def test_an_empty_file_has_no_bytes(self, tmp_path):
        (tmp_path / "empty").touch()
        with FileSource(tmp_path / "empty") as file:
            assert file.size == 0
            assert file.read(0, 0) == b""
            assert file.file().read() == b""
            with pytest.raises(SourceError, match="has 0 bytes"):
                file.read(0, 1)

    @pytest.mark.parametrize("change", ["written", "cut", "grown"])
    def test_a_file_that_changes_is_not_read_on(self, tmp_path, change):
        path = tmp_path / "data"
        path.write_bytes(DATA)
        with FileSource(path) as file:
            file.read(0, 100)
            match change:
                case "written":
                    path.write_bytes(DATA[::-1])
                    os.utime(path, ns=(0, 0))  # a tick of the clock may not have passed
                case "cut":
                    os.truncate(path, 50)
                case "grown":
                    os.truncate(path, 50_000)
            with pytest.raises(SourceError, match="changed while it was read; read it again"):
                file.read(0, 100)

    def test_a_write_during_the_read_is_seen(self, tmp_path, monkeypatch):
        path = tmp_path / "data"
        path.write_bytes(DATA)
        whole = os.pread

        def interrupted(fd, length, offset):
            piece = whole(fd, length // 2 or 1, offset)
            os.utime(path, ns=(0, 0))
            return piece

        monkeypatch.setattr(os, "pread", interrupted)
        with FileSource(path) as file, pytest.raises(SourceError, match="changed"):
            file.read(0, 100)

    def test_a_file_that_is_replaced_stays_what_it_was(self, tmp_path):
        path = tmp_path / "data"
        path.write_bytes(DATA)
        with FileSource(path) as file:
            (tmp_path / "new").write_bytes(b"other")
            (tmp_path / "new").replace(path)
            assert file.read(0, 40_000) == DATA
            with FileSource(path) as other:
                assert other.version != file.version

    @pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
    def test_what_is_no_file_is_refused_and_never_waited_for(self, tmp_path, kind):
        path = tmp_path / "odd"
        with socket.socket(socket.AF_UNIX) as listener:
            match kind:
                case "pipe":
                    os.mkfifo(path)
                case "folder":
                    path.mkdir()
                case "socket":
                    listener.bind(str(path))
                case "device":
                    path = "/dev/zero"
            with pytest.raises(SourceError, match=f"is a {kind}, expected a file"):
                FileSource(path)

    def test_a_pipe_that_takes_the_place_is_not_waited_for(self, tmp_path, monkeypatch):
        path = tmp_path / "data"
        path.write_bytes(DATA)
        real = os.open

        def swapped(name, flags, *rest):
            path.unlink()
            os.mkfifo(path)
            return real(name, flags, *rest)

        monkeypatch.setattr(os, "open", swapped)
        with pytest.raises(SourceError, match="is a pipe"):
            FileSource(path)

    def test_a_writer_at_a_pipe_is_not_disturbed(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        opened = threading.Event()

        def write():
            with open(tmp_path / "pipe", "wb"):
                opened.set()

        writer = threading.Thread(target=write)
        writer.start()
        with pytest.raises(SourceError, match="is a pipe"):
            FileSource(tmp_path / "pipe")
        assert not opened.wait(0.1)
        with open(tmp_path / "pipe", "rb"):
            writer.join()

    def test_what_is_not_there_is_named(self, tmp_path):
        with pytest.raises(SourceError, match=r"no\\nne cannot be read: No such file or directory"):
            FileSource(tmp_path / "no\nne")
        with pytest.raises(SourceError, match=r"a\\x00b is no file name"):
            FileSource("a\0b")

    def test_what_may_not_be_read_is_named(self, tmp_path):
        path = tmp_path / "secret"
        path.write_bytes(DATA)
        path.chmod(0)
        if os.geteuid() == 0:  # whom no mode keeps out: be another user for a moment
            os.seteuid(65534)
        try:
            with pytest.raises(SourceError, match="cannot be read: Permission denied"):
                FileSource(path)
        finally:
            if os.getuid() == 0:
                os.seteuid(0)

    def test_a_disk_that_fails_is_named(self, tmp_path, monkeypatch):
        path = tmp_path / "data"
        path.write_bytes(DATA)

        def fails(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pread", fails)
        with FileSource(path) as file, pytest.raises(SourceError, match="Input/output error"):
            file.read(0, 1)


class TestOpen:
    def test_a_file_url_is_a_path(self, tmp_path):
        path = tmp_path / "a b?c#d%é"
        path.write_bytes(DATA)
        rest = str(tmp_path / "a%20b?c#d%25%C3%A9")
        for location in (path, str(path), f"file://{rest}", f"FILE://localhost{rest}"):
            with source.open(location) as file:
                assert file.read(0, 40_000) == DATA

    @pytest.mark.parametrize("location", ["file://other/data", "file://", "file://data"])
    def test_a_file_url_of_another_machine_is_refused(self, location):
        with pytest.raises(UsageError, match="names no file of this machine"):
            source.open(location)

    def test_a_string_like_a_url_is_one_whatever_lies_here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = tmp_path / "memory:" / "data"
        path.parent.mkdir()
        path.write_bytes(DATA)
        for local in ("./memory://data", "memory:/data", path):
            with source.open(local) as file:
                assert file.size == 40_000
        with pytest.raises(UsageError, match="memory:// is no place") as caught:
            source.open("memory://data")
        assert "s3://" in caught.value.next

    def test_a_name_with_slashes_before_the_colon_is_a_path(self):
        with pytest.raises(SourceError, match="No such file"):
            source.open("folder/s3://data")

    @pytest.mark.parametrize(
        "rest",
        ["", "bucket", "bucket/", "/key", "bucket//key", "bucket/a/../b", "bucket/a/", "b/k\n"],
    )
    def test_an_object_needs_a_bucket_and_a_key(self, rest):
        with pytest.raises(UsageError, match="names no object"):
            source.open(f"s3://{rest}")

    def test_credentials_in_an_object_url_are_refused_and_not_shown(self):
        with pytest.raises(UsageError) as caught:
            source.open("s3://AKID:hunter2@bucket/key")
        assert "hunter2" not in str(caught.value)
        assert "AKID" not in str(caught.value)

    def test_a_missing_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchkeep.core.source.objects", None)
        with pytest.raises(MissingExtra, match=r"pip install 'torchkeep\[store\]'"):
            source.open("gs://bucket/key")
