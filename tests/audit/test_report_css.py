"""The colours of the HTML report can be told apart: WCAG 2.2, contrast (1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from torchkeep.core.finding import State

STATES = [state.value for state in State]
SCHEMES = ("light", "dark")


def palette(scheme):
    style = files("torchkeep.audit.render.html").joinpath("report.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[SCHEMES.index(scheme)]))


def channels(colour):
    return [int(colour[n : n + 2], 16) for n in (1, 3, 5)]


def luminance(colour):
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (part / 255 for part in channels(colour))
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(colour, share, ground):
    parts = zip(channels(colour), channels(ground), strict=True)
    return "#" + "".join(f"{round(c * share + g * (1 - share)):02x}" for c, g in parts)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_contrast(scheme):
    colours = palette(scheme)
    ground, band = colours["ground"], colours["band"]
    for name in ("text", "quiet", "link", *STATES):
        assert contrast(colours[name], ground) >= 4.5, name
    for name in ("text", "quiet"):
        assert contrast(colours[name], band) >= 4.5, name
    for state in STATES:
        banner = mixed(colours[state], 0.08, ground)
        for name in ("text", "quiet", "link", state):
            assert contrast(colours[name], banner) >= 4.5, (state, name)
        assert contrast(mixed(colours[state], 0.84, ground), ground) >= 3, state  # 1.4.11, pictures
