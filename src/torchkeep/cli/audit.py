"""``init``, ``audit`` and ``explain``."""

from __future__ import annotations

from pathlib import Path

import click

from torchkeep.cli import options, output
from torchkeep.core import files
from torchkeep.core.errors import TorchkeepError, UsageError
from torchkeep.core.messages import message
from torchkeep.core.project import Project
from torchkeep.core.text import visible


@click.command()
@click.argument("folder", default=".", type=options.PATH)
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the proposal, write nothing.")
@options.language
def init(folder: Path, to_stdout: bool, language: str) -> None:
    """Propose a torchkeep.toml for FOLDER from what lies in it; never overwrite one."""
    from torchkeep.audit import proposal

    if to_stdout:
        output.data(proposal.propose(folder, language))
        return
    path = proposal.write(folder, language)
    output.note(message("audit.init", path=path).text(language))


@click.command()
@click.argument("folder", default=".", type=options.PATH)
@options.as_json
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "json", "sarif", "html"]),
    help="Form of the report.  [default: terminal]",
)
@click.option("-o", "--output", "target", type=options.PATH, help="Write it to a file instead.")
@options.language
def audit(folder: Path, as_json: bool, form: str | None, target: Path | None, language: str) -> int:
    """Say what is open in the project in FOLDER, and what closes it.

    Executes nothing of the project. Exit status: 0 pass, 1 fail, 3 incomplete. Where FOLDER has a
    torchkeep.toml, the report is also kept as .torchkeep/report.html.
    """
    from torchkeep.audit import run
    from torchkeep.audit.render import render, terminal

    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} exclude each other.")
    form = "json" if as_json else form or "terminal"
    with output.working():
        project = Project.open(folder)
        report = run(project)
    if target is not None:
        files.write(target, render(report, form, language))
    elif form == "terminal":
        text = terminal.render(report, language, colour=output.colour(), columns=output.columns())
        click.echo(text, nl=False)
    else:
        output.data(render(report, form, language))
    if project.file:
        _keep(project, render(report, "html", language), language)
    return report.verdict.exit_code


@click.command()
@click.argument("rule", required=False)
@options.as_json
@options.language
def explain(rule: str | None, as_json: bool, language: str) -> None:
    """Explain RULE: threat, measurement, limits, fix. Without RULE, list every rule."""
    from torchkeep import audit as room

    if rule is None:
        with output.working():
            index = [(name, title.text(language)) for name, title in room.index()]
        if as_json:
            rules = [{"rule": name, "title": title} for name, title in index]
            output.document({"schema_version": 1, "rules": rules})
        else:
            click.echo("\n".join(f"{visible(name):18} {visible(title)}" for name, title in index))
        return
    with output.working():
        page = room.explain(rule)
    if as_json:
        output.document(page.to_json(language))
        return
    title = visible(page.rule)
    click.echo(click.style(title, bold=True) if output.colour() else title)
    for name, text in page.sections.items():
        label = message(f"report.sections.{name}").text(language)
        click.echo(f"\n{label}\n  {visible(text.text(language))}")
    if page.controls:
        label = message("report.sections.controls").text(language)
        click.echo(f"\n{label}\n  " + "\n  ".join(visible(str(c)) for c in page.controls))


def _keep(project: Project, page: str, language: str) -> None:
    """Keep the HTML report; a project that cannot be written to still has its verdict."""
    path = project.state / "report.html"
    try:
        # Whoever made the project must not choose which of our files the report replaces.
        for place in (project.state, path):
            if place.is_symlink():
                raise UsageError(f"{visible(str(place))} is a link, so the report is not kept")
        project.make_state()
        files.write(path, page)
    except TorchkeepError as error:
        output.note(str(error))
    else:
        output.note(message("audit.kept", path=path).text(language))
