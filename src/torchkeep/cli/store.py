"""``store``: what can be seen of the places where models and data lie."""

from __future__ import annotations

import click

from torchkeep.cli import options, output
from torchkeep.core.finding import Finding, State
from torchkeep.core.messages import message
from torchkeep.core.text import shell_command, visible

_COLOURS = {State.FAIL: "red", State.PASS: "green"}


@click.group(invoke_without_command=True)
@click.pass_context
def store(context: click.Context) -> int | None:
    """Look at the places where models and data lie."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return 2
    return None


@store.command()
@click.argument("location", metavar="URL|DIR")
@options.as_json
@options.language
def check(location: str, as_json: bool, language: str) -> int:
    """Say who can read and change a bucket or a folder, and what would be left of it.

    Nothing in it is changed, and none of its files is read. Exit status: 0 nothing fails, 1 a row
    fails, 2 no such store, 3 a row could not be measured.
    """
    from torchkeep.vault import stores

    with output.working():
        found = stores.check(location)
    if as_json:
        output.document(found.to_json())
        return found.exit_code
    for finding in found.findings:
        _show(finding, language)
    return found.exit_code


def _show(finding: Finding, language: str) -> None:
    word = message(f"report.states.{finding.state.value}").text(language)
    colour = _COLOURS.get(finding.state) if output.colour() else None
    measured = f"  ({finding.measured})" if finding.measured else ""
    reason = visible(finding.reason.text(language) + measured)
    click.echo(f"{click.style(word, fg=colour)}  {finding.rule}  {reason}")
    if command := shell_command(finding.fix) if finding.fix else None:
        click.echo(f"      {command}")
