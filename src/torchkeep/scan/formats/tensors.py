"""Safetensors: a header in JSON, then the numbers of all tensors without a gap.

The header may have 100 MB, so it is read entry by entry; what is kept of each tensor is its name
and where it lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.formats.legacy import refuse
from torchkeep.scan.job import Job

_LONGEST_HEADER: Final = 100_000_000  # bytes, as the library has it
_WINDOW: Final = 1 << 20
_LONGEST_ENTRY: Final = 16 << 20  # bytes of one entry; only the metadata gets near
_MOST_TENSORS: Final = 500_000
_MOST_BRACES: Final = 32  # of an entry: a tensor has one pair and two of brackets
_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E5M2FNUZ": 8,
    "F8_E4M3FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class _Wrong(Exception):
    """The file is none that the library would open."""


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Check the header against the file."""
    length = int.from_bytes(source.read(0, min(8, source.size)), "little")
    try:
        if length > _LONGEST_HEADER or 8 + length > source.size:
            raise _Wrong(f"its header of {length} bytes does not fit")
        _check(source, 8 + length, source.size - 8 - length)
    except _Wrong as error:
        refuse(job, member, 8, str(error))


def _check(source: Readable, end: int, size: int) -> None:
    names: set[str] = set()
    places: list[tuple[int, int]] = []
    for name, entry in entries(source, 8, end):
        if name in names:
            raise _Wrong(f"{name:.80} is there twice")
        if len(names) > _MOST_TENSORS:
            raise _Wrong("it has more tensors than any model")
        names.add(name)
        if name == "__metadata__":
            _metadata(entry)
        else:
            places.append(_place(name, entry))
    at = 0
    for begin, stop in sorted(places):
        if begin != at:
            raise _Wrong(f"tensors overlap or leave a gap at byte {min(begin, at)} of the data")
        at = stop
    if at != size:
        raise _Wrong(f"its tensors take {at} bytes, and {size} are there")


def _metadata(entry: Any) -> None:
    if not isinstance(entry, tuple) or not all(isinstance(value, str) for _, value in entry):
        raise _Wrong("its metadata is not text by name")
    if len({name for name, _ in entry}) != len(entry):
        raise _Wrong("its metadata has a name twice")


def _place(name: str, entry: Any) -> tuple[int, int]:
    said = dict(entry) if isinstance(entry, tuple) else {}
    if len(said) != 3 or len(entry) != 3 or said.keys() != {"dtype", "shape", "data_offsets"}:
        raise _Wrong(f"{name:.80} is no tensor")
    dtype, shape, offsets = said["dtype"], said["shape"], said["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise _Wrong(f"{name:.80} has a type that is not known")
    if not _are_numbers(shape) or not _are_numbers(offsets) or len(offsets) != 2:
        raise _Wrong(f"{name:.80} has no shape or place")
    bits = _BITS[dtype]
    for count in shape:
        bits *= count
        if bits >> 67:
            raise _Wrong(f"{name:.80} is larger than any file")
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        raise _Wrong(f"{name:.80} has a shape that does not fit its place")
    return offsets[0], offsets[1]


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value)


def entries(source: Readable, start: int, end: int) -> Iterator[tuple[str, Any]]:
    """Names and values of a JSON object, in order; objects in it are tuples of pairs.

    Raises:
        _Wrong: It is no JSON object, or its text is not UTF-8.
    """
    text = _Text(source, start, end)
    text.take("{")
    if text.peek() == "}":
        text.take("}")
    else:
        while True:
            name = text.value()
            if not isinstance(name, str):
                raise _Wrong("its header is not JSON")
            text.take(":")
            yield name, text.value()
            if text.take(",}") == "}":
                break
    if text.peek():
        raise _Wrong("something follows its header")


class _Text:
    """The text of a header, a window at a time."""

    def __init__(self, source: Readable, start: int, end: int) -> None:
        self._source, self._next, self._end = source, start, end
        self._text, self._at, self._cut = "", 0, b""
        self._decoder = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=_refused)

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, one_of: str) -> str:
        """The next character, which must be one of some."""
        found = self.peek()
        if not found or found not in one_of:
            raise _Wrong("its header is not JSON")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next JSON value."""
        self.peek()
        while True:
            try:
                self._shallow()
                found, end = self._decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():  # a number may go on
                    self._at = end
                    return found
            except RecursionError:
                raise _Wrong("its header is nested deeper than any needs") from None
            except ValueError:
                if len(self._text) - self._at > _LONGEST_ENTRY or not self._more():
                    raise _Wrong("its header is not JSON") from None

    def _shallow(self) -> None:
        """Json would follow any depth with the stack of this process."""
        head = self._text[self._at : self._at + 4 * _MOST_BRACES]
        if head.count("[") + head.count("{") > _MOST_BRACES:
            raise _Wrong("its header is nested deeper than any needs")

    def _more(self) -> bool:
        length = min(_WINDOW, self._end - self._next)
        if not length:
            if self._cut:
                raise _Wrong("its header is not UTF-8")
            return False
        data = self._cut + self._source.read(self._next, length)
        self._next += length
        text, self._cut = _decoded(data)
        self._text, self._at = self._text[self._at :] + text, 0
        return True


def _decoded(data: bytes) -> tuple[str, bytes]:
    """Text, and the bytes of a letter that is cut at its end."""
    try:
        return data.decode("utf-8"), b""
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:
            raise _Wrong("its header is not UTF-8") from None
        return data[: error.start].decode("utf-8"), data[error.start :]


def _refused(name: str) -> Any:
    raise _Wrong(f"its header holds {name}, which is not JSON")
