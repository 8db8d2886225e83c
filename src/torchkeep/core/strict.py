"""JSON that every reader reads alike: what two parsers could take differently is refused."""

from __future__ import annotations

import json
import math
from typing import Any


def loads(data: bytes) -> Any:
    """Parse JSON in UTF-8.

    A byte-order mark, other encodings, a key that stands twice, numbers that JSON does not have or
    that no float holds, and nesting too deep to follow are all refused: one reader would take the
    first of two keys and another the last, and a signature would be over both.

    Raises:
        ValueError: It is no such JSON.
    """
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number
