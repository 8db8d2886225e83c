"""``key``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from torchkeep.cli import keyring, options, output
from torchkeep.core.errors import UsageError
from torchkeep.core.messages import message
from torchkeep.core.text import visible, width
from torchkeep.vault import home, keyfile, keys
from torchkeep.vault.keys import Kind

_SHOWN: Final = 40  # characters of a public part in a table


@click.group(invoke_without_command=True)
@click.pass_context
def key(context: click.Context) -> int | None:
    """Make, list and show keys.

    A key is encrypted under a passphrase, and its public part lies beside it in NAME.pub. The key
    home is TORCHKEEP_KEYS, or ~/.config/torchkeep/keys.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return 2
    return None


@key.command()
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    "target",
    type=options.PATH,
    metavar="FILE",
    help="The file to write.  [default: NAME in the key home]",
)
@click.option("--sign", "is_signer", is_flag=True, help="Make a signing key.")
@click.option("--secret", "is_secret", is_flag=True, help="Make a secret to share with --to.")
@keyring.to
@click.option("--classic", is_flag=True, help="Make an X25519 identity, not an X-Wing one.")
@click.option("--unencrypted", is_flag=True, help="Keep the key in the clear.")
@keyring.passphrase_file
@options.language
@click.pass_context
def new(
    context: click.Context,
    name: str | None,
    target: Path | None,
    is_signer: bool,
    is_secret: bool,
    to: tuple[str, ...],
    classic: bool,
    unencrypted: bool,
    passphrase_file: Path | None,
    language: str,
) -> None:
    """Make a key: an identity, a signing key, or a secret for several people.

    The last line on standard output is its public part: the recipient that others seal for, or the
    public signing key; of a secret, the path. No key is ever written over.
    """
    _require_sense(context)
    kind = Kind.SIGNER if is_signer else Kind.SECRET if is_secret else Kind.IDENTITY
    path = _target(name, target, kind)
    if kind is Kind.SECRET:
        recipients = keyring.public_keys(to)
        keys.new_secret(path, recipients)
        output.note(message("vault.key.shared", path=path, number=len(recipients)).text(language))
        output.data(visible(str(path)))
        return
    keyfile.require_free(path)  # before anybody thinks of a passphrase
    passphrase = None if unencrypted else keyring.new_passphrase(passphrase_file)
    if kind is Kind.SIGNER:
        public = keys.new_signer(path, passphrase=passphrase)
    else:
        public = keys.new_identity(path, passphrase=passphrase, post_quantum=not classic)
    how = "vault.key.clear" if unencrypted else "vault.key.kept"
    output.note(message(how, path=path, public=keyfile.beside(path)).text(language))
    output.data(public)


@key.command("list")
@options.as_json
@options.language
def list_(as_json: bool, language: str) -> None:
    """List what lies in the key home. Nothing is unlocked for it."""
    folder = home.folder()
    found, problem = keys.entries(), home.exposure(folder) or ""
    if as_json:
        output.document(
            {
                "schema_version": 1,
                "home": str(folder),
                "problem": problem,
                "keys": [entry.to_json() for entry in found],
            }
        )
        return
    if problem:
        output.note(f"{folder}: {problem}")
    if not found:
        output.note(message("vault.key.none", folder=folder).text(language))
    rows = [_row(entry, language) for entry in found]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


@key.command()
@click.argument("name", metavar="NAME|FILE")
@keyring.passphrase_file
def show(name: str, passphrase_file: Path | None) -> None:
    """Show the public part of a key.

    NAME is a key in the key home. It is taken from NAME.pub; where there is none, the key is
    unlocked.
    """
    output.data(keys.public(name, keyring.asking(passphrase_file)))


def _require_sense(context: click.Context) -> None:
    """Refuse options that say two things at once."""
    given = {
        option
        for option in context.params
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE
    }
    for one, other in (
        ("name", "target"),
        ("is_signer", "is_secret"),
        ("is_signer", "classic"),
        ("is_secret", "classic"),
        ("is_secret", "unencrypted"),
        ("is_secret", "passphrase_file"),
        ("unencrypted", "passphrase_file"),
    ):
        if {one, other} <= given:
            names = {option.name: option.opts[-1] for option in context.command.params}
            raise click.UsageError(f"{names[one]} and {names[other]} exclude each other.")
    if ("to" in given) != ("is_secret" in given):
        raise UsageError(
            "--secret and --to go together: a secret is sealed for those who share it",
            next="run: torchkeep key new --secret --to RECIPIENT",
        )


def _target(name: str | None, target: Path | None, kind: Kind) -> Path:
    if target is not None:
        return target
    chosen = name or kind.value
    if "/" in chosen or chosen.startswith(".") or chosen.endswith(keyfile.SUFFIX):
        raise UsageError(
            f"{visible(chosen)} is no name for a key", next="name a file with -o instead"
        )
    return home.make() / chosen


def _row(entry: keys.Entry, language: str) -> list[str]:
    kind = entry.kind.value if entry.kind else "unknown"
    rest = "encrypted" if entry.is_encrypted else "unencrypted"
    public = entry.public.replace("\n", " ")
    shown = public if len(public) <= _SHOWN else f"{public[: _SHOWN - 11]}...{public[-8:]}"
    return [
        visible(entry.name),
        message(f"vault.key.kinds.{kind}").text(language),
        message(f"vault.key.rest.{rest}").text(language),
        shown,
        visible(entry.problem),
    ]
