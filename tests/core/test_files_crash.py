"""``core.files``: whole or absent, at every cut, under every failure."""

import errno
import itertools
import os
from contextlib import suppress
from pathlib import Path

import pytest
from core.disk import (
    FAILURES,
    KINDS,
    NEW,
    OLD,
    each_kind,
    is_folder,
    names,
    same_folder,
    scenario,
    violations,
    without_folder_sync,
)
from doubles import crash
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core import files
from torchkeep.core.errors import Internal, SourceError

# What a crash leaves.


@each_kind
def test_a_crash_leaves_the_old_or_the_new_file(tmp_path, kind):
    states = scenario(tmp_path, **kind)
    assert violations(states, **kind) == []
    assert {state.tree.get("file") for state in states} == {kind.get("old"), NEW}


@same_folder
@given(st.binary(max_size=60), st.integers(1, 30), st.integers())
def test_a_crash_leaves_whole_files_of_any_content(tmp_path_factory, new, chunk, seed):
    folder = tmp_path_factory.mktemp("crash")
    (folder / "file").write_bytes(OLD)
    with crash.recording(folder, chunk=chunk) as disk:
        files.write(folder / "file", new)
        disk.promise("written")
    for state in disk.states(most=16, seed=seed):
        assert state.tree["file"] in ({new} if state.promises else {OLD, new})


def test_writes_survive_in_their_order(tmp_path):
    with crash.recording(tmp_path) as disk:
        files.write(tmp_path / "first", OLD)
        files.write(tmp_path / "second", NEW)
    assert all("first" in state.tree for state in disk.states() if "second" in state.tree)


def without_file_sync(disk):
    sync = disk.fsync
    disk.fsync = lambda descriptor: is_folder(descriptor) and sync(descriptor)


def rename_before_sync(disk):
    sync, late = disk.fsync, []

    def fsync(descriptor):
        late.append(descriptor)
        if is_folder(descriptor):
            for each in late:
                sync(each)

    disk.fsync = fsync


def remove_before_rename(disk):
    replace = disk.replace

    def remove_and_replace(source, target):
        disk.unlink(target)
        replace(source, target)

    disk.replace = remove_and_replace


def in_place(disk):
    open_ = disk.open
    disk.replace = lambda source, target: None

    def open_target(path, flags, mode=0):
        if flags & os.O_CREAT:
            path, flags = path.with_name("file"), flags & ~os.O_EXCL | os.O_TRUNC
        return open_(path, flags, mode)

    disk.open = open_target


MUTANTS = [
    *itertools.product(
        [without_file_sync, without_folder_sync, rename_before_sync], KINDS.values()
    ),
    (remove_before_rename, KINDS["replace"]),
    (in_place, KINDS["replace"]),
    (in_place, KINDS["create"]),
]


@pytest.mark.parametrize(("mutant", "kind"), MUTANTS)
def test_the_double_catches_planted_faults(tmp_path, mutant, kind):
    assert violations(scenario(tmp_path, mutant=mutant, **kind), **kind)


def test_each_planted_fault_breaks_the_promise_that_it_should(tmp_path_factory):
    def broken(mutant):
        states = scenario(tmp_path_factory.mktemp("crash"), mutant=mutant, old=OLD)
        bad = violations(states, old=OLD)
        return {"durable" if state.promises else "whole" for state in bad}

    assert broken(without_file_sync) == {"whole", "durable"}
    assert broken(without_folder_sync) == {"durable"}
    assert broken(rename_before_sync) == {"whole"}
    assert broken(remove_before_rename) == {"whole"}
    assert "whole" in broken(in_place)


# What a failing call leaves.


def calls(folder, kind, **options):
    """Names of the calls that a write makes."""
    with crash.recording(folder, **options) as disk:
        files.write(folder / "file", NEW, exclusive="exclusive" in kind)
    return disk.calls


def each_call(tmp_path_factory, kind, **options):
    """A fresh folder for every call of the write, for a test that makes that call fail."""
    for index in range(len(calls(prepared(tmp_path_factory, kind), kind, **options))):
        yield index, prepared(tmp_path_factory, kind)


def prepared(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("disk")
    if "old" in kind:
        (folder / "file").write_bytes(OLD)
    return folder


def content(path):
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("code", FAILURES)
@each_kind
def test_one_failing_call_leaves_the_old_file_and_nothing_beside_it(tmp_path_factory, kind, code):
    for index, folder in each_call(tmp_path_factory, kind):
        path, told = folder / "file", None
        with crash.recording(folder, fail=lambda at, _, index=index: at == index and code) as disk:
            try:
                files.write(path, NEW, exclusive="exclusive" in kind)
            except Internal as error:
                told = error
        if told is None:
            assert disk.calls[index] in {"close", "fchown"}
        else:
            placed = f"{path} was written, but the disk has not confirmed it: {os.strerror(code)}"
            failed = f"{path} was not written: {os.strerror(code)}"
            assert told.message in (placed, failed)
            assert told.next
            assert content(path) == (NEW if told.message == placed else kind.get("old"))
        assert set(names(folder)) <= {"file"}
        assert all(s.tree.get("file") in {NEW, kind.get("old")} for s in disk.states(most=16))


@each_kind
def test_a_disk_that_fails_for_good_leaves_the_old_or_the_new_file(tmp_path_factory, kind):
    for index, folder in each_call(tmp_path_factory, kind):
        with (
            crash.recording(folder, fail=lambda at, _, index=index: at >= index and errno.EIO),
            suppress(Internal),
        ):
            files.write(folder / "file", NEW, exclusive="exclusive" in kind)
        assert content(folder / "file") in {NEW, kind.get("old")}


@each_kind
def test_ctrl_c_at_any_call_leaves_the_old_or_the_new_file(tmp_path_factory, kind):
    def interrupt(at, index):
        if at == index:
            raise KeyboardInterrupt
        return 0

    for index, folder in each_call(tmp_path_factory, kind):
        with (
            crash.recording(folder, fail=lambda at, _, index=index: interrupt(at, index)),
            pytest.raises(KeyboardInterrupt),
        ):
            files.write(folder / "file", NEW, exclusive="exclusive" in kind)
        assert content(folder / "file") in {NEW, kind.get("old")}
        assert set(names(folder)) <= {"file"}


def test_a_full_disk_is_told_in_one_line(tmp_path):
    path = tmp_path / "two\nlines"
    with (
        crash.recording(tmp_path, fail=lambda _, call: call == "write" and errno.ENOSPC),
        pytest.raises(Internal) as caught,
    ):
        files.write(path, NEW)
    assert str(caught.value) == (
        f"{tmp_path}/two\\nlines was not written: No space left on device; "
        "free some space on that disk, then run it again"
    )
    assert isinstance(caught.value.__cause__, OSError)


def test_a_full_disk_is_told_inside_the_block(tmp_path):
    def fill():
        with files.replacing(tmp_path / "file") as file:
            file.write(bytes(1 << 22))
            raise AssertionError

    with (
        crash.recording(tmp_path, fail=lambda _, call: call == "write" and errno.ENOSPC),
        pytest.raises(Internal, match="No space left"),
    ):
        fill()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path):
    syncs = itertools.count()

    def fail(_, call):  # the file's comes first, then the folder's
        return call == "fsync" and next(syncs) and errno.EINVAL

    with crash.recording(tmp_path, fail=fail):
        files.write(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


@each_kind
def test_no_descriptor_is_left_open(tmp_path_factory, kind):
    before = names(Path("/dev/fd"))
    for index, folder in each_call(tmp_path_factory, kind):
        with (
            crash.recording(folder, fail=lambda at, _, index=index: at == index and errno.EIO),
            suppress(Internal),
        ):
            files.write(folder / "file", NEW, exclusive="exclusive" in kind)
    with suppress(SourceError):
        files.read("/")
    assert names(Path("/dev/fd")) == before


# The double itself: a model that is too kind would let every promise pass.


def test_the_double_loses_tears_reorders_and_leaves_holes(tmp_path):
    with crash.recording(tmp_path) as disk:
        descriptor = disk.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT)
        disk.write(descriptor, b"ab")
        disk.write(descriptor, b"cd")
        disk.close(descriptor)
    assert {state.tree.get("f") for state in disk.states()} == {
        *(None, b"", b"a", b"ab", b"\0\0", b"abc", b"abcd", b"ab\0\0", b"a\0cd"),
        *(b"\0\0c", b"\0\0cd", b"a\0c", b"\0\0\0\0", b"a\0\0\0"),
    }


def test_the_double_loses_a_name_whose_file_was_synced_and_keeps_it_once_the_folder_was(tmp_path):
    with crash.recording(tmp_path) as disk:
        descriptor = disk.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT)
        disk.write(descriptor, b"ab")
        disk.fsync(descriptor)
        disk.promise("data")
        disk.fsync(disk.open(tmp_path, os.O_RDONLY))
        disk.promise("name")
    last = {}
    for state in disk.states():
        last.setdefault(state.promises, []).append(state.tree)
    assert last[frozenset({"data"})] == [{"f": b"ab"}, {}]
    assert last[frozenset({"data", "name"})] == [{"f": b"ab"}]


def test_the_double_samples_where_there_is_too_much_and_still_catches(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    with crash.recording(tmp_path, chunk=1) as disk:
        without_file_sync(disk)
        files.write(tmp_path / "file", NEW)
        disk.promise("written")
    states = list(disk.states(most=8))
    assert len(states) <= 8 * (len(disk.log) + 1)
    assert violations(states, old=OLD)
    assert states == list(disk.states(most=8))
    assert states != list(disk.states(most=8, seed=1))


def test_the_double_refuses_what_it_does_not_model(tmp_path):
    with crash.recording(tmp_path) as disk, pytest.raises(NotImplementedError, match="sendfile"):
        disk.sendfile(0, 0, 0, 0)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(AssertionError, match="symbolic"), crash.recording(tmp_path):
        pass
