"""JSON of which there is one spelling, with closed sets of keys.

What is hashed and signed are the bytes as they stand, so each value must have one spelling only: a
reader that takes another one could be shown two files under one signature.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from torchkeep.core import strict

T = TypeVar("T")


def encode(value: Any) -> bytes:
    """The one spelling of ``value``: sorted keys, no white space, ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def decode(data: bytes) -> Any:
    """Parse what :func:`encode` wrote.

    Raises:
        ValueError: It is spelled otherwise.
    """
    value = strict.loads(data)
    if encode(value) != data:
        raise ValueError("not in its one spelling")
    return value


class Fields:
    """The fields of an object: each is taken once, by its type, and none may be left.

    Args:
        value: The parsed object.

    Raises:
        ValueError: From every method: a field is missing, of another type, or out of range.
    """

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError("not an object")
        self._left: dict[str, Any] = dict(value)

    def take(self, key: str) -> Any:
        """The value of a key, whatever it is."""
        if key not in self._left:
            raise ValueError(f"{key} is missing")
        return self._left.pop(key)

    def number(self, key: str, lowest: int, highest: int) -> int:
        """A whole number."""
        value = self.take(key)
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(f"{key} is no number from {lowest} to {highest}")
        return value

    def text(self, key: str, longest: int) -> str:
        """Text of one character at least."""
        value = self.take(key)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise ValueError(f"{key} is no text of 1 to {longest} characters")
        return value

    def hexadecimal(self, key: str, length: int) -> bytes:
        """Bytes in lower-case hexadecimal digits."""
        return from_hex(self.take(key), length)

    def items(self, key: str, most: int, read: Callable[[Any], T]) -> tuple[T, ...]:
        """An array, each item read by ``read``."""
        value = self.take(key)
        if not isinstance(value, list) or len(value) > most:
            raise ValueError(f"{key} is no array of {most} items at most")
        return tuple(read(item) for item in value)

    def has(self, key: str) -> bool:
        """Whether a key that may be absent is there."""
        return key in self._left

    def done(self) -> None:
        """Refuse keys that nobody has taken."""
        if self._left:
            raise ValueError("it has a key that is not known")


def from_hex(value: Any, length: int) -> bytes:
    """``length`` bytes from lower-case hexadecimal digits.

    Raises:
        ValueError: It is none of that length.
    """
    if not isinstance(value, str) or len(value) != 2 * length or value != value.lower():
        raise ValueError(f"not {length} bytes in hexadecimal digits")
    data = bytes.fromhex(value)
    if len(data) != length:  # fromhex passes over white space
        raise ValueError(f"not {length} bytes in hexadecimal digits")
    return data
