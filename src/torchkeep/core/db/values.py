"""Values that both engines keep alike. What only one of them would take is refused for both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torchkeep.core.errors import UsageError
from torchkeep.core.text import is_encodable

Value = int | float | str | bytes | None


def bind(params: Sequence[Any], holes: int) -> tuple[Value, ...]:
    """Check ``params`` for a statement with ``holes`` placeholders.

    Raises:
        UsageError: There are more or fewer, or one is of a kind that the engines keep differently.
    """
    if isinstance(params, str | bytes):
        raise UsageError("parameters came as one string", next="pass them as a tuple: (value,)")
    if len(params) != holes:
        raise UsageError(f"the statement has {holes} placeholders and was given {len(params)}")
    return tuple(_value(position, value) for position, value in enumerate(params, 1))


# The base class's own conversion makes an exact int, float or str: an enum or a numpy scalar that
# inherits from one is written by its name, or not at all, where a driver is left to choose.
def _value(position: int, value: Any) -> Value:
    match value:
        case None:
            return None
        case int():
            return _integer(position, int.__int__(value))
        case float():
            return _real(position, float.__float__(value))
        case str():
            return _text(position, str.__str__(value))
        case bytes() | bytearray() | memoryview():
            return bytes(value)
    raise UsageError(
        f"parameter {position} is a {type(value).__name__}; int, float, str, bytes or None can be "
        "stored",
        next="store a time as integer microseconds since 1970 UTC, and other things as text",
    )


def _integer(position: int, value: int) -> int:
    if -(2**63) <= value < 2**63:
        return value
    raise UsageError(
        f"parameter {position} is an integer of {value.bit_length()} bits; 64 with the sign fit",
        next="store it as text or bytes",
    )


def _real(position: int, value: float) -> float:
    if math.isnan(value):
        raise UsageError(
            f"parameter {position} is not a number (NaN)", next="store None for an unknown value"
        )
    return value


def _text(position: int, value: str) -> str:
    if "\0" in value:
        raise UsageError(f"parameter {position} is text with a NUL in it", next="store it as bytes")
    if not is_encodable(value):
        raise UsageError(
            f"parameter {position} is text that UTF-8 cannot carry", next="store it as bytes"
        )
    return value
