"""``core.files``: what is read, up to which size."""

import errno
import os
from pathlib import Path

import pytest
from core.disk import OLD
from doubles import crash

from torchkeep.core import files
from torchkeep.core.errors import SourceError

# Reading.


@pytest.mark.parametrize("limit", [5, 6, 2_000_000, None])
def test_a_file_within_its_limit(tmp_path, limit):
    (tmp_path / "file").write_bytes(b"12345")
    assert files.read(tmp_path / "file", limit=limit) == b"12345"


@pytest.mark.parametrize(("size", "limit"), [(1, 0), (6, 5), (3_000_000, 2_000_000)])
def test_a_file_over_its_limit(tmp_path, size, limit):
    (tmp_path / "file").write_bytes(bytes(size))
    with pytest.raises(SourceError, match=f"larger than the {limit:,} bytes"):
        files.read(tmp_path / "file", limit=limit)


def test_a_file_whose_size_says_nothing():
    if Path("/proc/self/status").exists():
        assert b"Pid:" in files.read("/proc/self/status")
        with pytest.raises(SourceError, match="larger"):
            files.read("/proc/self/status", limit=10)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory"),
        ("dangling", "No such file or directory"),
        ("folder", "that is not a regular file"),
        ("pipe", "that is not a regular file"),
        ("/dev/zero", "that is not a regular file"),
        ("loop", "Too many levels of symbolic links"),
        ("null\0", "embedded null byte"),
        ("missing\n", "No such file or directory"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, reason):
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=f" cannot be read: {reason}") as caught:
        files.read(tmp_path / name)
    assert str(caught.value).isprintable()
    assert caught.value.next


@pytest.mark.parametrize(("call", "code"), [("open", errno.EACCES), ("read", errno.EIO)])
def test_a_file_that_the_system_does_not_give_out(tmp_path, call, code):
    (tmp_path / "file").write_bytes(OLD)
    with (
        crash.recording(tmp_path, fail=lambda _, name: name == call and code),
        pytest.raises(SourceError, match=os.strerror(code)),
    ):
        files.read(tmp_path / "file")
