"""Draws the floors of the house from the rule that import-linter holds, so that it cannot lie.

``docs/floors.svg`` is made of two things only: the layers in pyproject.toml and the packages that
exist. ``--check`` fails where the file is not what they give.
"""

from __future__ import annotations

import re
import sys
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "floors.svg"
WIDTH, FLOOR, GAP, LABEL = 900, 62, 8, 54


def floors() -> list[list[str]]:
    """The rooms of each floor, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    rule = next(contract for contract in settings["contracts"] if contract["id"] == "floors")
    return [[room.strip(" ()") for room in layer.split("|")] for layer in rule["layers"]]


def job(room: str) -> str:
    """The first sentence of a room's docstring; empty where the room does not stand yet."""
    source = ROOT / "src" / "torchkeep" / room / "__init__.py"
    if not source.exists():
        return ""
    match = re.match(r'r?"""(.+?)[.?:;,](\s|$)', source.read_text(), re.DOTALL)
    return " ".join(match[1].split()) if match else ""


def draw() -> str:
    """The picture, as SVG."""
    table = floors()
    height = len(table) * (FLOOR + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif">',
        "<title>The floors of torchkeep: a room imports only from lower floors</title>",
    ]
    for row, rooms in enumerate(table):
        y = GAP + row * (FLOOR + GAP)
        number = len(table) - 1 - row
        parts.append(
            f'<text x="18" y="{y + FLOOR / 2 + 6}" font-size="17" fill="#888">{number}</text>'
        )
        width = (WIDTH - LABEL - GAP * len(rooms)) / len(rooms)
        for place, room in enumerate(rooms):
            parts.append(_room(room, LABEL + place * (width + GAP), y, width))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _room(room: str, x: float, y: float, width: float) -> str:
    text = job(room)
    stands = bool(text)
    look = 'fill="#1f6f8b"' if stands else 'fill="none" stroke="#999" stroke-dasharray="5 4"'
    ink = "#fff" if stands else "#888"
    out = (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{FLOOR}" rx="6" {look}/>'
        f'<text x="{x + width / 2:.1f}" y="{y + 26}" font-size="16" font-weight="600" fill="{ink}" '
        f'text-anchor="middle">{escape(room)}</text>'
    )
    room_for = int(width / 6.2)
    short = text if len(text) <= room_for else text[: room_for - 1].rsplit(" ", 1)[0] + " …"
    return out + (
        f'<text x="{x + width / 2:.1f}" y="{y + 46}" font-size="11.5" fill="{ink}" '
        f'text-anchor="middle">{escape(short or "planned")}</text>'
    )


def main() -> None:
    """Write the picture, or check it."""
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(draw(), "utf-8")
    elif not PICTURE.exists() or PICTURE.read_text("utf-8") != draw():
        sys.exit(f"{PICTURE.relative_to(ROOT)} is out of date; run: make docs")


if __name__ == "__main__":
    main()
