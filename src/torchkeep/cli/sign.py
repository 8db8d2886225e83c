"""``sign``, and ``verify`` for what it has signed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from torchkeep.cli import keyring, options, output, sealed
from torchkeep.core.messages import message
from torchkeep.core.text import visible
from torchkeep.vault import oms
from torchkeep.vault.oms import bundle

_OMS: Final = "oms"
_SEALED: Final = "sealed"

_format = click.option(
    "--format",
    "form",
    type=click.Choice([_OMS]),
    default=_OMS,
    show_default=True,
    help="OpenSSF Model Signing, which others read as well.",
)
_ignore = click.option(
    "--ignore",
    multiple=True,
    metavar="PATH",
    help="A file or folder below it that is not signed.  May be given again.",
)


@click.command()
@click.argument("folder", metavar="FOLDER", type=options.PATH)
@_format
@click.option("--sign", "key", required=True, metavar="PEM", help="The key to sign with.")
@click.option(
    "-o",
    "--output",
    "signature",
    type=options.PATH,
    metavar="OUT",
    help="The signature.  [default: model.sig in FOLDER]",
)
@_ignore
@click.option("--force", is_flag=True, help="Replace a signature of that name.")
@keyring.passphrase_file
@options.as_json
@options.language
def sign(
    folder: Path,
    form: str,
    key: str,
    signature: Path | None,
    ignore: tuple[str, ...],
    force: bool,
    passphrase_file: Path | None,
    as_json: bool,
    language: str,
) -> None:
    """Sign the files of a model's folder, so that others can check them.

    The key is a private key of an elliptic curve in PEM, the same that model_signing takes. The
    files are signed as they lie there, in clear. Exit status: 0 signed, 1 refused.
    """
    loaded = bundle.private_key(key, keyring.asking(passphrase_file))
    with output.working():
        done = oms.sign(folder, loaded, signature=signature, ignored=ignore, overwrite=force)
    if as_json:
        output.document(done.to_json() | {"format": form})
    else:
        _say("cli.signed", language, folder=done.folder, target=done.signature, files=done.files)


@click.command()
@click.argument("location", metavar="FILE|FOLDER|URL")
@click.option(
    "--format",
    "form",
    type=click.Choice([_SEALED, _OMS]),
    help="What it is.  [default: oms for a folder, else sealed]",
)
@click.option("--key", type=options.PATH, metavar="PEM", help="Who must have signed a folder.")
@click.option(
    "--signature",
    type=options.PATH,
    metavar="FILE",
    help="The signature of a folder.  [default: model.sig in it]",
)
@_ignore
@click.pass_context
def verify(
    context: click.Context,
    /,
    location: str,
    form: str | None,
    key: Path | None,
    signature: Path | None,
    ignore: tuple[str, ...],
    **given: Any,
) -> int:
    """Say whether a sealed file, or a folder that was signed, is whole and trusted.

    A folder is verified with the public key of its signer (--key); it must hold what was signed and
    nothing else. Exit status: 0 verified, 1 refused, 2 neither of both.
    """
    if (form or (_OMS if Path(location).is_dir() else _SEALED)) == _SEALED:
        _refuse(context, ("key", "signature", "ignore"), "a sealed file")
        return int(context.invoke(sealed.verify, location=location, **given))
    _refuse(context, ("trusted", "identity", "passphrase", "level"), "a folder")
    if key is None:
        raise click.UsageError("A folder is verified with --key, its signer's public key.")
    with output.working():
        public = bundle.public_key(key)
        found = oms.verify(Path(location), public, signature=signature, ignored=ignore)
    if given["as_json"]:
        output.document(found.to_json() | {"format": _OMS})
    elif found.is_verified:
        _say("cli.vouched", given["language"], folder=found.folder, files=found.files)
    else:
        click.echo(visible(f"{found.folder} is refused: {found.reason}"))
    return 0 if found.is_verified else 1


verify.params += [one for one in sealed.verify.params if isinstance(one, click.Option)]


def _refuse(context: click.Context, names: tuple[str, ...], what: str) -> None:
    """Refuse options of the other form: whoever gives them expects them to count."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in names and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[-1]} says nothing about {what}.")


def _say(key: str, language: str, **args: object) -> None:
    click.echo(visible(message(f"vault.{key}", **args).text(language)))
