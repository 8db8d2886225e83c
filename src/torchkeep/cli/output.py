"""What every command prints alike: errors, progress, colour."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from torchkeep.core.errors import TorchkeepError, UsageError
from torchkeep.core.progress import Advance, shown_by
from torchkeep.core.text import visible


def failure(error: TorchkeepError, *, as_json: bool) -> int:
    """Report an error: one line for a person, one document for a program."""
    if as_json:
        body = {"code": error.code, "message": error.message, "next": error.next}
        click.echo(json.dumps({"schema_version": 1, "error": body}))
    else:
        click.echo(f"torchkeep: {visible(str(error))}", err=True)
    return error.exit_code


def from_click(error: click.ClickException) -> UsageError:
    """The same error in our tree, with the help page of its command as the next step."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "torchkeep"
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], next=f"see: {path} --help")


def note(text: str) -> None:
    """Say something to whoever watches."""
    click.echo(visible(text), err=True)


def colour() -> bool:
    """Whether standard output is a terminal that shows colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def columns() -> int:
    """Width of the terminal; 100 in a pipe."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100


@contextmanager
def progress() -> Iterator[None]:
    """Show the bars of long work on a terminal; stay silent in a pipe."""
    if sys.stderr.isatty():
        with shown_by(_bar):
            yield
    else:
        yield


@contextmanager
def _bar(label: str, total: int | None) -> Iterator[Advance]:
    with click.progressbar(length=total or 0, label=visible(label), file=sys.stderr) as bar:
        yield bar.update
