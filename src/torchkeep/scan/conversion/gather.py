"""The numbers of a tensor in C order, wherever its strides have put them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Final, Literal, NamedTuple

from torchkeep.core.source import Readable
from torchkeep.scan.tensors import ITEM_SIZES, Tensor

_FORMATS: Final[dict[int, Literal["B", "H", "I", "Q"]]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_WINDOW: Final = 16 << 20  # bytes of the file that are held at once
_SMALL: Final = 64 << 10  # bytes that are read as soon as fewer would be
_SPARSE: Final = 16  # times as many numbers are read at most as are taken from them
_REPEATED: Final = 1 << 18  # times that a number is repeated at once


class Axis(NamedTuple):
    """A dimension: its length, and how far a step leads in the file and in C order."""

    length: int
    step: int
    target: int


def axes(tensor: Tensor) -> list[Axis]:
    """The dimensions of a tensor with at least one element, as few as will do.

    A tensor whose numbers lie in C order already has none, or one whose step is 1.
    """
    found: list[Axis] = []
    target = 1
    for count, step in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
        if count == 1:
            continue
        if found and step == found[-1].step * found[-1].length:
            found[-1] = found[-1]._replace(length=found[-1].length * count)
        else:
            found.append(Axis(count, step, target))
        target *= count
    return found


def is_in_order(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor lie in the file as they are to be written."""
    if 0 in tensor.shape:
        return True
    found = axes(tensor)
    return not found or (len(found) == 1 and found[0].step == 1)


def gather(source: Readable, start: int, tensor: Tensor) -> bytearray:
    """The numbers of a tensor in C order.

    Args:
        source: The file.
        start: Offset of the tensor's first number.
        tensor: One that has at least one.
    """
    width = ITEM_SIZES[tensor.dtype]
    out = bytearray(prod(tensor.shape) * width)
    target = memoryview(out).cast(_FORMATS[width])
    along = sorted(axes(tensor), key=lambda axis: -axis.step)
    for box in _boxes(_Box(along, 0, 0), width):
        _copy(target, _read(source, start + box.origin * width, box.span, width), box)
    return out


@dataclass(frozen=True, slots=True)
class _Box:
    """A part of a tensor.

    Attributes:
        axes: Its dimensions, the one with the longest step first.
        origin: Its first number, counted from that of the tensor.
        target: Its first number in C order.
    """

    axes: list[Axis]
    origin: int
    target: int

    @property
    def span(self) -> int:
        """Numbers of the file from its first to its last one."""
        return 1 + sum((axis.length - 1) * axis.step for axis in self.axes)

    def fits(self, width: int) -> bool:
        """Whether it is read at once: it is not large, and mostly its own."""
        span = self.span
        dense = span <= _SPARSE * prod(axis.length for axis in self.axes)
        return span * width <= (_WINDOW if dense else _SMALL)


def _boxes(box: _Box, width: int) -> Iterator[_Box]:
    """Cut a box along its longest step, until each part fits."""
    if box.fits(width):
        yield box
        return
    first, rest = box.axes[0], box.axes[1:]
    length = _length(box, width)
    for index in range(0, first.length, length):
        count = min(length, first.length - index)
        kept = [first._replace(length=count), *rest] if count > 1 else rest
        part = _Box(kept, box.origin + index * first.step, box.target + index * first.target)
        if length > 1:
            yield part
        else:
            yield from _boxes(part, width)


def _length(box: _Box, width: int) -> int:
    """How many steps of the first dimension fit; 1 where more never do."""
    first, rest = box.axes[0], box.axes[1:]
    span = _Box(rest, 0, 0).span
    for limit in (_WINDOW, _SMALL):
        length = min(first.length, (limit // width - span) // first.step + 1)
        if length > 1 and _Box([first._replace(length=length), *rest], 0, 0).fits(width):
            return length
    return 1


def _read(source: Readable, offset: int, count: int, width: int) -> memoryview:
    return memoryview(source.read(offset, count * width)).cast(_FORMATS[width])


def _copy(target: memoryview, data: memoryview, box: _Box) -> None:
    """Copy the numbers of a box, along its longest dimension at once."""
    *outer, along = sorted(box.axes, key=lambda axis: axis.length) or [Axis(1, 1, 1)]
    steps = product(*([n * axis.step for n in range(axis.length)] for axis in outer))
    targets = product(*([n * axis.target for n in range(axis.length)] for axis in outer))
    length = (along.length - 1) * along.step + 1
    for at, to in zip(map(sum, steps), map(sum, targets), strict=True):
        if along.step:
            _put(target, box.target + to, along, data[at : at + length : along.step])
        else:
            _repeat(target, box.target + to, along, data[at : at + 1])


def _put(target: memoryview, to: int, along: Axis, numbers: memoryview) -> None:
    target[to : to + (len(numbers) - 1) * along.target + 1 : along.target] = numbers


def _repeat(target: memoryview, to: int, along: Axis, number: memoryview) -> None:
    """Write one number many times, as expanded tensors have it."""
    row = memoryview(number.tobytes() * min(along.length, _REPEATED)).cast(
        _FORMATS[number.itemsize]
    )
    for index in range(0, along.length, _REPEATED):
        part = row[: along.length - index]
        _put(target, to + index * along.target, along, part)
