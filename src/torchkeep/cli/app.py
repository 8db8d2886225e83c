"""The command tree. A command's module is imported when it runs, so that help answers at once."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from torchkeep import __version__
from torchkeep.cli import output
from torchkeep.core.errors import Internal, TorchkeepError

# Name, module and what the help page says of it, by the room that it belongs to.
SECTIONS: Final = {
    "The loop": {
        "init": ("audit", "Propose a project file from what lies in a folder."),
        "audit": ("audit", "Say what is open in a project, and what closes it."),
        "explain": ("audit", "Explain a rule: threat, measurement, limits, fix."),
    },
    "This program": {
        "completion": ("shell", "Print the completion script of a shell."),
    },
}
_COMMANDS: Final = {name: entry for table in SECTIONS.values() for name, entry in table.items()}


class _Tree(click.Group):
    """Knows every command by name and imports only the one that runs."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = import_module(f"torchkeep.cli.{_COMMANDS[name][0]}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, _COMMANDS))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(
                    [(name.ljust(longest), text) for name, (_, text) in commands.items()]
                )


@click.command(cls=_Tree, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="torchkeep %(version)s")
def root() -> None:
    """Keep PyTorch models and the data behind them safe, and prove it.

    The loop: torchkeep audit, run the command that a row names, audit again.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit status. A user's mistake never ends in a traceback."""
    as_json = "--json" in arguments
    try:
        status: Any = root.main(list(arguments), prog_name="torchkeep", standalone_mode=False)
        sys.stdout.flush()
    except TorchkeepError as error:
        return output.failure(error, as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return output.failure(output.from_click(error), as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:  # a bug of ours: say so in one line, with the way to see more
        if os.environ.get("TORCHKEEP_DEBUG"):
            traceback.print_exc()
        return output.failure(_bug(error), as_json=as_json)
    return int(status or 0)


def _bug(error: Exception) -> Internal:
    return Internal(
        f"torchkeep failed in an unexpected way ({type(error).__name__})",
        next="set TORCHKEEP_DEBUG=1 to see where, and please report it",
    )
