"""``seal``, ``open``, ``verify``, ``inspect``, ``rewrap``, ``rekey``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from torchkeep.cli import keyring, naming, options, output
from torchkeep.cli.kept import Shelf
from torchkeep.core.errors import UsageError
from torchkeep.core.messages import message
from torchkeep.core.text import visible
from torchkeep.vault import describing, opening, rewrapping, sealing, unsealing
from torchkeep.vault.manifest import Policy
from torchkeep.vault.reading import Level
from torchkeep.vault.recipients import Identity, Passphrase, Recipient
from torchkeep.vault.writing import Identification

_VERIFIED = {None: "cli.unjudged", True: "cli.verified"}

Command = Callable[..., Any]

_file = click.argument("location", metavar="FILE|URL")
_trust = click.option(
    "--trust",
    "trusted",
    type=options.PATH,
    metavar="PUB|TOML",
    help="Who must have signed it: a .pub file or a trust.toml.",
)
_passphrase = click.option(
    "--passphrase",
    is_flag=True,
    help="Under a passphrase, from --passphrase-file or asked for, in place of recipients.",
)
_mixed = click.option(
    "--mixed", is_flag=True, help="Allow age1... beside age1pq1..., which is as weak as age1...."
)
_force = click.option("--force", is_flag=True, help="Replace a file of that name.")
_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


def _target(what: str, kind: click.Path = options.PATH) -> Command:
    return click.option("-o", "--output", "target", type=kind, metavar="OUT", help=what)


@click.command()
@click.argument("location", metavar="FILE|FOLDER|URL")
@_target(
    "The sealed file, or a URL.  [default: beside it, with .tks behind its name]", options.PLACE
)
@keyring.to
@_passphrase
@keyring.sign
@click.option("--model", metavar="NAME", help="What versions are counted for.  [default: the name]")
@click.option("--version", type=click.IntRange(1), default=1, help="Which version it is.")
@click.option("--not-before", type=_DAY, help="From when on it may be opened, in UTC.")
@click.option("--not-after", type=_DAY, help="Until when it may be opened, in UTC.")
@click.option("--lowest", type=click.IntRange(1), help="The lowest version that stays in use.")
@click.option("--pin", is_flag=True, help="Never let it be sealed for others than these.")
@_mixed
@_force
@click.option("--no-statement", is_flag=True, help="Keep no statement about what was done.")
@keyring.passphrase_file
@options.as_json
@options.language
def seal(
    location: str,
    target: Path | str | None,
    to: tuple[str, ...],
    passphrase: bool,
    sign: tuple[str, ...],
    model: str | None,
    version: int,
    not_before: datetime | None,
    not_after: datetime | None,
    lowest: int | None,
    pin: bool,
    mixed: bool,
    force: bool,
    no_statement: bool,
    passphrase_file: Path | None,
    as_json: bool,
    language: str,
) -> None:
    """Encrypt a model, a file or a folder for its recipients, and sign it.

    Safetensors are sealed tensor by tensor, so that each can be read alone. Exit status: 0 sealed.
    """
    path = target or naming.beside(location, naming.SUFFIX)
    recipients = _recipients(to, passphrase, passphrase_file)
    policy = Policy(
        not_before=_seconds(not_before),
        not_after=_seconds(not_after),
        versions=(lowest, version) if lowest else None,
        recipients=_ids(recipients) if pin else None,
    )
    shelf = None if no_statement else _shelf(path, force, passphrase_file)
    with output.working():
        done = sealing.seal(
            location,
            path,
            recipients,
            signers=keyring.signers(sign, passphrase_file),
            of=Identification(model=model or naming.stem(location), version=version),
            policy=policy,
            overwrite=force,
            mixed=mixed,
        )
        kept = _keep(shelf, done)
    if as_json:
        output.document(done.to_json() | {"statement": str(kept) if kept else None})
        return
    counts = {"bytes": f"{done.size:,}", "recipients": len(recipients), "signers": len(sign)}
    _say("cli.sealed", language, source=done.source, target=done.target, **counts)
    _note(kept, language)


@click.command()
@_file
@_target("The file or folder to write.  [default: the name without .tks]")
@keyring.identity
@_passphrase
@_trust
@click.option(
    "--level",
    type=click.Choice([Level.FULL.value, Level.TAGS.value]),
    default=Level.FULL.value,
    show_default=True,
    help="How much is checked; tags trusts everybody who can open it.",
)
@_force
@keyring.passphrase_file
@options.as_json
@options.language
def open(  # noqa: A001 - the command is called so
    location: str,
    target: Path | None,
    identity: tuple[str, ...],
    passphrase: bool,
    trusted: Path | None,
    level: str,
    force: bool,
    passphrase_file: Path | None,
    as_json: bool,
    language: str,
) -> None:
    """Decrypt a sealed file; what comes out is byte for byte what went in.

    Exit status: 0 opened, 1 refused, 2 no sealed file.
    """
    path = target or naming.unsealed(location)
    identities = _identities(identity, passphrase, passphrase_file)
    with (
        output.working(),
        opening.open(location, identities, trust=trusted, level=Level(level)) as sealed,
    ):
        unsealing.unseal(sealed, path, overwrite=force)
        parts = len(sealed.layouts)
    if as_json:
        output.document({"schema_version": 1, "target": str(path), "parts": parts, "level": level})
    else:
        _say("cli.opened", language, source=location, target=str(path), parts=parts)


@click.command()
@_file
@_trust
@keyring.identity
@_passphrase
@click.option(
    "--level",
    type=click.Choice([level.value for level in Level]),
    help="What is checked.  [default: full with an identity, else public]",
)
@keyring.passphrase_file
@options.as_json
@options.language
def verify(
    location: str,
    trusted: Path | None,
    identity: tuple[str, ...],
    passphrase: bool,
    level: str | None,
    passphrase_file: Path | None,
    as_json: bool,
    language: str,
) -> int:
    """Say whether a sealed file is whole, signed and trusted.

    Exit status: 0 verified, 1 refused, 2 no sealed file.
    """
    identities: list[Identity] = []
    if identity or passphrase:
        identities = _identities(identity, passphrase, passphrase_file)
    with output.working():
        found = opening.verify(
            location,
            trust=trusted,
            identity=identities,
            level=Level(level) if level else None,
        )
    if as_json:
        output.document(found.to_json())
    elif found.is_verified:
        signers = ", ".join(signer[:16] for signer in found.signers)
        key = _VERIFIED[found.trusted] if signers else "cli.unsigned"
        _say(key, language, name=found.name, level=found.level.value, signers=signers)
    else:
        click.echo(visible(found.reason))
    return 0 if found.is_verified else 1


@click.command()
@_file
@keyring.identity
@_passphrase
@keyring.passphrase_file
@options.as_json
@options.language
def inspect(
    location: str,
    identity: tuple[str, ...],
    passphrase: bool,
    passphrase_file: Path | None,
    as_json: bool,
    language: str,
) -> None:
    """Show what a sealed file says of itself; with an identity, what is in it.

    Nothing of what is shown has been verified: that is what verify is for.
    """
    identities: list[Identity] = []
    if identity or passphrase:
        identities = _identities(identity, passphrase, passphrase_file)
    with output.working():
        found = describing.describe(location, identities)
    if as_json:
        output.document(found)
        return
    for key, value in found.items():
        if key not in ("schema_version", "parts"):
            click.echo(visible(f"{key:14} {_plain(value)}"))
    for part in found.get("parts") or ():
        click.echo(visible(f"{part['kind']:14} {part['path']}  ({part['items']})"))


@click.command()
@_file
@keyring.identity
@keyring.to
@_mixed
@keyring.passphrase_file
@options.as_json
@options.language
def rewrap(
    location: str,
    identity: tuple[str, ...],
    to: tuple[str, ...],
    mixed: bool,
    passphrase_file: Path | None,
    as_json: bool,
    language: str,
) -> None:
    """Seal a file for other recipients; it takes kilobytes, whatever its size.

    Whoever could open it before has had its key: rekey shuts them out.
    """
    identities = _identities(identity, False, passphrase_file)
    recipients = keyring.recipients(to)
    written = rewrapping.rewrap(location, identities, recipients, mixed=mixed)
    if as_json:
        counts = {"recipients": len(recipients), "bytes_written": written}
        output.document({"schema_version": 1, "target": location, **counts})
    else:
        _say("cli.rewrapped", language, name=location, recipients=len(recipients), bytes=written)


@click.command()
@_file
@_target("The new file, or a URL.  [default: in place of the old one]", options.PLACE)
@keyring.identity
@keyring.to
@keyring.sign
@_trust
@_mixed
@keyring.passphrase_file
@options.as_json
@options.language
def rekey(
    location: str,
    target: Path | str | None,
    identity: tuple[str, ...],
    to: tuple[str, ...],
    sign: tuple[str, ...],
    trusted: Path | None,
    mixed: bool,
    passphrase_file: Path | None,
    as_json: bool,
    language: str,
) -> None:
    """Seal a file anew under a fresh key; nothing of it lies on the disk in clear."""
    recipients = keyring.recipients(to)
    with output.working():
        done = rewrapping.rekey(
            location,
            _identities(identity, False, passphrase_file),
            recipients,
            target=target,
            signers=keyring.signers(sign, passphrase_file),
            trust=trusted,
            mixed=mixed,
        )
    if as_json:
        output.document(done.to_json())
    else:
        counts = {"recipients": len(recipients), "signers": len(sign)}
        _say("cli.rekeyed", language, name=str(target or location), **counts)


def _shelf(path: Path | str, force: bool, passphrase_file: Path | None) -> Shelf | None:
    """None for an object in a store: beside it lies nothing of ours, and hashing it fetches it."""
    if isinstance(path, str):
        return None
    return Shelf(path, force=force, passphrase_file=passphrase_file)


def _keep(shelf: Shelf | None, done: sealing.Sealing) -> Path | None:
    said = done.statement() if shelf else None
    return shelf.keep(said) if shelf and said else None


def _say(key: str, language: str, **args: object) -> None:
    click.echo(visible(message(f"vault.{key}", **args).text(language)))


def _note(kept: Path | None, language: str) -> None:
    if kept is not None:
        output.note(message("vault.cli.kept", path=kept).text(language))


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {part}" for key, part in value.items()) or "-"
    return "-" if value is None else str(value)


def _recipients(
    to: tuple[str, ...], passphrase: bool, passphrase_file: Path | None
) -> list[Recipient]:
    if passphrase and to:
        raise click.UsageError("--to and --passphrase exclude each other.")
    if passphrase:
        return [Passphrase(keyring.new_passphrase(passphrase_file))]
    return list(keyring.recipients(to))


def _ids(recipients: Sequence[Recipient]) -> tuple[bytes, ...]:
    return tuple(sorted({one.id for one in recipients}))


def _identities(
    identity: tuple[str, ...], passphrase: bool, passphrase_file: Path | None
) -> list[Identity]:
    if passphrase:
        return [Passphrase(keyring.asking(passphrase_file)("the file"))]
    if not identity:
        raise UsageError(
            "nothing is named that could open it", next="name an identity with --identity"
        )
    return list(keyring.identities(identity, passphrase_file))


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp())
