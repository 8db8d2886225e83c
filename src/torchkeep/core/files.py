"""Files that are whole or absent, whatever happens while they are written.

Everything that torchkeep writes goes through here: a temporary file in the same folder, fsync,
rename, fsync of the folder. A kill or a crash at any moment leaves the old file or the new one,
complete; once :func:`write` has returned, the new one survives a power cut (as far as the system's
fsync reaches the disk). What a kill may leave beside it is a hidden ``.torchkeep-*.tmp``, which no
more people may read than the file that it was to become.

    >>> write("/tmp/torchkeep-example.txt", "kept")
    >>> read("/tmp/torchkeep-example.txt", limit=100)
    b'kept'
"""
# ruff: noqa: PTH102, PTH108 (system calls stay calls of `os`, so that a test can stand in for it)

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from torchkeep.core.errors import Internal, SourceError, UsageError
from torchkeep.core.text import visible

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["make_folder", "make_private_folder", "read", "replacing", "write"]

Name = str | os.PathLike[str]

_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_CHUNK: Final = 1 << 20
_NO_HARD_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_NEXT: Final = {
    errno.ENOSPC: "free some space on that disk, then run it again",
    errno.EDQUOT: "free some of your quota on that disk, then run it again",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.EACCES: "check who may write there, or choose another folder",
    errno.EPERM: "check who may write there, or choose another folder",
}


def write(path: Name, data: bytes | str, *, exclusive: bool = False, private: bool = False) -> None:
    """Put ``data`` into the file ``path``, whole or not at all.

    Args:
        path: The file; a symbolic link is followed and stays a link.
        data: Its new content; text is written as UTF-8.
        exclusive: Whether the name must be free. An existing file is never overwritten then, nor
            a link followed.
        private: Whether nobody but the owner may read the file (0600). Otherwise an existing file
            keeps its permission bits and its owner, and a new one follows the umask.

    Raises:
        UsageError: ``exclusive`` and the name is taken, the folder is missing, or the name belongs
            to something that is no regular file.
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

    Yields:
        The new file, open for writing bytes.
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
        if raw.failed:  # and the block has swallowed it
            raise raw.failed
        with _reported(path):
            if old and not private:
                _take_after(descriptor, old)
            _sync(descriptor)
            _place(temporary, target, exclusive=exclusive)
        with _reported(path, "was written, but the disk has not confirmed it"):
            if exclusive:
                with suppress(FileNotFoundError):  # renamed, where there are no hard links
                    os.unlink(temporary)
            _sync_folder(folder)


def make_folder(path: Name, *, private: bool = False) -> None:
    """Create a folder and its missing parents so that they survive a crash.

    An existing folder keeps its permission bits; any number of processes may do this at once.

    Args:
        path: The folder.
        private: Whether only its owner may enter it (0700; parents follow the umask) and git must
            leave it alone: without a ``.gitignore`` it gets one that holds ``*``.

    Raises:
        UsageError: Something that is no folder is in the way.
        Internal: The disk or the system refused.
    """
    with _reported(path, "was not created"):
        folder = Path(os.path.realpath(path))
        missing = [part for part in (folder, *folder.parents) if not part.is_dir()]
        for part in reversed(missing):
            _make_one(part, 0o700 if private and part == folder else 0o777)
        if not missing and os.access(folder.parent, os.R_OK):
            _sync_parent(folder)  # whoever made it may have died before that
    if private:
        with suppress(UsageError):  # it is there, perhaps from another process
            write(folder / ".gitignore", "*\n", exclusive=True)


def read(path: Name, *, limit: int | None = None) -> bytes:
    """Read a regular file; never wait for a pipe or a device.

    Args:
        path: The file; a symbolic link is followed.
        limit: The most bytes that it may have.

    Raises:
        SourceError: The file is missing, unreadable, too large, or no regular file.
    """
    shown, content = visible(os.fspath(path)), bytearray()
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SourceError(f"{shown} is not a regular file", next="name one that is")
            while chunk := file.read(_CHUNK):  # counted, since a file may grow and /proc lies
                content += chunk
                if limit is not None and len(content) > limit:
                    raise SourceError(
                        f"{shown} is larger than the {limit:,} bytes that were expected",
                        next="check that it is the right file",
                    )
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{shown} cannot be read: {_reason(error)}", next="check the path and who may read it"
        ) from error
    return bytes(content)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


class _Raw(io.RawIOBase):
    """The temporary file, whose failures are told apart from those of the ``with`` block.

    It has no ``fileno``, so no library writes past it unnoticed.
    """

    def __init__(self, path: Name, descriptor: int) -> None:
        self.failed: Exception | None = None
        self._path = path
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            with _reported(self._path):
                return os.write(self._descriptor, data)
        except Internal as error:
            self.failed = error
            raise


def _look(path: Name, *, exclusive: bool) -> tuple[Path, os.stat_result | None]:
    """The file to write and, where there is one already, what it is like."""
    name = Path(path)
    target = Path(os.path.realpath(name.parent if exclusive else name))
    if exclusive:
        target /= name.name
    if not target.parent.is_dir():
        raise ValueError("its folder does not exist")
    try:
        old = target.lstat()
    except FileNotFoundError:
        return target, None
    if exclusive:
        raise FileExistsError
    if not stat.S_ISREG(old.st_mode):  # root could replace /dev/null
        raise ValueError("that is not a regular file")
    return target, old


@contextmanager
def _temporary(path: Name, target: Path, mode: int) -> Iterator[tuple[Path, int, int]]:
    temporary = _beside(target)
    try:
        with (
            _opened(path, target.parent, os.O_RDONLY) as folder,  # one that cannot fails early
            _opened(path, temporary, _FRESH, mode) as descriptor,
        ):
            yield temporary, descriptor, folder
    except BaseException:
        with suppress(OSError):  # the first failure is the one to tell
            os.unlink(temporary)
        raise


def _beside(target: Path) -> Path:
    return target.with_name(f".torchkeep-{os.urandom(8).hex()}.tmp")


@contextmanager
def _opened(path: Name, file: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    with _reported(path):
        descriptor = os.open(file, flags, mode)
    try:
        yield descriptor
    finally:
        with suppress(OSError):  # what had to reach the disk has been synced by now
            os.close(descriptor)


def _take_after(descriptor: int, old: os.stat_result) -> None:
    with suppress(OSError):  # only root may give a file away
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o777)


def _place(temporary: Path, target: Path, *, exclusive: bool) -> None:
    if not exclusive:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Some disks (exFAT, mounted drives) have none: there an empty file takes the name first,
        # and a crash can leave that empty file.
        os.close(os.open(target, _FRESH, 0o600))
        os.replace(temporary, target)


def _make_one(folder: Path, mode: int) -> None:
    try:
        os.mkdir(folder, mode)
    except FileExistsError as error:
        if not folder.is_dir():
            raise ValueError(f"{visible(str(folder))} is in the way and is no folder") from error
    _sync_parent(folder)


def _sync_parent(folder: Path) -> None:
    with _opened(folder, folder.parent, os.O_RDONLY) as parent:
        _sync_folder(parent)


def _sync_folder(descriptor: int) -> None:
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a network disk without that call keeps names in order
            raise


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


@contextmanager
def _reported(path: Name, what: str = "was not written") -> Iterator[None]:
    """Turn the system's errors into ones that name the file and the next step."""
    shown = visible(os.fspath(path))
    try:
        yield
    except FileExistsError as error:
        raise UsageError(
            f"{shown} exists already and is never overwritten",
            next="choose another name, or move that file away first",
        ) from error
    except OSError as error:
        advice = _NEXT.get(error.errno or 0, "check that disk, then run it again")
        raise Internal(f"{shown} {what}: {_reason(error)}", next=advice) from error
    except ValueError as error:
        raise UsageError(
            f"{shown} {what}: {_reason(error)}", next="choose another name or folder"
        ) from error


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
