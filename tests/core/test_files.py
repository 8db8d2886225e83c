"""``core.files``: what it writes, in which place of which name, and for whom."""

import errno
import io
import os
import signal
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from core.disk import NEW, OLD, bits, names, same_folder, scenario, umask
from doubles import crash
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core import files
from torchkeep.core.errors import Internal, UsageError

# What it does when all is well.


@same_folder
@given(st.one_of(st.binary(), st.text(st.characters(codec="utf-8"))))
def test_what_was_written_is_read(tmp_path, data):
    files.write(tmp_path / "file", data)
    expected = data.encode() if isinstance(data, str) else data
    assert files.read(tmp_path / "file") == expected
    assert names(tmp_path) == ["file"]


@same_folder
@given(st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=20)), max_size=12))
def test_the_file_can_be_sought(tmp_path, steps):
    expected = io.BytesIO()
    with files.replacing(tmp_path / "file") as file:
        for stream in (expected, file):
            for offset, data in steps:
                stream.seek(offset)
                stream.write(data)
        assert file.tell() == expected.tell()
    assert files.read(tmp_path / "file") == expected.getvalue()


def test_libraries_write_into_it(tmp_path):
    with files.replacing(tmp_path / "a.zip") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("member", "x" * 100_000)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None


def test_a_file_closed_early_is_whole(tmp_path):
    with (
        files.replacing(tmp_path / "file") as file,
        io.TextIOWrapper(file, encoding="utf-8") as text,
    ):
        text.write("whole")
    assert (tmp_path / "file").read_text() == "whole"


def test_writes_that_the_system_cuts_short_go_on(tmp_path):
    with crash.recording(tmp_path, chunk=3):
        files.write(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_the_path_may_be_relative_and_the_folder_may_change(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    with files.replacing("file") as file:
        monkeypatch.chdir(tmp_path / "inner")
        file.write(NEW)
    assert (tmp_path / "file").read_bytes() == NEW
    assert names(tmp_path / "inner") == []


# What an exception in the block leaves.


@pytest.mark.parametrize("size", [10, 3_000_000])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, SystemExit, OSError])
def test_an_exception_in_the_block_leaves_the_old_file(tmp_path, error, size):
    def leave():
        nonlocal held
        with files.replacing(tmp_path / "file") as held:
            held.write(bytes(size))
            raise error

    held = None
    files.write(tmp_path / "file", OLD)
    with pytest.raises(error):
        leave()
    assert held.closed
    assert (tmp_path / "file").read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def test_ctrl_c_from_the_keyboard(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "file"):
        signal.raise_signal(signal.SIGINT)
    assert names(tmp_path) == []


def test_what_was_buffered_never_reaches_another_file(tmp_path):
    """The buffer of a failed write must not be flushed into a descriptor that is used again."""
    with suppress(ZeroDivisionError), files.replacing(tmp_path / "file") as file:
        file.write(NEW)
        raise ZeroDivisionError
    with open(tmp_path / "other", "wb") as other:
        del file
        other.flush()
    assert (tmp_path / "other").read_bytes() == b""


def test_errors_of_the_block_are_not_told_as_ours(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="elsewhere"),
        files.replacing(tmp_path / "file") as file,
    ):
        file.write((tmp_path / "elsewhere").read_bytes())


# Names and what lies there.


def test_exclusive_never_overwrites(tmp_path):
    files.write(tmp_path / "file", OLD)
    with pytest.raises(UsageError) as caught:
        files.write(tmp_path / "file", NEW, exclusive=True)
    assert str(caught.value) == (
        f"{tmp_path}/file exists already and is never overwritten; "
        "choose another name, or move that file away"
    )
    assert (tmp_path / "file").read_bytes() == OLD


def winners(folder):
    """How many of eight writers, all past the first look, think that they made the file."""
    barrier, won = threading.Barrier(8), []

    def work(number):
        try:
            with files.replacing(folder / "file", exclusive=True) as file:
                barrier.wait(10)
                file.write(b"%d" % number)
        except UsageError:
            return
        won.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(folder) == ["file"]
    return len(won)


def no_link(source, target):
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_exclusive_has_one_winner(tmp_path):
    assert winners(tmp_path) == 1


def test_exclusive_has_one_winner_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_link)
    assert winners(tmp_path) == 1


def test_a_rename_in_place_of_the_link_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", os.replace)
    assert winners(tmp_path) == 8


def test_a_crash_without_hard_links_leaves_at_most_an_empty_file(tmp_path):
    states = scenario(tmp_path, exclusive=True, hard_links=False)
    assert {state.tree.get("file") for state in states} == {None, b"", NEW}
    assert all(state.tree["file"] == NEW for state in states if state.promises)


def test_a_failure_without_hard_links_leaves_nothing(tmp_path):
    with (
        crash.recording(
            tmp_path, hard_links=False, fail=lambda _, call: call == "replace" and errno.EIO
        ),
        pytest.raises(Internal),
    ):
        files.write(tmp_path / "file", NEW, exclusive=True)
    assert names(tmp_path) == []


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("inner/file")
    for data in (OLD, NEW):  # the link dangles at first
        files.write(tmp_path / "one", data)
        assert (tmp_path / "inner" / "file").read_bytes() == data
    assert (tmp_path / "one").readlink() == Path("two")
    assert names(tmp_path) == ["inner", "one", "two"]
    assert names(tmp_path / "inner") == ["file"]


def test_exclusive_follows_no_link(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists already"):
        files.write(tmp_path / "link", NEW, exclusive=True)
    assert names(tmp_path) == ["link"]


def test_exclusive_works_through_a_linked_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    files.write(tmp_path / "link" / "file", NEW, exclusive=True)
    assert (tmp_path / "real" / "file").read_bytes() == NEW


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("name", ["folder", "pipe", "/dev/null", "loop", ".", ""])
def test_only_a_regular_file_is_replaced(tmp_path, monkeypatch, name, exclusive):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"not a regular file|exists already|folder"):
        files.write(name, NEW, exclusive=exclusive)
    assert names(tmp_path) == ["folder", "loop", "pipe"]


@pytest.mark.parametrize("name", ["missing/file", "file/inner", "null\0", "\ud800"])
def test_a_name_that_cannot_be_is_a_usage_error(tmp_path, name):
    files.write(tmp_path / "file", OLD)
    with pytest.raises(UsageError, match="was not written") as caught:
        files.write(tmp_path / name, NEW)
    assert str(caught.value).isprintable()
    assert names(tmp_path) == ["file"]


def test_a_name_too_long(tmp_path):
    with pytest.raises(Internal, match="File name too long; choose a shorter name"):
        files.write(tmp_path / ("x" * 300), NEW)
    files.write(tmp_path / ("x" * 255), NEW)
    assert names(tmp_path) == ["x" * 255]


@pytest.mark.parametrize(
    "name",
    ["two\nlines", "\x1b[31mred", "right\u202eleft", b"\xff".decode("utf-8", "surrogateescape")],
)
def test_strange_names_are_kept_and_shown_escaped(tmp_path, name):
    files.write(tmp_path / name, NEW)
    assert files.read(tmp_path / name) == NEW
    with pytest.raises(UsageError) as caught:
        files.write(tmp_path / name, NEW, exclusive=True)
    assert str(caught.value).isprintable()


# Who may read it.


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_new_file_follows_the_umask(tmp_path, mask):
    with umask(mask):
        files.write(tmp_path / "file", NEW)
        files.write(tmp_path / "exclusive", NEW, exclusive=True)
    assert bits(tmp_path / "file") == bits(tmp_path / "exclusive") == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444, 0o755])
def test_an_existing_file_keeps_its_permission_bits(tmp_path, mode):
    files.write(tmp_path / "file", OLD)
    (tmp_path / "file").chmod(mode)
    with umask(0o077):
        files.write(tmp_path / "file", NEW)
    assert bits(tmp_path / "file") == mode


def test_no_new_content_runs_as_its_owner(tmp_path):
    files.write(tmp_path / "file", OLD)
    (tmp_path / "file").chmod(0o4755)
    files.write(tmp_path / "file", NEW)
    assert bits(tmp_path / "file") == 0o755


@pytest.mark.parametrize("mode", [0o600, 0o640, None])
def test_the_temporary_file_is_no_more_readable_than_the_file(tmp_path, mode):
    if mode:
        files.write(tmp_path / "file", OLD)
        (tmp_path / "file").chmod(mode)
    with umask(0), files.replacing(tmp_path / "file", private=mode is None) as file:
        file.write(NEW)
        assert [bits(path) for path in tmp_path.glob(".torchkeep-*.tmp")] == [0o600]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("hard_links", [False, True])
def test_a_private_file_is_the_owners_alone(tmp_path, exclusive, hard_links):
    with umask(0), crash.recording(tmp_path, hard_links=hard_links):
        files.write(tmp_path / "key", NEW, exclusive=exclusive, private=True)
    assert bits(tmp_path / "key") == 0o600


def test_a_private_file_takes_nothing_from_a_looser_one(tmp_path):
    files.write(tmp_path / "key", OLD)
    (tmp_path / "key").chmod(0o666)
    files.write(tmp_path / "key", NEW, private=True)
    assert bits(tmp_path / "key") == 0o600


def test_root_leaves_a_file_to_its_owner_unless_it_is_private(tmp_path):
    files.write(tmp_path / "file", OLD)
    try:
        os.chown(tmp_path / "file", 12345, 54321)
    except OSError:
        pytest.skip("only root may give a file away")
    files.write(tmp_path / "file", NEW)
    after = (tmp_path / "file").stat()
    assert (after.st_uid, after.st_gid) == (12345, 54321)
    files.write(tmp_path / "file", NEW, private=True)
    assert (tmp_path / "file").stat().st_uid == 0
