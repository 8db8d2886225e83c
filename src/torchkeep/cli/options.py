"""Options and types of arguments that many commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from torchkeep.core.messages import LANGUAGES, preferred
from torchkeep.core.source import object_at


class _Path(click.Path):
    """A path. An empty one is a shell variable that nobody set, and not the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if value == "":
            self.fail("expected a path and got an empty text", param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


class _Place(click.Path):
    """A path, or the URL of an object in a store."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        return str(value) if object_at(value) else PATH.convert(value, param, ctx)


PATH = _Path(path_type=Path)
PLACE = _Place()

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

language = click.option(
    "--lang",
    "language",
    type=click.Choice(LANGUAGES),
    default=preferred,
    show_default="from TORCHKEEP_LANG or the locale",
    help="Language of what is printed for people.",
)
