"""Damage for parsers: documents that are almost what they should be."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | st.sampled_from(["", "0" * 64, "2026-01-01T00:00:00+00:00", "aGk="]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(document: Any, at: tuple = ()) -> list[tuple]:
    """Where every value of a JSON document stands."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    inner = [
        place
        for key, value in entries
        for place in (
            [(*at, key)],
            places(value, (*at, key)) if isinstance(value, dict | list) else [],
        )
        for place in place
    ]
    return [at, *inner] if not at else inner


def put(document: Any, place: tuple, value: Any) -> Any:
    """A copy of ``document`` with ``value`` at ``place``."""
    if not place:
        return value
    out = copy.deepcopy(document)
    node = out
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return out


def without(document: Any, place: tuple) -> Any:
    """A copy of ``document`` without what stands at ``place``."""
    out = copy.deepcopy(document)
    node = out
    for key in place[:-1]:
        node = node[key]
    del node[place[-1]]
    return out


@st.composite
def spoiled(draw: st.DrawFn, document: Any) -> Any:
    """``document`` with one value replaced by something else, or taken out."""
    place = draw(st.sampled_from(places(document)))
    if place and draw(st.booleans()):
        return without(document, place)
    return put(document, place, draw(anything))


@st.composite
def spoiled_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` cut short, or with some bytes replaced, inserted or repeated."""
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 8)))
    return (
        data[:start] + draw(st.binary(max_size=8)) + data[end:]
        if draw(st.booleans())
        else data[:start]
    )


def dumps(document: Any) -> bytes:
    """JSON as a careless writer has it: NaN, halves of characters and all."""
    return json.dumps(document).encode()
