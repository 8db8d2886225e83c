"""``core.tree``: every file of a project, none of anybody else's, and none lost unseen."""

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest
from doubles.mutants import killed

from torchkeep.core import tree
from torchkeep.core.tree import SKIPPED_FOLDERS, Entry, walk

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")


def plant(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def paths(root):
    return [entry.path for entry in walk(root).files]


def test_files_come_by_path_with_size_and_bits(tmp_path):
    plant(tmp_path, "b", "a/z", "a/b/c", "a.b", "A")
    (tmp_path / "b").chmod(0o640)
    found = walk(tmp_path)
    assert [entry.path for entry in found.files] == ["A", "a.b", "a/b/c", "a/z", "b"]
    assert found.files[-1] == Entry("b", 1, 0o640)
    assert (found.skipped, found.unreadable) == ((), ())


def test_an_empty_folder_holds_nothing(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    assert walk(tmp_path) == tree.Tree(())


def test_the_root_may_be_relative_or_a_link(tmp_path, monkeypatch):
    plant(tmp_path, "project/a")
    (tmp_path / "link").symlink_to("project")
    monkeypatch.chdir(tmp_path)
    for root in (Path("project"), Path("link"), tmp_path / "link", Path("project/../link")):
        assert paths(root) == ["a"]
    monkeypatch.chdir(tmp_path / "project")
    assert paths(Path()) == ["a"]


# Links.


def test_links_inside_are_files_and_links_outside_are_not(tmp_path):
    plant(tmp_path, "outside.pt", "project/a.pt", "project/sub/b.pt")
    root = tmp_path / "project"
    (root / "inner").symlink_to("a.pt")
    (root / "sub/up").symlink_to("../a.pt")
    (root / "round").symlink_to("../project/a.pt")
    (root / "absolute").symlink_to(root / "a.pt")
    (root / "outer").symlink_to("../outside.pt")
    (root / "hidden").symlink_to(tmp_path / "outside.pt")
    (root / "twice").symlink_to("outer")
    (root / "prefix").symlink_to("../project-2/a.pt")
    (root / "folder").symlink_to("sub")
    (root / "above").symlink_to("..")
    (root / "sub/itself").symlink_to(".")
    plant(tmp_path, "project-2/a.pt")
    found = walk(root)
    assert [entry.path for entry in found.files] == [
        *("a.pt", "absolute", "inner", "round", "sub/b.pt", "sub/up")
    ]
    assert found.skipped == (
        *("above", "folder", "hidden", "outer", "prefix", "sub/itself", "twice"),
    )
    assert found.unreadable == ()


def test_a_link_has_the_size_and_bits_of_what_it_leads_to(tmp_path):
    plant(tmp_path, "long-name")
    (tmp_path / "long-name").chmod(0o600)
    (tmp_path / "l").symlink_to("long-name")
    assert walk(tmp_path).files[0] == Entry("l", len("long-name"), 0o600)


def check_loops(root):
    plant(root, "file")
    (root / "me").symlink_to("me")
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "through").symlink_to("a/file")
    found = walk(root)
    assert [entry.path for entry in found.files] == ["file"]
    assert [path for path, _ in found.unreadable] == ["a", "b", "me", "through"]
    assert {reason for _, reason in found.unreadable} == {os.strerror(errno.ELOOP)}


def check_broken_links(root):
    plant(root, "file")
    (root / "gone").symlink_to("nothing")
    (root / "away").symlink_to("/nowhere/at/all")
    (root / "under").symlink_to("file/x")
    found = walk(root)
    assert [entry.path for entry in found.files] == ["file"]
    assert found.skipped == ("away",)
    assert [path for path, _ in found.unreadable] == ["gone", "under"]


def test_loops_of_links_end(tmp_path):
    check_loops(tmp_path)


def test_broken_links_are_seen(tmp_path):
    check_broken_links(tmp_path)


def test_deep_folders_are_walked_and_what_no_call_reaches_is_named(tmp_path):
    deep = tmp_path
    for _ in range(200):
        deep = deep / "d"
    deep.mkdir(parents=True)
    plant(deep, "file")
    assert paths(tmp_path) == ["d/" * 200 + "file"]
    # Deeper than a path may be long: made step by step, since no single call could.
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=folder)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    found = walk(tmp_path)
    assert [entry.path for entry in found.files] == ["d/" * 200 + "file"]
    ((path, reason),) = found.unreadable
    assert path.startswith("x" * 250 + "/")
    assert reason == os.strerror(errno.ENAMETOOLONG)


# What is neither file nor folder.


def test_pipes_sockets_and_devices_are_named_and_never_opened(tmp_path):
    plant(tmp_path, "file")
    os.mkfifo(tmp_path / "pipe.pt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "to-pipe").symlink_to("pipe.pt")
    found = walk(tmp_path)
    assert [entry.path for entry in found.files] == ["file"]
    assert found.skipped == ("null", "pipe.pt", "socket", "to-pipe")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices"
)
def test_a_device_in_the_project(tmp_path):
    try:
        os.mknod(tmp_path / "zero.pt", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("not even root makes devices here")
    assert walk(tmp_path).skipped == ("zero.pt",)


@LINUX
def test_names_of_stray_bytes_and_of_any_letters(tmp_path):
    names = [b"m\xff.pt", b"a\nb.pt", "模型.pt".encode(), b" ", b"-rf", b"a\\b", b"\xe2\x80\xae.pt"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    found = walk(tmp_path)
    assert sorted(os.fsencode(entry.path) for entry in found.files) == sorted(names)
    assert all((tmp_path / entry.path).is_file() for entry in found.files)


# What cannot be read, and what is left out.


DENIED = PermissionError(errno.EACCES, "Permission denied")


def refuse(monkeypatch, name, error=DENIED):
    """Stands for a folder without permission: tests may run as root, who may read everything."""
    real = os.scandir

    def scandir(path):
        if Path(path).name == name:
            raise error
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def check_unreadable(root, monkeypatch):
    plant(root, "a/1", "locked/2", "z/3")
    with monkeypatch.context() as patch:
        refuse(patch, "locked")
        found = walk(root)
    assert [entry.path for entry in found.files] == ["a/1", "z/3"]
    assert found.unreadable == (("locked", "Permission denied"),)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    check_unreadable(tmp_path, monkeypatch)


def test_a_root_that_may_not_be_read_or_is_not_there_is_named(tmp_path, monkeypatch):
    assert walk(tmp_path / "nothing").unreadable == ((".", os.strerror(errno.ENOENT)),)
    plant(tmp_path, "file")
    assert walk(tmp_path / "file").unreadable == ((".", os.strerror(errno.ENOTDIR)),)
    refuse(monkeypatch, tmp_path.name, OSError("no reason at all"))
    assert walk(tmp_path).unreadable == ((".", "no reason at all"),)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_permissions_of_a_real_folder(tmp_path):
    plant(tmp_path, "locked/2")
    (tmp_path / "locked").chmod(0)
    try:
        assert walk(tmp_path).unreadable == (("locked", os.strerror(errno.EACCES)),)
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_a_file_that_may_not_be_looked_at_is_named(tmp_path, monkeypatch):
    class Entry:
        def __init__(self, entry):
            self.entry = entry

        def __getattr__(self, name):
            return getattr(self.entry, name)

        def stat(self):
            raise OSError(5, "Input/output error")

    class Scan:
        def __init__(self, path):
            self.scan = real(path)

        def __enter__(self):
            return [Entry(entry) for entry in self.scan.__enter__()]

        def __exit__(self, *error):
            self.scan.close()

    plant(tmp_path, "file")
    real = os.scandir
    monkeypatch.setattr(os, "scandir", Scan)
    assert walk(tmp_path) == tree.Tree((), (), (("file", "Input/output error"),))


def check_skipped(root):
    for name in SKIPPED_FOLDERS:
        plant(root, f"{name}/x", f"src/{name}/y")
    plant(root, "env/pyvenv.cfg", "env/lib/z", "src/.github/w", "git/v", "build/u")
    found = walk(root)
    assert [entry.path for entry in found.files] == ["build/u", "git/v", "src/.github/w"]
    named = {*SKIPPED_FOLDERS, *(f"src/{name}" for name in SKIPPED_FOLDERS), "env"}
    assert found.skipped == tuple(sorted(named - {".torchkeep"}))  # our own state is no news


def test_what_is_no_work_of_the_project_is_left_out_and_named(tmp_path):
    check_skipped(tmp_path)


def test_only_folders_are_left_out_for_their_name(tmp_path):
    """A work tree of git has a file `.git`; a link with such a name is looked at as a link."""
    plant(tmp_path, ".git", "real/a", "sub/pyvenv.cfg/x")
    (tmp_path / "__pycache__").symlink_to("real/a")
    assert paths(tmp_path) == [".git", "__pycache__", "real/a", "sub/pyvenv.cfg/x"]


def test_what_a_kill_left_behind_is_seen(tmp_path):
    """It may hold what the file was to hold, so nothing that looks for secrets may miss it."""
    plant(tmp_path, ".torchkeep-0123456789abcdef.tmp", "sub/.torchkeep-0123456789abcdef.tmp")
    assert len(paths(tmp_path)) == 2


@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (tree.os.path, "realpath", lambda path: os.fspath(path)),
        (tree, "_is_skipped", lambda _entry: False),
        (tree, "_is_skipped", lambda entry: entry.name in SKIPPED_FOLDERS),
        (tree, "_is_skipped", lambda entry: entry.name in SKIPPED_FOLDERS or entry.name[0] == "."),
        (tree.stat, "S_ISREG", lambda _mode: True),
        (tree._Walk, "file", lambda self, name, entry: self.files.append(Entry(name, 0, 0))),
    ],
)
def test_mutants_die(monkeypatch, tmp_path, owner, name, mutant):
    def fresh(number):
        (tmp_path / f"{number}").mkdir()
        return tmp_path / f"{number}"

    checks = [
        lambda: check_loops(fresh(1)),
        lambda: check_broken_links(fresh(2)),
        lambda: check_skipped(fresh(3)),
        lambda: check_unreadable(fresh(4), monkeypatch),
        lambda: test_links_inside_are_files_and_links_outside_are_not(fresh(5)),
        lambda: test_pipes_sockets_and_devices_are_named_and_never_opened(fresh(6)),
    ]
    assert killed(monkeypatch, owner, name, mutant, *checks)


def test_one_look_at_each_folder_and_file(tmp_path, monkeypatch):
    """Cost: a listing a folder and a stat a file; no path is resolved but that of a link."""
    plant(tmp_path, *(f"folder-{n % 7}/file-{n}" for n in range(70)))
    (tmp_path / "folder-0/link").symlink_to("file-0")
    listed, resolved = [], []
    scandir, realpath = os.scandir, os.path.realpath
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    root = tmp_path.resolve()
    monkeypatch.setattr(
        os.path, "realpath", lambda path, **how: resolved.append(path) or realpath(path, **how)
    )
    assert len(walk(root).files) == 71
    assert len(listed) == 8
    assert len(resolved) == 2  # the root and the link
