"""``core.files``: what is put behind the end of a file, folders built whole, and locks."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from core.disk import FAILURES, is_folder, names, same_folder
from doubles import crash
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core import files
from torchkeep.core.errors import Internal, SourceError, UsageError

OLD, MORE = b"old" * 9, b"more!" * 5


def seen(tree) -> bytes:
    """What whoever knows the format sees: the note counts where the end is not the new one."""
    content, note = tree["file"], tree.get("file.append")
    if content == OLD + MORE or note is None or len(note) != 28:
        return content
    return content[: int.from_bytes(note[20:], "little")]


def states(folder, mutant=None):
    """Every state that a crash may leave of one append to ``file``."""
    (folder / "file").write_bytes(OLD)
    with crash.recording(folder, chunk=17) as disk:
        if mutant:
            mutant(disk)
        files.append(folder / "file", MORE, len(OLD))
        disk.promise("appended")
    return list(disk.states())


def violations(found):
    return [
        state
        for state in found
        if seen(state.tree) != OLD + MORE
        and (seen(state.tree) != OLD or "appended" in state.promises)
    ]


def test_a_crash_leaves_the_old_or_the_new_end(tmp_path):
    found = states(tmp_path)
    assert violations(found) == []
    assert {seen(state.tree) for state in found} == {OLD, OLD + MORE}
    assert names(tmp_path) == ["file"]


@same_folder
@given(st.binary(max_size=40), st.binary(min_size=1, max_size=60), st.integers(1, 30))
def test_a_crash_at_any_content_can_be_mended(tmp_path_factory, old, more, chunk):
    """The next append takes away what the last one left half-written."""
    folder, after = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("after")
    (folder / "file").write_bytes(old)
    with crash.recording(folder, chunk=chunk) as disk:
        files.append(folder / "file", more, len(old))
        disk.promise("appended")
    for number, state in enumerate(disk.states(most=4)):
        place = after / str(number)
        place.mkdir()
        state.lay_out(place)
        files.append(place / "file", b"third", len(old))
        assert (place / "file").read_bytes() == old + b"third"
        assert files.pending(place / "file") is None


def name_of(descriptor):
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def without_note_sync(disk):
    """Neither its data nor its name."""
    sync = disk.fsync

    def fsync(descriptor):
        if name_of(descriptor).endswith("/file"):
            sync(descriptor)

    disk.fsync = fsync


def without_file_sync(disk):
    sync = disk.fsync

    def fsync(descriptor):
        if is_folder(descriptor) or name_of(descriptor).endswith(".tmp"):
            sync(descriptor)

    disk.fsync = fsync


def note_removed_first(disk):
    pwrite = disk.pwrite

    def remove_and_write(descriptor, data, offset):
        disk.unlink(name_of(descriptor) + ".append")
        return pwrite(descriptor, data, offset)

    disk.pwrite = remove_and_write
    disk.unlink = gently(disk.unlink)


def note_removed_before_the_sync(disk):
    sync = disk.fsync
    disk.unlink = gently(disk.unlink)

    def fsync(descriptor):
        name = name_of(descriptor)
        if name.endswith("/file"):
            disk.unlink(name + ".append")
        sync(descriptor)

    disk.fsync = fsync


def gently(unlink):
    def gone(path):
        with suppress(FileNotFoundError):
            unlink(path)

    return gone


def without_note(disk):
    replace = disk.replace
    disk.unlink = gently(disk.unlink)
    disk.replace = lambda source, target: (replace(source, target), disk.unlink(target))


FAULTS = [
    without_note_sync,
    without_file_sync,
    note_removed_first,
    note_removed_before_the_sync,
    without_note,
]


@pytest.mark.skipif(sys.platform != "linux", reason="names of descriptors are read from /proc")
@pytest.mark.parametrize("fault", FAULTS)
def test_the_double_catches_planted_faults(tmp_path, fault):
    assert violations(states(tmp_path, fault))


# What a failing call leaves.


@pytest.mark.parametrize("code", FAILURES)
def test_a_failing_call_leaves_what_can_be_read(tmp_path_factory, code):
    folder = tmp_path_factory.mktemp("count")
    (folder / "file").write_bytes(OLD)
    with crash.recording(folder) as disk:
        files.append(folder / "file", MORE, len(OLD))
    for index in range(len(disk.calls)):
        folder = tmp_path_factory.mktemp("disk")
        path = folder / "file"
        path.write_bytes(OLD)
        with (
            crash.recording(folder, fail=lambda at, _, index=index: at == index and code),
            suppress(Internal),
        ):
            files.append(path, MORE, len(OLD))
        tree = {one.name: one.read_bytes() for one in folder.iterdir()}
        assert seen(tree) in (OLD, OLD + MORE)
        files.append(path, b"third", len(OLD))
        assert path.read_bytes() == OLD + b"third"
        assert names(folder) == ["file"]


def test_a_note_that_cannot_be_removed_is_told(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    with (
        crash.recording(tmp_path, fail=lambda _, call: call == "unlink" and errno.EIO),
        pytest.raises(Internal, match="is complete, but the note beside it cannot be removed"),
    ):
        files.append(tmp_path / "file", MORE, len(OLD))
    assert (tmp_path / "file").read_bytes() == OLD + MORE


@pytest.mark.parametrize("name", ["missing", "folder", "pipe"])
def test_only_a_regular_file_is_appended_to(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((Internal, UsageError)):
        files.append(tmp_path / name, MORE, 0)
    assert names(tmp_path) == ["folder", "pipe"]


@pytest.mark.parametrize("note", [b"", b"x" * 28, b"torchkeep-append-v1\n" + b"\1" * 7, b"y" * 99])
def test_a_note_of_somebody_else_is_none(tmp_path, note):
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "file.append").write_bytes(note)
    assert files.pending(tmp_path / "file") is None


def test_the_note_of_an_earlier_append_changes_nothing(tmp_path):
    """It may have outlived the file that it was written for."""
    (tmp_path / "file").write_bytes(OLD)
    for length in (3, 1 << 63):
        note = b"torchkeep-append-v1\n" + length.to_bytes(8, "little")
        (tmp_path / "file.append").write_bytes(note)
        files.append(tmp_path / "file", MORE, len(OLD))
        assert (tmp_path / "file").read_bytes() == OLD + MORE
        assert names(tmp_path) == ["file"]


def test_a_file_that_is_shorter_now_gets_no_hole(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(UsageError, match="changed meanwhile"):
        files.append(tmp_path / "file", MORE, len(OLD) + 1)
    assert names(tmp_path) == ["file"]


def test_through_a_link_the_note_lies_beside_the_file(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_bytes(OLD)
    (tmp_path / "inner" / "file.append").write_bytes(
        b"torchkeep-append-v1\n" + (3).to_bytes(8, "little")
    )
    (tmp_path / "link").symlink_to("inner/file")
    assert files.pending(tmp_path / "link") == 3
    files.append(tmp_path / "link", MORE, 3)
    assert (tmp_path / "inner" / "file").read_bytes() == OLD[:3] + MORE
    assert names(tmp_path / "inner") == ["file"]


# Folders that appear whole.


def built(folder, fault=None):
    with crash.recording(folder) as disk:
        if fault:
            fault(disk)
        with files.building(folder / "out") as place:
            files.write(place / "a", OLD)
            files.make_folder(place / "b")
            files.write(place / "b" / "c", MORE)
        disk.promise("built")
    return list(disk.states(most=32))


WHOLE = {"out": None, "out/a": OLD, "out/b": None, "out/b/c": MORE}


def half_built(found):
    out = []
    for state in found:
        tree = {name: one for name, one in state.tree.items() if name.startswith("out")}
        if tree not in ({}, WHOLE) or ("built" in state.promises and tree != WHOLE):
            out.append(state)
    return out


def test_a_crash_leaves_a_whole_folder_or_none(tmp_path):
    found = built(tmp_path)
    assert half_built(found) == []
    assert len({tuple(state.tree) for state in found}) > 5


def without_any_sync(disk):
    disk.fsync = lambda descriptor: None


def without_sync_of_files(disk):
    sync = disk.fsync
    disk.fsync = lambda descriptor: stat.S_ISDIR(os.fstat(descriptor).st_mode) and sync(descriptor)


@pytest.mark.parametrize("fault", [without_any_sync, without_sync_of_files])
def test_the_double_catches_folders_that_are_not_whole(tmp_path, fault):
    assert half_built(built(tmp_path, fault))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_leaves_no_folder(tmp_path, error):
    def leave():
        with files.building(tmp_path / "out") as place:
            files.write(place / "a", OLD)
            raise error

    with pytest.raises(error):
        leave()
    assert names(tmp_path) == []


def test_a_folder_whose_name_is_taken_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(OLD)
    with pytest.raises(UsageError, match="exists already"), files.building(tmp_path / "out"):
        pytest.fail("nothing may be built")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError), files.building(tmp_path / "link"):
        pytest.fail("nothing may be built")
    with pytest.raises(Internal), files.building(tmp_path / "missing" / "out"):
        pytest.fail("nothing may be built")
    assert (tmp_path / "out" / "mine").read_bytes() == OLD


def test_a_folder_that_appears_meanwhile_stays(tmp_path):
    def build():
        with files.building(tmp_path / "out") as place:
            files.write(place / "a", OLD)
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "mine").write_bytes(OLD)

    with pytest.raises((UsageError, Internal)):
        build()
    assert (tmp_path / "out" / "mine").read_bytes() == OLD
    assert names(tmp_path) == ["out"]


# Locks.


def free(path) -> bool:
    """Whether another process could hold a file now."""
    code = "import fcntl, sys\nfcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True)
    assert not done.stderr or b"BlockingIOError" in done.stderr
    return done.returncode == 0


def test_one_process_holds_a_file_at_a_time(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)

    def fail():
        with files.locked(path):
            assert not free(path)
            raise ZeroDivisionError

    assert free(path)
    with pytest.raises(ZeroDivisionError):
        fail()
    assert free(path)


def test_threads_wait_for_each_other(tmp_path):
    path, inside = tmp_path / "file", []
    path.write_bytes(b"0")

    def count():
        for _ in range(25):
            with files.locked(path):
                inside.append(None)
                assert len(inside) == 1
                path.write_bytes(b"%d" % (int(path.read_bytes()) + 1))
                inside.pop()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == b"100"


def test_what_cannot_be_opened_cannot_be_held(tmp_path):
    with pytest.raises(SourceError, match="cannot be opened"), files.locked(tmp_path / "missing"):
        pytest.fail("nobody can hold it")


def test_a_file_that_is_replaced_before_it_is_held(tmp_path, monkeypatch):
    """Whoever gets it then holds the new one."""
    path, flock = tmp_path / "file", fcntl.flock
    path.write_bytes(OLD)

    def late(descriptor, how):
        if path.read_bytes() == OLD:
            files.write(path, MORE)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with files.locked(path):
        assert not free(path)
