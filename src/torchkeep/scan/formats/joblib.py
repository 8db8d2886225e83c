"""Arrays that joblib writes into the midst of a pickle.

Its pickler puts a ``NumpyArrayWrapper`` in the place of an array and the array's bytes right behind
it; its unpickler reads them when the wrapper has been given its state. To whoever does not know
this, the stream ends there, and what stands behind the array is never seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from torchkeep.scan.job import Job
from torchkeep.scan.pickle.bare import Bare, known_dangers
from torchkeep.scan.pickle.machine import Machine
from torchkeep.scan.pickle.stream import Broken
from torchkeep.scan.pickle.values import Dict, Global, Made, Unknown
from torchkeep.scan.verdict import Verdict

_OLD: Final = ("NDArrayWrapper", "ZNDArrayWrapper")
_MODULES: Final = ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")
_DTYPE: Final = re.compile(r"[|<>=]?([biufcSUVmMO])(\d{1,9})")
_DEEPEST_TYPE: Final = 16
_MOST_DIMENSIONS: Final = 64  # numpy's own limit
_MOST_ITEM: Final = 1 << 31  # numpy's own limit: an item's size is a C int


class _Odd(Exception):
    """A wrapper that joblib did not write."""


def reader(job: Job, member: str, depth: int) -> Callable[[Machine, Made], None]:
    """What follows in a stream after an object was given its state."""
    forked = False

    def after_build(machine: Machine, made: Made) -> None:
        nonlocal forked
        name = made.maker.name if isinstance(made.maker, Global) else ""
        if name in _OLD:
            text, at = "array-elsewhere", machine.at
            job.issue(58, Verdict.NEEDS_REVIEW, text, member=member, offset=at)
        if name != "NumpyArrayWrapper" or made.maker.module not in _MODULES:
            return
        if not forked:
            forked = True
            _as_plain_pickle(job, machine, member)
        try:
            _pass_by(job, machine, made, member, depth)
        except _Odd as error:
            raise Broken(f"an array of joblib at byte {machine.at} {error}") from None
        # joblib puts the array where the wrapper was.
        machine.stack[-1] = Unknown("an array")

    return after_build


def _as_plain_pickle(job: Job, machine: Machine, member: str) -> None:
    """Whoever opens the file with ``pickle`` takes the array for opcodes.

    The first array is where both readings part; the bytes that joblib itself writes there are no
    opcodes, so this ends at once but for an array of objects, whose pickle finds the memo of the
    outer one in place of its own, and for a file that was made to be read both ways.
    """
    from torchkeep.scan.formats import pickles

    other = Bare(machine.source, machine.offset, machine.policy, end=machine.end)
    other.stack, other.memo = list(machine.stack), dict(machine.memo)
    other.marks = [list(mark) for mark in machine.marks]
    other.protocol = machine.protocol
    outcome = other.run()
    roots = {module.partition(".")[0] for module, _ in machine.policy}
    found = {
        name for name in outcome.names - machine.policy.keys() if name[0].split(".")[0] in roots
    }
    if found or known_dangers(outcome):
        pickles.note_hits(job, outcome, member)


def _pass_by(job: Job, machine: Machine, made: Made, member: str, depth: int) -> None:
    state = made.state
    if not isinstance(state, Dict):
        raise _Odd("has no state")
    if machine.frame_end > machine.offset:
        # joblib reads the array from the file, behind the frame, and not from here.
        raise _Odd("lies inside of a frame")
    machine.leave_frame()
    shape = _shape(state.get("shape"))
    size = itemsize(state.get("dtype"))
    if size is None:
        _nested(job, machine, member, depth)
        return
    if state.get("numpy_array_alignment_bytes") is not None:
        machine.skip(machine.number(1))
    count = 1
    for length in shape:
        count *= length
    machine.skip(count * size)


def _nested(job: Job, machine: Machine, member: str, depth: int) -> None:
    """An array of objects is a pickle of its own."""
    from torchkeep.scan.formats import pickles

    where = f"{member}!array" if member else "array"
    # joblib reads this one with pickle's own unpickler, so that no wrapper in it is replaced.
    inner = Machine(machine.source, machine.offset, machine.policy, end=machine.end)
    outcome = inner.run()
    pickles.judge(job, machine.source, outcome, where, depth)
    if outcome.broken:
        raise Broken(outcome.broken)
    machine.skip(outcome.end - machine.offset)


def _shape(value: Any) -> tuple[int, ...]:
    if (
        not isinstance(value, tuple)
        or len(value) > _MOST_DIMENSIONS
        or not all(isinstance(length, int) and 0 <= length < 1 << 63 for length in value)
    ):
        raise _Odd("has no shape")
    return value


def itemsize(dtype: Any) -> int | None:
    """Bytes of one item; None for a type that holds objects.

    What a pickle says about a type may contradict itself: the state can set the size and the flag
    for objects to anything. joblib would go by the state, so only a type that is as numpy writes
    it is taken.

    Args:
        dtype: What a pickle would build as ``numpy.dtype``.
    """
    code, state = _written(dtype)
    match = _DTYPE.fullmatch(code)
    if match is None or state[2] is not None:
        raise _Odd("has a type that is not known")
    kind, width = match[1], int(match[2])
    size = width * 4 if kind == "U" else width
    flexible = kind in "SUV"
    if size >= _MOST_ITEM or state[5] != (size if flexible else -1):
        raise _Odd("has a type of two sizes")
    if bool(state[7] & 1) != (kind == "O" or _has_object_field(state)):
        raise _Odd("has a type that does and does not hold objects")
    return None if state[7] & 1 else size


def _written(dtype: Any) -> tuple[str, tuple[Any, ...]]:
    """Code and state of a type: version, order, subarray, names, fields, size, alignment, flags."""
    if not isinstance(dtype, Made) or not dtype.is_made_by("numpy", "dtype"):
        raise _Odd("has no type")
    code = dtype.args[0] if isinstance(dtype.args, tuple) and dtype.args else None
    state = dtype.state
    if (
        not isinstance(code, str)
        or not isinstance(state, tuple)
        or len(state) < 8
        or not all(isinstance(number, int) for number in (state[5], state[7]))
    ):
        raise _Odd("has a type that is not known")
    return code, state


def _has_object_field(state: tuple[Any, ...], depth: int = 0) -> bool:
    if depth > _DEEPEST_TYPE:
        raise _Odd("has a type that is nested too deep")
    fields = [pair[1] for pair in state[4].pairs] if isinstance(state[4], Dict) else []
    return any(_is_object_type(field, depth) for field in fields)


def _is_object_type(field: Any, depth: int) -> bool:
    if not isinstance(field, tuple) or not field:
        raise _Odd("has a type with a field of no type")
    code, state = _written(field[0])
    if isinstance(state[2], tuple) and state[2]:  # a field that is an array itself
        return _is_object_type(state[2], depth + 1)
    return "O" in code or _has_object_field(state, depth + 1)
