"""What every command prints alike: errors, progress, colour."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import click

from torchkeep.core.errors import TorchkeepError, UsageError
from torchkeep.core.progress import Advance, shown_by
from torchkeep.core.text import visible


def prepare() -> None:
    """Have a terminal that lacks a character show its escape, where Python would give up."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def data(text: str) -> None:
    """Print a document: UTF-8 with one line end after it, whatever the terminal speaks."""
    click.echo(text.rstrip("\n").encode())


def document(value: Any) -> None:
    """Print one JSON document, in ASCII."""
    data(json.dumps(value))


def failure(error: TorchkeepError, *, as_json: bool) -> int:
    """Report an error: one line for a person, one document for a program."""
    if as_json:
        body = {"code": error.code, "message": visible(error.message), "next": visible(error.next)}
        document({"schema_version": 1, "error": body})
    else:
        note(f"torchkeep: {error}")
    return error.exit_code


def from_click(error: click.ClickException) -> UsageError:
    """The same error in our tree, with the help page of its command as the next step."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "torchkeep"
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], next=f"see: {path} --help")


def note(text: str) -> None:
    """Say something to whoever watches; if nobody can be told, the work goes on."""
    try:
        click.echo(visible(text), err=True)
    except OSError:
        return


def flush() -> None:
    """Hand over what is still in the buffer, while a failure can still be told."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon() -> None:
    """Send the rest nowhere, so that Python does not fail on it once more when it ends."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def colour() -> bool:
    """Whether standard output is a terminal that shows colours (https://no-color.org)."""
    return _is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns() -> int:
    """Width of the terminal; 100 in a pipe."""
    return shutil.get_terminal_size((100, 24)).columns if _is_terminal() else 100


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


@contextmanager
def working() -> Iterator[None]:
    """Show the bars of long work on a terminal, and keep what plug-ins print out of our data."""
    with redirect_stdout(sys.stderr):
        if sys.stderr is not None and sys.stderr.isatty():
            with shown_by(_bar):
                yield
        else:
            yield


@contextmanager
def _bar(label: str, total: int | None) -> Iterator[Advance]:
    with click.progressbar(length=total or 0, label=visible(label), file=sys.stderr) as bar:
        yield bar.update
