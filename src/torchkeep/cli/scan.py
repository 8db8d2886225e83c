"""``scan``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from torchkeep.cli import options, output
from torchkeep.core import files
from torchkeep.core.errors import UsageError
from torchkeep.core.messages import message
from torchkeep.core.text import visible
from torchkeep.scan import FileReport, Report, Tier, Verdict, paths, stream

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
    default=Tier.MODULE.value,
    show_default=True,
    help="How much of a model may lie in a pickle.",
)
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
    tier: str,
    exclude: tuple[str, ...],
    exclude_from: Path | None,
    language: str,
) -> int:
    """Say whether model files are safe to load, from their bytes alone.

    Nothing is unpickled, imported or run. - reads standard input. Exit status: 0 clean, 1
    dangerous, malformed or in need of a review, 3 not scanned.
    """
    patterns = [*exclude, *(_patterns(exclude_from) if exclude_from else ())]
    with output.working():
        report = paths(
            [location for location in locations if location != "-"],
            exclude=patterns,
            tier=Tier(tier),
        )
    if "-" in locations:
        if sys.stdin is None:
            raise UsageError("standard input is closed", next="name a file instead of -")
        given = stream(sys.stdin.buffer, "<stdin>", tier=Tier(tier))
        report = Report((*report.files, given))
    if as_json:
        output.document(report.to_json())
    else:
        _show(report, language)
    return report.verdict.exit_code


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
    summary = ", ".join(
        f"{count} {message(f'scan.verdicts.{verdict.value}').text(language)}"
        for verdict, count in sorted(counts.items(), key=lambda entry: entry[0].rank)
    )
    click.echo(summary or message("scan.no-models").text(language))


def _line(file: FileReport, language: str) -> str:
    word = message(f"scan.verdicts.{file.verdict.value}").text(language)
    if output.colour():
        word = click.style(word, fg=_COLOURS[file.verdict], bold=True)
    return f"{word}  {visible(file.path)}  ({file.format})"


def _patterns(path: Path) -> list[str]:
    lines = files.read(path, limit=1 << 20).decode("utf-8", "surrogateescape").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
