"""Writes HTML and SVG elements; the one place where foreign text becomes markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from torchkeep.core.finding import State
from torchkeep.core.text import visible

# One stroke each on a 16 x 16 grid: states are told apart by shape and word, not by colour alone.
_ICONS: Final = {
    State.PASS: "M3 8.5l3.2 3.2L13 4.8",
    State.FAIL: "M4 4l8 8M12 4l-8 8",
    State.WARN: "M8 2.5l6 11H2zM8 6.5v3.2M8 11.4v.1",
    State.NOT_MEASURED: "M5.2 5.8a2.8 2.8 0 1 1 4.2 2.4C8.4 8.9 8 9.4 8 10.3M8 13v.1",
    State.NOT_APPLICABLE: "M4 8h8",
    State.ERROR: "M5.5 2h5L14 5.5v5L10.5 14h-5L2 10.5v-5zM8 5v3.5M8 10.9v.1",
    State.WAIVED: "M4.5 14V2.5h8l-2 3 2 3h-8",
}


class Html(str):
    """Markup: whatever was foreign in it has been escaped."""

    __slots__ = ()


def text(value: str) -> Html:
    """Foreign text as markup; markup stays what it is."""
    return value if isinstance(value, Html) else Html(escape(visible(value)))


def together(*children: str) -> Html:
    """Markup and texts, one after the other."""
    return Html("".join(map(text, children)))


def tag(name: str, *children: str, **attributes: str) -> Html:
    """One element.

    Args:
        name: Its tag.
        children: What stands in it; whatever is not :class:`Html` is text.
        attributes: Its attributes; ``data_x`` is written ``data-x`` and ``class_`` ``class``.
    """
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{head}>{together(*children)}</{name}>")


def table(caption: str, columns: Iterable[str], bodies: Iterable[Html], kind: str) -> Html:
    """A table; each of ``bodies`` is the markup of a group of rows."""
    heads = tag("tr", *(tag("th", column, scope="col") for column in columns))
    return tag("table", tag("caption", caption), tag("thead", heads), *bodies, class_=kind)


def symbols() -> Html:
    """The icons of all states, once per page, for :func:`icon` to refer to."""
    drawn = (
        tag("symbol", tag("path", d=path), id=f"i-{state.value}", viewBox="0 0 16 16")
        for state, path in _ICONS.items()
    )
    return tag("svg", *drawn, class_="symbols", aria_hidden="true")


def icon(state: State) -> Html:
    """The sign of a state; the word always stands beside it."""
    return tag("svg", tag("use", href=f"#i-{state.value}"), class_="icon", aria_hidden="true")


def bar(counts: Mapping[State, int], label: str) -> Html:
    """How many findings are in each state, as one bar."""
    least = sum(counts.values()) / 100  # one among thousands stays visible
    rectangles = []
    start = 0.0
    for state, count in counts.items():
        width = max(float(count), least)
        rectangles.append(
            tag("rect", class_=state.value, x=f"{start:g}", width=f"{width:g}", height="1")
        )
        start += width
    return tag(
        "svg",
        *rectangles,
        class_="bar",
        role="img",
        aria_label=label,
        viewBox=f"0 0 {start:g} 1",
        preserveAspectRatio="none",
    )
