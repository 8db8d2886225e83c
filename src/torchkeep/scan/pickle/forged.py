"""Arrays of numpy whose numbers would be taken for objects, or lie outside of the array.

numpy believes what a pickle says of a structured type: where its fields lie, and whether they hold
objects. One that lies lets the bytes of an array be addresses in memory.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any, Final

from torchkeep.scan.pickle.policy import is_encoded
from torchkeep.scan.pickle.values import Blob, Dict, Global, Made

CALLED: Final = frozenset({"scalar", "_frombuffer"})
"""Functions of numpy that make an array, or a part of one, of raw bytes."""

_CODE: Final = re.compile(r"[<>=|]?([a-zA-Z])(\d{1,12})")
_DEEPEST: Final = 32
_OBJECTS: Final = frozenset({"object", "object_", "ObjectDType"})


def is_forged(made: Made) -> bool:
    """Whether raw bytes are given to an array whose type does not fit them."""
    if isinstance(made.state, tuple) and _is_forged_state(made.state):
        return True
    maker, args = made.maker, made.args
    if not isinstance(maker, Global) or not isinstance(args, tuple) or len(args) < 2:
        return False
    if maker.name == "scalar":
        return _is_raw(args[1]) and _size(args[0]) is None
    return maker.name == "_frombuffer" and _size(args[1]) is None


def _is_forged_state(state: tuple[Any, ...]) -> bool:
    """In the state of an array the type, the order of the numbers and the bytes follow another."""
    rows = zip(state, state[2:], strict=False)
    return any(_is_dtype(one) and _is_raw(data) and _size(one) is None for one, data in rows)


def _is_raw(value: Any) -> bool:
    return isinstance(value, bytes | str | Blob) or is_encoded(value)


def _is_dtype(value: Any) -> bool:
    return isinstance(value, Made) and value.is_made_by("numpy", "dtype")


def _size(dtype: Any, depth: int = 0) -> int | None:
    """Bytes of an item; None where it holds objects, or has a field outside of itself."""
    if depth > _DEEPEST or not _is_dtype(dtype) or not isinstance(dtype.args, tuple):
        return None
    code = dtype.args[0] if dtype.args else None
    if isinstance(code, Global):
        return None if code.name in _OBJECTS else 0
    match = _CODE.fullmatch(code) if isinstance(code, str) else None
    if match is None or match[1] == "O":
        return None
    size = int(match[2]) * (4 if match[1] == "U" else 1)
    return size if dtype.state is None else _within(size, dtype.state, depth)


def _within(size: int, state: Any, depth: int) -> int | None:
    """Bytes of an item with its fields: (version, order, part, names, fields, size, ...)."""
    if not isinstance(state, tuple) or len(state) not in (8, 9) or type(state[5]) is not int:
        return None
    size = state[5] if state[5] >= 0 else size
    if state[2] is not None:
        return size if _is_array(state[2], size, depth) else None
    if state[4] is None:
        return size
    if not isinstance(state[4], Dict):
        return None
    fields = [value for _, value in state[4].pairs]
    sound = all(isinstance(one, tuple) and len(one) > 1 for one in fields)
    return size if sound and all(_fits(one[0], one[1], size, depth) for one in fields) else None


def _is_array(part: Any, size: int, depth: int) -> bool:
    """Whether an item is an array of another type: (type, shape)."""
    if not isinstance(part, tuple) or len(part) != 2:
        return False
    inner, shape = _size(part[0], depth + 1), part[1]
    lengths = shape if isinstance(shape, tuple) else (shape,)
    if inner is None or not all(type(length) is int and length >= 0 for length in lengths):
        return False
    return inner * prod(lengths) <= size


def _fits(dtype: Any, offset: Any, size: int, depth: int) -> bool:
    inner = _size(dtype, depth + 1)
    return inner is not None and type(offset) is int and 0 <= offset <= size - inner
