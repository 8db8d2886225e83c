"""``core.files``: folders, which survive a crash, or can be completed after one."""

import errno
import itertools
import threading

import pytest
from core.disk import OLD, bits, names, umask, without_folder_sync
from doubles import crash

from torchkeep.core import files
from torchkeep.core.errors import Internal, UsageError

# Folders.


def test_a_folder_comes_with_its_parents(tmp_path):
    with umask(0o022):
        files.make_folder(tmp_path / "a" / "b")
        files.make_private_folder(tmp_path / "p" / "q")
    assert [bits(tmp_path / name) for name in ("a", "a/b", "p", "p/q")] == [
        *(0o755, 0o755, 0o700, 0o700)
    ]
    assert names(tmp_path / "a" / "b") == []
    assert (tmp_path / "p" / "q" / ".gitignore").read_text() == "*\n"


def test_an_existing_folder_is_left_as_it_is(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "folder" / ".gitignore").write_text("mine")
    for make in (files.make_folder, files.make_private_folder):
        make(tmp_path / "folder")
    assert bits(tmp_path / "folder") == 0o750
    assert (tmp_path / "folder" / ".gitignore").read_text() == "mine"


def test_a_folder_may_be_reached_by_a_link(tmp_path):
    (tmp_path / "link").symlink_to("real")
    files.make_folder(tmp_path / "link" / "inner")
    assert (tmp_path / "real" / "inner").is_dir()


@pytest.mark.parametrize("name", ["file", "file/inner"])
def test_a_file_in_the_way_of_a_folder(tmp_path, name):
    files.write(tmp_path / "file", OLD)
    with pytest.raises(UsageError, match=f"was not created: {tmp_path}/file is not a folder"):
        files.make_private_folder(tmp_path / name)


def test_many_make_a_folder_at_once(tmp_path):
    barrier, failed = threading.Barrier(8), []

    def work():
        barrier.wait(10)
        try:
            for number in range(20):
                files.make_private_folder(tmp_path / f"{number}" / "inner")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert all(names(tmp_path / f"{number}" / "inner") == [".gitignore"] for number in range(20))


def folder_states(folder, mutant=None):
    with crash.recording(folder) as disk:
        if mutant:
            mutant(disk)
        files.make_private_folder(folder / "a" / "b")
        disk.promise("made")
    return list(disk.states())


def test_a_made_folder_survives_a_crash_and_a_half_made_one_is_completed(tmp_path_factory):
    states = folder_states(tmp_path_factory.mktemp("disk"))
    whole = {"a": None, "a/b": None, "a/b/.gitignore": b"*\n"}
    assert [state.tree for state in states if state.promises] == [whole]
    for state in states:
        folder = tmp_path_factory.mktemp("after")
        state.lay_out(folder)
        files.make_private_folder(folder / "a" / "b")
        assert (folder / "a" / "b" / ".gitignore").read_bytes() == b"*\n"


def test_a_folder_without_sync_is_caught(tmp_path):
    states = folder_states(tmp_path, without_folder_sync)
    assert any("a/b/.gitignore" not in state.tree for state in states if state.promises)


def test_a_folder_whose_maker_died_is_synced_by_the_next(tmp_path):
    deaths = itertools.count()

    def die_once(_, call):
        if call == "fsync" and not next(deaths):
            raise KeyboardInterrupt
        return 0

    with crash.recording(tmp_path, fail=die_once) as disk:
        with pytest.raises(KeyboardInterrupt):
            files.make_folder(tmp_path / "a" / "b")
        files.make_folder(tmp_path / "a" / "b")
        disk.promise("made")
    assert all("a/b" in state.tree for state in disk.states() if state.promises)


def test_a_parent_that_may_not_be_read_is_no_failure(tmp_path):
    with crash.recording(tmp_path) as disk:
        disk.access = lambda path, mode: False
        files.make_folder(tmp_path)
    assert disk.calls == []


@pytest.mark.parametrize("call", ["open", "mkdir", "fsync"])
def test_a_folder_that_cannot_be_made(tmp_path, call):
    with (
        crash.recording(tmp_path, fail=lambda _, name: name == call and errno.EROFS),
        pytest.raises(Internal) as caught,
    ):
        files.make_folder(tmp_path / "a")
    assert str(caught.value) == (
        f"{tmp_path}/a was not created: Read-only file system; "
        "choose a folder on a disk that can be written"
    )
