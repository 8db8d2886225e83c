"""Arrays as numpy saves them: a header in Python's notation, then the data, or a pickle of it."""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.formats import pickles
from torchkeep.scan.formats.legacy import refuse
from torchkeep.scan.job import Job
from torchkeep.scan.part import Part
from torchkeep.scan.verdict import Verdict

_LONGEST_HEADER: Final = 1 << 20  # numpy itself takes 10,000 bytes unless it is told otherwise
_MOST_DIMENSIONS: Final = 64
_MOST_FIELDS: Final = 100_000
_TYPE: Final = re.compile(r"[|<>=]?(?:(O)\d?|([biufcSUVmM])(\d{1,9})(?:\[[\w ]{1,20}\])?)")


class _Odd(Exception):
    """A header that numpy does not write."""


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Scan an array."""
    try:
        start, shape, size = _header(source)
    except _Odd as error:
        refuse(job, member, 0, str(error))
        return
    if size is None:
        rest = Part(source, start, source.size - start)
        pickles.look(job, rest, f"{member}!array" if member else "array", depth)
        return
    for length in shape:
        size *= length
    if start + size > source.size:
        refuse(job, member, source.size, f"{size} bytes of data are claimed, fewer are there")
    elif start + size < source.size:
        text, rest_of_it = "trailing-bytes", source.size - start - size
        job.issue(
            20, Verdict.NEEDS_REVIEW, text, member=member, offset=start + size, count=rest_of_it
        )


def _header(source: Readable) -> tuple[int, tuple[int, ...], int | None]:
    """Where the data starts, the shape, and bytes of an item; None where it holds objects."""
    head = source.read(0, min(12, source.size))
    if len(head) < 12 or head[6] not in (1, 2, 3):
        raise _Odd("its version is none that exists")
    width = 2 if head[6] == 1 else 4
    length, start = int.from_bytes(head[8 : 8 + width], "little"), 8 + width
    if length > _LONGEST_HEADER or start + length > source.size:
        raise _Odd("its header is longer than any array needs")
    said = _literal(source.read(start, length).decode("latin-1"))  # in version 3 names are UTF-8
    if not isinstance(said, dict) or said.keys() != {"descr", "fortran_order", "shape"}:
        raise _Odd("its header is none of numpy")
    if type(said["fortran_order"]) is not bool:
        raise _Odd("its order is none")
    return start + length, _shape(said["shape"]), _size(said["descr"])


def _literal(text: str) -> Any:
    if text.count("(") + text.count("[") + text.count("{") > _MOST_FIELDS:
        raise _Odd("its header is nested deeper than any array needs")
    try:
        # Python 2 wrote numbers with an L, which numpy still takes.
        return ast.literal_eval(re.sub(r"(?<=\d)L(?=[,)])", "", text.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise _Odd("its header is none of numpy") from None


def _shape(value: Any) -> tuple[int, ...]:
    if (
        not isinstance(value, tuple)
        or len(value) > _MOST_DIMENSIONS
        or not all(type(length) is int and 0 <= length < 1 << 62 for length in value)
    ):
        raise _Odd("its shape is none")
    return value


def _size(descr: Any, depth: int = 0) -> int | None:
    """Bytes of an item: a code, a list of fields, or a code with the shape of an array in it."""
    if depth > 32:
        raise _Odd("its type is nested deeper than any array needs")
    if isinstance(descr, str):
        return _of_code(descr)
    if isinstance(descr, tuple) and len(descr) == 2:
        inner = _size(descr[0], depth + 1)
        shape = descr[1] if isinstance(descr[1], tuple) else (descr[1],)
        for length in _shape(shape) if inner is not None else ():
            inner = (inner or 0) * length
        return inner
    if not isinstance(descr, list):
        raise _Odd("its type is none of numpy")
    total: int | None = 0
    for field in descr:
        if not isinstance(field, tuple) or len(field) not in (2, 3):
            raise _Odd("its type is none of numpy")
        inner = _size(field[1] if len(field) == 2 else (field[1], field[2]), depth + 1)
        total = None if inner is None or total is None else total + inner
    return total


def _of_code(code: str) -> int | None:
    match = _TYPE.fullmatch(code)
    if match is None:
        raise _Odd("its type is none of numpy")
    if match[1]:
        return None
    return int(match[3]) * (4 if match[2] == "U" else 1)
