"""``convert``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import click

from torchkeep.cli import options, output
from torchkeep.cli.kept import Shelf
from torchkeep.core.errors import UsageError
from torchkeep.core.messages import message
from torchkeep.core.text import visible
from torchkeep.scan import MODEL_SUFFIXES, Conversion, Verdict
from torchkeep.scan import convert as run

_MOST_NAMES = 8  # of one line


@click.command()
@click.argument("source", metavar="FILE|URL")
@click.option(
    "-o",
    "--output",
    "target",
    type=options.PATH,
    metavar="OUT.safetensors",
    help="The file to write.  [default: beside FILE, under its name]",
)
@click.option("--key", default="", metavar="NAME", help="Take what is under this key: a.b is in a.")
@click.option(
    "--salvage", is_flag=True, help="Take the tensors alone, out of a dangerous file too."
)
@click.option("--force", is_flag=True, help="Replace a file of that name.")
@click.option("--no-statement", is_flag=True, help="Keep no statement about what was done.")
@options.as_json
@options.language
def convert(
    source: str,
    target: Path | None,
    key: str,
    salvage: bool,
    force: bool,
    no_statement: bool,
    as_json: bool,
    language: str,
) -> None:
    """Turn a pickled checkpoint into safetensors, without unpickling it.

    FILE is scanned first, and nothing of it is ever run. The statement that the output came from
    FILE is kept in the project that it lies in, else beside it. Exit status: 0 converted, 1
    refused, 3 could not be scanned.
    """
    path = target or _beside(source)
    shelf = None if no_statement else Shelf(path, force=force)
    with output.working():
        done = run(source, path, key=key, salvage=salvage, overwrite=force)
        kept = shelf.keep(done.statement()) if shelf else None
    if as_json:
        output.document(done.to_json() | {"statement": str(kept) if kept else None})
        return
    _show(done, language)
    if kept is not None:
        output.note(message("scan.convert.kept", path=kept).text(language))


def _beside(source: str) -> Path:
    """The name of the source with another suffix; of a URL, in the current folder."""
    path = Path(source)
    if "://" in source:
        name = PurePosixPath(unquote(urlsplit(source).path)).name
        path = Path(name if name.isprintable() else "")
    if not path.name:
        raise UsageError(
            f"{visible(source)} has no name to take over", next="name the output with -o"
        )
    is_known = path.suffix.lower() in MODEL_SUFFIXES
    return path.with_name(f"{path.stem if is_known else path.name}.safetensors")


def _show(done: Conversion, language: str) -> None:
    def say(text: str, **args: object) -> None:
        click.echo(visible(message(f"scan.convert.{text}", **args).text(language)))

    sizes = {"tensors": f"{done.tensors:,}", "bytes": f"{done.bytes:,}"}
    say("converted", source=done.source, target=done.target, **sizes)
    if done.verdict is not Verdict.CLEAN:
        say("verdict", verdict=message(f"scan.verdicts.{done.verdict.value}"))
    if done.verdict is Verdict.DANGEROUS:
        say("salvaged")
    if done.module:
        say("module", module=done.module)
    for names in done.shared:
        say("shared", names=_some(names))
    if done.left_behind:
        first, more = done.left_behind[:_MOST_NAMES], len(done.left_behind) - _MOST_NAMES
        say("left-and-more" if more > 0 else "left", names=", ".join(first), more=more)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
