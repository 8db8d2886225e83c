"""``scan``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from torchkeep.cli import options, output
from torchkeep.core import files
from torchkeep.core.errors import UsageError
from torchkeep.core.messages import message
from torchkeep.core.text import visible
from torchkeep.scan import FileReport, Report, Tier, Verdict, paths, stream

if TYPE_CHECKING:
    from torchkeep.scan.allowlist import Terms

_COLOURS = {
    Verdict.DANGEROUS: "red",
    Verdict.MALFORMED: "red",
    Verdict.NEEDS_REVIEW: "yellow",
    Verdict.NOT_SCANNED: "magenta",
    Verdict.CLEAN: "green",
}


@click.command()
@click.argument("locations", nargs=-1, required=True, metavar="FILE|FOLDER|URL|-...")
@options.as_json
@click.option(
    "--tier",
    type=click.Choice([tier.value for tier in Tier]),
    help="How much of a model may lie in a pickle.  [default: what the project says, or module]",
)
@click.option(
    "--project",
    "folder",
    type=options.PATH,
    help="Scan on the terms of its torchkeep.toml.  [default: that of the current folder]",
)
@click.option("--no-project", is_flag=True, help="Scan on the terms of no project.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out paths in a folder.")
@click.option(
    "--exclude-from",
    type=click.Path(path_type=Path),
    help="A file with one pattern a line; # starts a comment.",
)
@options.language
def scan(
    locations: tuple[str, ...],
    as_json: bool,
    tier: str | None,
    folder: Path | None,
    no_project: bool,
    exclude: tuple[str, ...],
    exclude_from: Path | None,
    language: str,
) -> int:
    """Say whether model files are safe to load, from their bytes alone.

    Nothing is unpickled, imported or run. - reads standard input. Exit status: 0 clean, 1
    dangerous, malformed or in need of a review, 3 not scanned.
    """
    terms = _terms(folder, no_project)
    patterns = [*exclude, *(_patterns(exclude_from) if exclude_from else ())]
    allowed = terms.allowed if terms else None
    level = Tier(tier) if tier else terms.tier if terms else Tier.MODULE
    with output.working():
        report = paths(
            [location for location in locations if location != "-"],
            exclude=[*patterns, *(terms.exclude if terms else ())],
            tier=level,
            allowed=allowed,
        )
    if "-" in locations:
        if sys.stdin is None:
            raise UsageError("standard input is closed", next="name a file instead of -")
        given = stream(sys.stdin.buffer, "<stdin>", tier=level, allowed=allowed)
        report = replace(report, files=(*report.files, given))
    if as_json:
        output.document(report.to_json())
    else:
        _show(report, language)
        _show_expired(terms, language)
    return report.verdict.exit_code


def _terms(folder: Path | None, no_project: bool) -> Terms | None:
    """The terms of the project that is meant; None where there is none."""
    if no_project:
        if folder is not None:
            raise click.UsageError("--project and --no-project exclude each other.")
        return None
    if folder is None and not os.path.lexists("torchkeep.toml"):
        return None
    # Most scans are of no project, and should not wait for what reads its file.
    from torchkeep.core.project import Project
    from torchkeep.scan import allowlist

    return allowlist.terms(Project.open(folder or "."))


def _show(report: Report, language: str) -> None:
    counts: dict[Verdict, int] = {}
    for file in report.files:
        counts[file.verdict] = counts.get(file.verdict, 0) + 1
        if file.verdict is not Verdict.NOT_A_MODEL:
            click.echo(_line(file, language))
            for issue in file.issues:
                place = visible(issue.member)
                if issue.offset is not None:
                    place += f"@{issue.offset}"
                text = visible(issue.message.text(language))
                click.echo(f"    {issue.rule}  {text}" + (f"  [{place}]" if place else ""))
            for name, until in sorted(file.allowed.items()):
                text = "allowed-until" if until else "allowed"
                note = message(f"scan.{text}", name=name, until=until)
                click.echo(f"    {visible(note.text(language))}")
    parts = [
        f"{count} {message(f'scan.verdicts.{verdict.value}').text(language)}"
        for verdict, count in sorted(counts.items(), key=lambda entry: entry[0].rank)
    ]
    if not parts:
        parts.append(message("scan.no-models").text(language))
    if report.excluded:
        parts.append(message("scan.excluded", count=report.excluded).text(language))
    click.echo(", ".join(parts))


def _show_expired(terms: Terms | None, language: str) -> None:
    for name, until in terms.expired if terms else ():
        note = message("scan.allowed-no-more", name=name, until=until)
        click.echo(visible(note.text(language)))


def _line(file: FileReport, language: str) -> str:
    word = message(f"scan.verdicts.{file.verdict.value}").text(language)
    if output.colour():
        word = click.style(word, fg=_COLOURS[file.verdict], bold=True)
    return f"{word}  {visible(file.path)}  ({file.format})"


def _patterns(path: Path) -> list[str]:
    lines = files.read(path, limit=1 << 20).decode("utf-8", "surrogateescape").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
