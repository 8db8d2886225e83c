"""Machine code: libraries, programs and kernels, which run and cannot be judged from their bytes.

A library is a model to some loaders: torch compiles whole models into one (AOTInductor).
"""

from __future__ import annotations

from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan.job import Job
from torchkeep.scan.verdict import Verdict

_MAGIC: Final = (
    b"\x7fELF",
    b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf",  # Mach-O
    b"\x50\xed\x55\xba",  # kernels of CUDA
    b"\x00asm\x01\x00\x00\x00",
    b"BC\xc0\xde", b"\xde\xc0\x17\x0b",  # bitcode of LLVM
    b"!<arch>\n",
)  # fmt: skip
_FAT: Final = (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf")  # Mach-O for several machines
_MOST_MACHINES: Final = 30  # Java begins the same, with a version above that


def is_native(source: Readable, head: bytes) -> bool:
    """Whether a file is machine code.

    Args:
        source: The file.
        head: Its first bytes, 64 of them where it has as many.
    """
    if head.startswith(_MAGIC):
        return True
    if head.startswith(_FAT):
        return 0 < int.from_bytes(head[4:8], "big") <= _MOST_MACHINES
    if head.startswith(b"MZ"):
        at = int.from_bytes(head[60:64], "little")
        return at + 4 <= source.size and source.read(at, 4) == b"PE\0\0"
    return False


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Note that it is machine code."""
    job.issue(46, Verdict.NEEDS_REVIEW, "native-code", member=member)
