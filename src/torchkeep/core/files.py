"""Files that are whole or absent, whatever happens while they are written.

Everything that torchkeep writes goes through here: a temporary file in the same folder, fsync,
rename, fsync of the folder. A kill or a crash leaves the old file or the new one, complete; once
:func:`write` has returned, the new one survives a power cut (as far as the system's fsync reaches
the disk). What a kill may leave beside it is a hidden ``.torchkeep-*.tmp``, which no more people
may read than the file that it was to become.
"""
# ruff: noqa: PTH102, PTH108, PTH116 (system calls stay calls of `os`, where a test can stand in for them)

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from torchkeep.core.errors import Internal, SourceError, TorchkeepError, UsageError
from torchkeep.core.text import visible

__all__ = [
    "append",
    "building",
    "locked",
    "make_folder",
    "make_private_folder",
    "pending",
    "read",
    "replacing",
    "write",
]

Name = str | os.PathLike[str]

_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_CHUNK: Final = 1 << 20
_MARK: Final = b"torchkeep-append-v1\n"
_NO_HARD_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_NEXT: Final = {
    errno.EACCES: "check the permissions of that file and its folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.ENOSPC: "free some space on that disk, then run it again",
    errno.EDQUOT: "free some space on that disk, then run it again",
}


def write(path: Name, data: bytes | str, *, exclusive: bool = False, private: bool = False) -> None:
    """Put ``data`` into the file ``path``, whole or not at all.

    Args:
        path: The file; a symbolic link is followed and stays a link.
        data: Its new content; text is written as UTF-8.
        exclusive: Whether the name must be free, of links too: nothing is ever overwritten then.
        private: Whether nobody but the owner may read the file (0600). Otherwise an existing file
            keeps its permission bits and its owner, and a new one follows the umask.

    Raises:
        UsageError: The folder is missing, or the name is taken or that of no regular file.
        Internal: The disk or the system refused: full, read-only, no permission, broken.
    """
    content = data.encode() if isinstance(data, str) else data
    with replacing(path, exclusive=exclusive, private=private) as file:
        file.write(content)


@contextmanager
def replacing(path: Name, *, exclusive: bool = False, private: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` when the ``with`` block ends.

    An exception in the block, Ctrl-C included, leaves the old file as it was and nothing beside
    it. The file can be written and sought, not read; closing it early does no harm. Arguments and
    errors are those of :func:`write`; errors of the block itself pass unchanged.
    """
    with _reported(path):
        target, old = _look(path, exclusive=exclusive)
    mode = 0o600 if private or old else 0o666
    with _temporary(path, target, mode) as (temporary, descriptor, folder):
        raw = _Raw(path, descriptor)
        try:
            file = io.BufferedWriter(raw, _CHUNK)
            yield file
            file.close()
        finally:
            raw.close()  # after an exception: what is still in the buffer must go nowhere
        with _reported(path):
            if old and not private:
                with suppress(OSError):  # only root may give a file away
                    os.fchown(descriptor, old.st_uid, old.st_gid)
                os.fchmod(descriptor, old.st_mode & 0o777)
            os.fsync(descriptor)
            _place(temporary, target, exclusive=exclusive)
        with _reported(path, "was written, but the disk has not confirmed it"):
            if exclusive:
                with suppress(FileNotFoundError):  # renamed, where there are no hard links
                    os.unlink(temporary)
            _sync_folder(folder)


def append(path: Name, data: bytes, at: int) -> None:
    """Put ``data`` behind the first ``at`` bytes of a file, whole or not at all.

    For files of which copying the rest would cost too much. The length is first noted in
    ``NAME.append`` beside it, where :func:`pending` finds it after a kill or a crash.

    Args:
        path: The file.
        data: Its new end.
        at: How many of its bytes stay. What follows them was half-written by an append that was
            interrupted, as only whoever knows the format can tell: a note may have outlived the
            append, and even the file, that it was written for.

    Raises:
        UsageError: It is no regular file, or has fewer bytes.
        Internal: The disk or the system refused.
    """
    note = _note(path)
    with _reported(path), _opened(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY) as descriptor:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("that is not a regular file")
        if at > info.st_size:
            raise ValueError("it has changed meanwhile")
        write(note, _MARK + at.to_bytes(8, "little"))
        os.ftruncate(descriptor, at)
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, at)
            view, at = view[written:], at + written
        os.fsync(descriptor)
    with _reported(path, "is complete, but the note beside it cannot be removed"):
        os.unlink(note)
        with _opened(note.parent, os.O_RDONLY) as folder:
            _sync_folder(folder)


def pending(path: Name) -> int | None:
    """How many bytes a file had before an append that may have been interrupted.

    None where no append was under way. The bytes behind may be there whole, in part or not at all:
    whoever knows the format can tell.
    """
    try:
        note = read(_note(path), limit=len(_MARK) + 8)
    except SourceError:
        return None
    if len(note) != len(_MARK) + 8 or not note.startswith(_MARK):
        return None
    return int.from_bytes(note[len(_MARK) :], "little")


def make_folder(path: Name, *, mode: int = 0o777) -> None:
    """Create a folder and its missing parents so that they survive a crash.

    What is created gets ``mode`` less the umask; an existing folder keeps its permission bits. Any
    number of processes may do this at once.

    Raises:
        UsageError: Something that is no folder is in the way.
        Internal: The disk or the system refused.
    """
    with _reported(path, "was not created"):
        _make(Path(os.path.realpath(path)), mode)


def make_private_folder(path: Name) -> None:
    """Do the same for the owner alone (0700), and have git ignore what the folder holds."""
    make_folder(path, mode=0o700)
    with suppress(UsageError):  # it is there, perhaps from another process
        write(Path(path, ".gitignore"), "*\n", exclusive=True)


@contextmanager
def building(folder: Name) -> Iterator[Path]:
    """Make a folder that appears under its name when the ``with`` block ends, whole or not at all.

    Yields:
        The folder under another name beside it, to put files into.

    Raises:
        UsageError: The name is taken, or the folder that it is to be in is missing.
        Internal: The disk or the system refused.
    """
    target = Path(os.path.realpath(folder))
    if os.path.lexists(folder):
        with _reported(folder):
            raise FileExistsError
    temporary = target.with_name(f".torchkeep-{os.urandom(8).hex()}.tmp")
    with _reported(folder):
        os.mkdir(temporary)
    try:
        yield temporary
        with _reported(folder):
            os.replace(temporary, target)  # onto an empty folder at most: any other stops it
            with _opened(target.parent, os.O_RDONLY) as parent:
                _sync_folder(parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def locked(path: Name) -> Iterator[None]:
    """Wait until no other process holds the file, and hold it until the block ends.

    Raises:
        SourceError: The file cannot be opened.
    """
    import fcntl

    with ExitStack() as stack:
        with _reported(path, "cannot be opened", SourceError):
            held = -1
            while held < 0 or not os.path.samestat(os.fstat(held), os.stat(path)):
                held = stack.enter_context(_opened(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
                fcntl.flock(held, fcntl.LOCK_EX)  # and look again: it may have been replaced
        yield


def read(path: Name, *, limit: int | None = None) -> bytes:
    """Read a regular file of at most ``limit`` bytes; never wait for a pipe or a device.

    Raises:
        SourceError: The file is missing, unreadable, too large, or no regular file.
    """
    content = bytearray()
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    with _reported(path, "cannot be read", SourceError), _opened(path, flags) as descriptor:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("that is not a regular file")
        while chunk := os.read(descriptor, _CHUNK):  # counted, since a file may grow and /proc lies
            content += chunk
            if limit is not None and len(content) > limit:
                raise ValueError(f"it is larger than the {limit:,} bytes that were expected")
    return bytes(content)


def _note(path: Name) -> Path:
    target = Path(os.path.realpath(path))
    return target.with_name(f"{target.name}.append")


class _Raw(io.RawIOBase):
    """The temporary file, with errors of ours and no ``fileno`` by which to write past it."""

    def __init__(self, path: Name, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def write(self, data: Any, /) -> int:
        with _reported(self._path):
            return os.write(self._descriptor, data)


def _look(path: Name, *, exclusive: bool) -> tuple[Path, os.stat_result | None]:
    """The file to write and, where there is one already, what it is like."""
    if exclusive and os.path.lexists(path):  # told before the work; _place makes sure after it
        raise FileExistsError
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ValueError("its folder does not exist")
    try:
        old = target.lstat()
    except FileNotFoundError:
        return target, None
    if not stat.S_ISREG(old.st_mode):  # root could replace /dev/null
        raise ValueError("that is not a regular file")
    return target, old


@contextmanager
def _temporary(path: Name, target: Path, mode: int) -> Iterator[tuple[Path, int, int]]:
    temporary = target.with_name(f".torchkeep-{os.urandom(8).hex()}.tmp")
    try:
        with ExitStack() as stack:
            with _reported(path):
                folder = stack.enter_context(_opened(target.parent, os.O_RDONLY))
                descriptor = stack.enter_context(_opened(temporary, _FRESH, mode))
            yield temporary, descriptor, folder
    except BaseException:
        with suppress(OSError):  # the first failure is the one to tell
            os.unlink(temporary)
        raise


@contextmanager
def _opened(file: Name, flags: int, mode: int = 0) -> Iterator[int]:
    descriptor = os.open(file, flags, mode)
    try:
        yield descriptor
    finally:
        with suppress(OSError):  # what had to reach the disk has been synced by now
            os.close(descriptor)


def _place(temporary: Path, target: Path, *, exclusive: bool) -> None:
    if not exclusive:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        with _opened(target, _FRESH):  # an empty file takes the name; a crash here can leave it
            pass
        try:
            os.replace(temporary, target)
        except OSError:
            os.unlink(target)
            raise


def _make(folder: Path, mode: int) -> None:
    if not folder.is_dir():
        _make(folder.parent, mode)
        try:
            os.mkdir(folder, mode)
        except FileExistsError as error:
            if not folder.is_dir():  # no other process has just made it
                raise ValueError(f"{visible(str(folder))} is not a folder") from error
    elif not os.access(folder.parent, os.R_OK):  # long there, and none of ours
        return
    with _opened(folder.parent, os.O_RDONLY) as parent:
        _sync_folder(parent)  # of an existing folder too: its maker may have died before this


def _sync_folder(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a network disk without that call keeps names in order
            raise


@contextmanager
def _reported(
    path: Name, what: str = "was not written", kind: type[TorchkeepError] | None = None
) -> Iterator[None]:
    """Turn the system's errors into ones that name the file and the next step."""
    shown = visible(os.fspath(path))
    try:
        yield
    except FileExistsError as error:
        taken = f"{shown} exists already and is never overwritten"
        raise UsageError(taken, next="choose another name, or move that file away") from error
    except OSError as error:
        advice = _NEXT.get(error.errno or 0, "check the path and its disk, then run it again")
        raise (kind or Internal)(f"{shown} {what}: {error.strerror}", next=advice) from error
    except ValueError as error:
        raise (kind or UsageError)(f"{shown} {what}: {error}", next="check the path") from error
