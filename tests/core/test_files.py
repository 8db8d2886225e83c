"""``core.files``: whole or absent, at every cut, under every failure, in every race."""

import errno
import io
import itertools
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from doubles import crash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchkeep.core import files
from torchkeep.core.errors import Internal, SourceError, UsageError

OLD, NEW = b"old " * 5, b"new! " * 6
FAILURES = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT]

same_folder = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def bits(path):
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


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


# What a crash leaves.


def scenario(folder, *, old=None, exclusive=False, mutant=None, **options):
    """Every state that a crash may leave of one write to ``file``."""
    if old is not None:
        (folder / "file").write_bytes(old)
    with crash.recording(folder, chunk=17, **options) as disk:
        if mutant:
            mutant(disk)
        files.write(folder / "file", NEW, exclusive=exclusive)
        disk.promise("written")
    return list(disk.states())


def violations(states, *, old=None, **_):
    """The states that break a promise: old or new before the write returned, new after it."""
    return [
        state
        for state in states
        if (content := state.tree.get("file")) != NEW
        and (content != old or "written" in state.promises)
    ]


KINDS = {"replace": {"old": OLD}, "create": {}, "exclusive": {"exclusive": True}}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


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


def is_folder(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def without_file_sync(disk):
    sync = disk.fsync
    disk.fsync = lambda descriptor: is_folder(descriptor) and sync(descriptor)


def without_folder_sync(disk):
    sync = disk.fsync
    disk.fsync = lambda descriptor: is_folder(descriptor) or sync(descriptor)


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


def test_a_disk_that_fails_for_good_leaves_the_old_or_the_new_file(tmp_path_factory, kind):
    for index, folder in each_call(tmp_path_factory, kind):
        with (
            crash.recording(folder, fail=lambda at, _, index=index: at >= index and errno.EIO),
            suppress(Internal),
        ):
            files.write(folder / "file", NEW, exclusive="exclusive" in kind)
        assert content(folder / "file") in {NEW, kind.get("old")}


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


# Many processes, and kills.

WRITER = """
import sys
from torchkeep.core import files
path, letter, times = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
for turn in range(times):
    files.write(path, letter * (100_000 + turn % 7))
    if turn == 0:
        print("ready", flush=True)
"""


def writer(path, letter, times):
    command = [sys.executable, "-c", WRITER, str(path), letter, str(times)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


def assert_whole(data):
    assert 100_000 <= len(data) < 100_007
    assert data == data[:1] * len(data)


def test_writers_at_once_never_tear_a_file(tmp_path):
    processes = [writer(tmp_path / "file", letter, 40) for letter in "abc"]
    while any(process.poll() is None for process in processes):
        assert_whole(files.read(tmp_path / "file"))
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert names(tmp_path) == ["file"]
    for process in processes:
        process.stdout.close()


def test_a_kill_leaves_a_whole_file(tmp_path):
    chance = random.Random(7)
    for letter in "abcdefgh":
        with writer(tmp_path / "file", letter, 1_000_000) as process:
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
        assert_whole(files.read(tmp_path / "file"))
        assert all(name == "file" or name.startswith(".torchkeep-") for name in names(tmp_path))


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
