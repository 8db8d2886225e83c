"""What a folder lies on, as far as Linux shows it: encrypted disks and network file systems."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

_TABLE: Final = Path("/proc/self/mountinfo")
_LOCAL: Final = frozenset(
    {"bcachefs", "btrfs", "ecryptfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "ntfs3"}
    | {"overlay", "ramfs", "tmpfs", "vfat", "xfs", "zfs"}
)
_NETWORK: Final = frozenset({"cifs", "nfs", "nfs4", "smb3"})
_SAFE: Final = frozenset({"sec=krb5p", "seal", "xprtsec=tls", "xprtsec=mtls"})


class Way(Enum):
    """How the bytes of a folder travel."""

    LOCAL = "local"
    ENCRYPTED = "encrypted"
    CLEAR = "clear"
    UNKNOWN = "unknown"


class _Mount(NamedTuple):
    kind: str
    options: frozenset[str]


def way(path: Path, *, table: Path = _TABLE) -> Way:
    """How the bytes of a folder travel between the disk and this machine."""
    mount = _mount(path, table)
    if mount is None:
        return Way.UNKNOWN
    if mount.kind in _LOCAL:
        return Way.LOCAL
    if mount.kind == "fuse.sshfs" or (mount.kind in _NETWORK and mount.options & _SAFE):
        return Way.ENCRYPTED
    return Way.CLEAR if mount.kind in _NETWORK else Way.UNKNOWN


def is_encrypted(
    path: Path,
    *,
    devices: Path = Path("/sys/dev/block"),
    table: Path = Path("/proc/self/mountinfo"),
) -> bool:
    """Whether every device below a folder is seen to be encrypted; False where it is not seen."""
    mount = _mount(path, table)
    if mount is not None and mount.kind == "ecryptfs":
        return True
    number = path.stat().st_dev
    return _is_crypt(devices / f"{os.major(number)}:{os.minor(number)}")


def _is_crypt(device: Path) -> bool:
    """Whether a device is dm-crypt, or rests on nothing else (LVM, RAID)."""
    try:
        if (device / "dm" / "uuid").read_text("ascii", "replace").startswith("CRYPT-"):
            return True
    except OSError:
        pass
    try:
        below = list((device / "slaves").iterdir())
    except OSError:
        return False
    return bool(below) and all(map(_is_crypt, below))


def _mount(path: Path, table: Path) -> _Mount | None:
    """The mount that a folder lies in: the last one that is there for the longest prefix."""
    place, found, longest = path.resolve(), None, -1
    try:
        lines = table.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 6 or len(kinds) < 3:
            continue
        point = Path(_unescaped(fields[4]))
        if place.is_relative_to(point) and len(point.parts) >= longest:
            options = frozenset(f"{fields[5]},{kinds[2]}".split(","))
            found, longest = _Mount(kinds[0], options), len(point.parts)
    return found


def _unescaped(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
