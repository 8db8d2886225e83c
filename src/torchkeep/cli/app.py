"""The command tree. A command's module is imported when it runs, so that help answers at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Final

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
    "Models": {
        "scan": ("scan", "Say whether model files are safe to load."),
        "convert": (
            "convert",
            "Turn a pickled checkpoint into safetensors, without unpickling it.",
        ),
    },
    "Keys and sealed files": {
        "key": ("key", "Make, list and show keys."),
        "seal": ("sealed", "Encrypt a model, a file or a folder, and sign it."),
        "open": ("sealed", "Decrypt a sealed file."),
        "sign": ("sign", "Sign a model's folder, so that others can check it."),
        "verify": ("sign", "Say whether a sealed file, or a signed folder, is whole and trusted."),
        "inspect": ("sealed", "Show what a sealed file says of itself."),
        "rewrap": ("sealed", "Seal a file for other recipients, in kilobytes."),
        "rekey": ("sealed", "Seal a file anew under a fresh key."),
        "store": ("store", "Say what protects a bucket or a folder."),
    },
    "This program": {
        "completion": ("shell", "Print the completion script of a shell."),
    },
}
NAME: Final = "torchkeep"
COMPLETE: Final = "_TORCHKEEP_COMPLETE"
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


@click.command(
    cls=_Tree, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, "-V", "--version", message="torchkeep %(version)s")
@click.pass_context
def root(context: click.Context) -> int | None:
    """Keep PyTorch models and the data behind them safe, and prove it.

    The loop: torchkeep audit, run the command that a row names, audit again.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return 2
    return None


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit status. A user's mistake never ends in a traceback."""
    output.prepare()
    as_json = "--json" in arguments
    try:
        status = _call(arguments)
        output.flush()
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        output.abandon()
        return 141
    except TorchkeepError as error:
        return _tell(error, as_json)
    except click.ClickException as error:
        return _tell(output.from_click(error), as_json)
    except (click.Abort, KeyboardInterrupt):
        output.note("interrupted")
        return 130
    except Exception as error:  # the machine's refusal, or a bug of ours: one line, and how to see
        if os.environ.get("TORCHKEEP_DEBUG"):
            import traceback

            traceback.print_exc()
        return _tell(_refused(error) if isinstance(error, OSError) else _bug(error), as_json)
    return status


def _call(arguments: Sequence[str]) -> int:
    # Not root.main(): it would end a broken pipe with 1, which is a verdict here.
    if COMPLETE in os.environ:
        root.main([], prog_name=NAME, complete_var=COMPLETE)
    try:
        with root.make_context(NAME, list(arguments)) as context:
            return int(root.invoke(context) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code


def _tell(error: TorchkeepError, as_json: bool) -> int:
    """Report an error, on standard error where standard output is what fails."""
    try:
        output.failure(error, as_json=as_json)
        output.flush()
    except OSError:
        output.abandon()
        if as_json:
            output.failure(error, as_json=False)
    return error.exit_code


def _refused(error: OSError) -> Internal:
    name = f"{error.filename}: " if error.filename is not None else ""
    reason = error.strerror or type(error).__name__
    return Internal(f"{name}{reason}", next="check the path and its disk, then run it again")


def _bug(error: Exception) -> Internal:
    return Internal(
        f"torchkeep failed in an unexpected way ({type(error).__name__})",
        next="set TORCHKEEP_DEBUG=1 to see where, and please report it",
    )
