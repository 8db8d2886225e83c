"""``scan``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from torchkeep.cli import options, output
from torchkeep.core import files
from torchkeep.core.errors import UsageError
from torchkeep.core.messages import message
from torchkeep.core.text import visible
from torchkeep.scan import Report, Tier, Verdict, paths, stream
from torchkeep.scan.render import FORMS, render

if TYPE_CHECKING:
    from torchkeep.core.project import Project
    from torchkeep.core.statement import Statement
    from torchkeep.scan.allowlist import Terms
    from torchkeep.scan.pickle.policy import Policy

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
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="Form of the report.  [default: terminal]",
)
@click.option("-o", "--output", "target", type=options.PATH, help="Write it to a file instead.")
@click.option(
    "--statement",
    "keep",
    is_flag=True,
    help="Keep a statement about the files in the project; all of each is read.",
)
@click.option(
    "--statement-to", type=options.PATH, help="Write that statement to a new file instead."
)
@click.option("--all", "every", is_flag=True, help="Name every clean file, however many there are.")
@click.option(
    "--tier",
    type=click.Choice([tier.value for tier in Tier]),
    help="How much of a model may lie in a pickle.  [default: module, or what --project says]",
)
@click.option(
    "--project",
    "folder",
    type=options.PATH,
    metavar="FOLDER",
    help="Scan on the terms of the torchkeep.toml there, which should be your own.",
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
    form: str | None,
    target: Path | None,
    keep: bool,
    statement_to: Path | None,
    every: bool,
    tier: str | None,
    folder: Path | None,
    exclude: tuple[str, ...],
    exclude_from: Path | None,
    language: str,
) -> int:
    """Say whether model files are safe to load, from their bytes alone.

    Nothing is unpickled, imported or run. - reads standard input. Exit status: 0 clean, 1
    dangerous, malformed or in need of a review, 3 not scanned.
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} exclude each other.")
    form = "json" if as_json else form or "terminal"
    terms = _terms(folder)
    shelf = _shelf(folder) if keep and statement_to is None else None
    level = Tier(tier) if tier else terms.tier if terms else Tier.MODULE
    allowed = terms.allowed if terms else {}
    patterns = [*exclude, *_patterns(exclude_from), *(terms.exclude if terms else ())]
    started = datetime.now(UTC)
    with output.working():
        named = keep or statement_to is not None
        report = _report(locations, patterns, tier=level, allowed=allowed, named=named)
        if target is not None:
            _spare(target, report)
        if named:
            # Only when it is asked for: a scan of one small file must start at once.
            from torchkeep.scan import statement

            argv = _argv(locations, level, patterns)
            said = statement(report, started=started, tier=level, allowed=allowed, argv=argv)
            _keep(said, shelf, statement_to, language)
    if target is not None:
        files.write(target, render(report, form, language, every=every))
    elif form == "terminal":
        _show(report, language, every)
        _show_expired(terms, language)
    else:
        output.data(render(report, form))
    return report.verdict.exit_code


def _spare(target: Path, report: Report) -> None:
    """A report takes the place of an older one, and never that of a model."""
    place = os.path.realpath(target)
    names = [one.path for one in report.files if one.verdict is not Verdict.NOT_A_MODEL]
    if any("\0" not in name and os.path.realpath(name) == place for name in names):
        name = visible(str(target))
        raise UsageError(f"{name} is what is scanned", next="give the report another name")


def _report(
    locations: tuple[str, ...], exclude: list[str], *, tier: Tier, allowed: Policy, named: bool
) -> Report:
    """What is said about the locations; ``-`` is standard input, and comes last."""
    places = [location for location in locations if location != "-"]
    report = paths(places, exclude=exclude, tier=tier, allowed=allowed, named=named)
    if "-" not in locations:
        return report
    if sys.stdin is None:
        raise UsageError("standard input is closed", next="name a file instead of -")
    given = stream(sys.stdin.buffer, "<stdin>", tier=tier, allowed=allowed)
    return replace(report, files=(*report.files, given))


def _terms(folder: Path | None) -> Terms | None:
    """The terms of a project that is named.

    Never those of a project that merely lies here: a stranger's folder would bring its own.
    """
    if folder is None:
        return None
    # Most scans are of no project, and should not wait for what reads its file.
    from torchkeep.core.project import Project
    from torchkeep.scan import allowlist

    return allowlist.terms(Project.open(folder))


def _shelf(folder: Path | None) -> Project:
    """The project to keep a statement in: the one that is named, or the one around."""
    from torchkeep.core.project import Project

    project = Project.open(folder or ".")
    if project.file is None:
        raise UsageError("there is no project to keep a statement in", next="use --statement-to")
    return project


def _argv(locations: tuple[str, ...], tier: Tier, exclude: list[str]) -> list[str]:
    """The command line with what the project adds, without URLs: they may hold secrets."""
    left_out = [part for pattern in exclude for part in ("--exclude", pattern)]
    named = [location for location in locations if "://" not in location]
    return ["torchkeep", "scan", "--tier", tier.value, *left_out, "--", *named]


def _keep(said: Statement, project: Project | None, target: Path | None, language: str) -> None:
    """Keep a statement where no other is overwritten: in ``target``, else in the project."""
    if target is not None:
        files.write(target, said.envelope().to_bytes(), exclusive=True)
    elif project is not None:
        target = project.keep(said)
    output.note(message("scan.kept", path=target).text(language))


def _show(report: Report, language: str, every: bool) -> None:
    from torchkeep.scan.render import terminal

    paint = _painted if output.colour() else terminal.unpainted
    click.echo(terminal.render(report, language, every=every, paint=paint), nl=False)


def _show_expired(terms: Terms | None, language: str) -> None:
    for name, until in terms.expired if terms else ():
        note = message("scan.allowed-no-more", name=name, until=until)
        click.echo(visible(note.text(language)))


def _painted(word: str, verdict: Verdict) -> str:
    return click.style(word, fg=_COLOURS[verdict], bold=True)


def _patterns(path: Path | None) -> list[str]:
    if path is None:
        return []
    lines = files.read(path, limit=1 << 20).decode("utf-8", "surrogateescape").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
