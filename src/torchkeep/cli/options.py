"""Options that many commands share."""

from __future__ import annotations

import click

from torchkeep.core.messages import LANGUAGES, preferred

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

language = click.option(
    "--lang",
    "language",
    type=click.Choice(LANGUAGES),
    default=preferred,
    show_default="from TORCHKEEP_LANG or the locale",
    help="Language of what is printed for people.",
)
