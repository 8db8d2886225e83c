"""What an audit asks about sealing: who can read models and data, and who vouched for them?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Final

from pydantic import Field

from torchkeep.core import progress
from torchkeep.core.errors import Refused, TorchkeepError
from torchkeep.core.finding import Finding, Location, Measured, State
from torchkeep.core.messages import Message, message
from torchkeep.core.project import Project
from torchkeep.core.rule import Rule, Ruleset
from torchkeep.core.schema import Table, Words
from torchkeep.core.source import bucket_at
from torchkeep.core.text import path_argument
from torchkeep.vault import header, home, opening, recipients, stores, trust
from torchkeep.vault.blocks import Stanza
from torchkeep.vault.frame import Frame
from torchkeep.vault.stores.rows import row

_SOON: Final = 30 * 86_400  # seconds
_DAY: Final = 86_400
_KEY_SUFFIXES: Final = (".key", ".pem")
_WEAKEST: Final = (64 << 10, 3)
"""KiB and passes of Argon2id: RFC 9106's second choice, for machines with little memory."""


class VaultTable(Table):
    """``[vault]``.

    Attributes:
        signer: A key in the key home that signs what the project makes.
        recipients: Whom ``seal`` and ``protect`` seal for.
        trust: Who may have signed it: a ``.pub`` file or a ``trust.toml``, as the project's own
            owner names it.
        stores: Where models and data lie: folders of the project, and URLs of buckets.
    """

    signer: Words | None = None
    recipients: list[Words] = Field(default_factory=list)
    trust: Words | None = None
    stores: list[Words] = Field(default_factory=list)


class VaultPolicy(Table):
    """``[policy.vault]``.

    Attributes:
        recipients: A sealed file has so many at least, so that a lost key loses no model.
    """

    recipients: int = Field(default=2, ge=1)


def _plain(project: Project) -> Iterator[Finding]:
    """Weights in clear."""
    for path in _weights(project):
        if _is_sealed(project.root / path):
            yield _finding("001", path, State.PASS, message("vault.is-sealed"))
        else:
            found = _finding(
                "001", path, State.WARN, message("vault.is-plain"), fix=_seal(project, path)
            )
            yield found
    if not _weights(project):
        yield _nothing(project, "001", "vault.no-weights")


def _signed(project: Project) -> Iterator[Finding]:
    """Sealed files that somebody trusted has signed."""
    table = project.table("vault", VaultTable)
    trusted = trust.load(project.root / table.trust) if table.trust else None
    sealed = project.once(sealed_files)
    for path in progress.track(sealed, "verifying", len(sealed)):
        try:
            found = opening.verify(project.root / path, trust=trusted, remember=False)
        except TorchkeepError as error:
            reason = message("vault.unread", why=error.message)
            yield _finding("002", path, State.NOT_MEASURED, reason)
            continue
        yield _finding("002", path, *_judge(found, trusted is not None))
    for path in _weights(project):
        if path not in sealed:
            yield _finding("002", path, State.WARN, message("vault.unsigned"))
    if not sealed and not _weights(project):
        yield _nothing(project, "002", "vault.no-weights")


def _judge(found: opening.Verification, is_judged: bool) -> tuple[State, Message]:
    if not found.is_verified:
        return State.FAIL, message("vault.refused", why=found.reason)
    if not found.signers:
        return State.WARN, message("vault.unsigned")
    if not is_judged:
        return State.WARN, message("vault.no-trust")
    return State.PASS, message("vault.trusted", signer=found.signers[0][:16])


def _current(project: Project) -> Iterator[Finding]:
    """Sealed files that may be used, and for some time to come."""
    now = int(time.time())
    sealed = project.once(sealed_files)
    for path, frame in sealed.items():
        if isinstance(frame, Refused):
            yield _finding("003", path, State.FAIL, message("vault.refused", why=frame.message))
            continue
        until = frame.manifest.policy.not_after
        if until is None:
            yield _finding("003", path, State.PASS, message("vault.no-end"))
            continue
        days = Measured(value=(until - now) // _DAY, unit="days")
        if until < now:
            yield _finding("003", path, State.FAIL, message("vault.ended"), measured=days)
        elif until < now + _SOON:
            yield _finding("003", path, State.WARN, message("vault.ends-soon"), measured=days)
        else:
            yield _finding("003", path, State.PASS, message("vault.ends-later"), measured=days)
    if not sealed:
        yield _nothing(project, "003", "vault.no-sealed")


def _keys(project: Project) -> Iterator[Finding]:
    """Private keys that others can read."""
    found = [entry.path for entry in project.tree.files if entry.path.endswith(_KEY_SUFFIXES)]
    places = [(path, project.root / path) for path in sorted(found)]
    at_home = home.folder()
    if at_home.is_dir():
        names = sorted(path for path in at_home.iterdir() if path.suffix != ".pub")
        places += [(str(path), path) for path in names if path.is_file()]
    for name, path in places:
        mode = path.stat().st_mode & 0o777
        exposed = mode & 0o077
        yield _finding(
            "004",
            name,
            State.FAIL if exposed else State.PASS,
            message("vault.key-exposed" if exposed else "vault.key-private"),
            measured=Measured(value=f"{mode:04o}"),
            fix=("chmod", "600", path_argument(name)) if exposed else (),
        )
    if not places:
        yield _nothing(project, "004", "vault.no-keys")


def _passphrases(project: Project) -> Iterator[Finding]:
    """Sealed files whose passphrase is cheap to guess."""
    said = False
    for path, frame in project.once(sealed_files).items():
        if isinstance(frame, Refused):
            continue
        for stanza in frame.block.stanzas:
            if stanza.type == recipients.Passphrase.type:
                said = True
                yield _passphrase(path, stanza)
    if not said:
        yield _nothing(project, "005", "vault.no-passphrase")


def _passphrase(path: str, stanza: Stanza) -> Finding:
    memory, passes, _ = recipients.cost(stanza)
    is_weak = memory < _WEAKEST[0] or passes < _WEAKEST[1]
    return _finding(
        "005",
        path,
        State.FAIL if is_weak else State.PASS,
        message("vault.cost", memory=memory >> 10, passes=passes),
        measured=Measured(value=memory >> 10, unit="MiB"),
    )


def _several(project: Project) -> Iterator[Finding]:
    """Sealed files that a second key opens as well."""
    least = project.policy("vault", VaultPolicy).recipients
    sealed = project.once(sealed_files)
    for path, frame in sealed.items():
        if isinstance(frame, Refused):
            yield _finding(
                "006", path, State.NOT_MEASURED, message("vault.refused", why=frame.message)
            )
            continue
        count = len(frame.block.stanzas)
        state = State.PASS if count >= least else State.WARN
        reason = message("vault.recipients", count=count)
        yield _finding("006", path, state, reason, measured=Measured(value=count))
    if not sealed:
        yield _nothing(project, "006", "vault.no-sealed")


def _data(project: Project) -> Iterator[Finding]:
    """Data that lies in clear."""
    for name, table in project.data.items():
        path = project.root / table.path
        if not path.exists():
            yield _finding("007", table.path, State.NOT_MEASURED, message("vault.data-missing"))
        elif path.is_file() and _is_sealed(path):
            yield _finding("007", table.path, State.PASS, message("vault.is-sealed"))
        else:
            reason = message("vault.data-plain", name=name)
            yield _finding("007", table.path, State.WARN, reason, fix=_seal(project, table.path))
    if not project.data:
        yield _nothing(project, "007", "vault.no-data")


def _stores(project: Project) -> Iterator[Finding]:
    """Places where models and data lie, summed up. A bucket that is named is asked."""
    named = project.table("vault", VaultTable).stores
    for name in named:
        location = name if bucket_at(name) else project.root / name
        command = ("torchkeep", "store", "check", path_argument(name))
        try:
            found = stores.check(location)
        except TorchkeepError as error:
            reason = message("vault.unread", why=error.message)
            yield row("010", name, State.NOT_MEASURED, reason, fix=command)
            continue
        worst = tuple(one.reason for one in found.findings if one.state is found.verdict)
        reason = message("vault.store.worst", rows=worst)
        yield row("010", name, found.verdict, reason, fix=command)
    if not named:
        yield row("010", project.name, State.NOT_MEASURED, message("vault.store.none"))


def sealed_files(project: Project) -> dict[str, Frame | Refused]:
    """The sealed files of a project by path: their frames, or why they have none."""
    out: dict[str, Frame | Refused] = {}
    for entry in project.tree.files:
        path = project.root / entry.path
        if not _is_sealed(path):
            continue
        try:
            with opening.framed(path) as found:
                out[entry.path] = found
        except Refused as error:
            out[entry.path] = error
        except TorchkeepError as error:
            out[entry.path] = Refused(error.message, next=error.next)
    return out


def _weights(project: Project) -> list[str]:
    named = {normpath(table.weights) for table in project.models.values() if table.weights}
    paths = {entry.path for entry in project.tree.files}
    return sorted(named & paths)


def _is_sealed(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(header.MAGIC)) == header.MAGIC
    except OSError:
        return False


def _seal(project: Project, path: str) -> tuple[str, ...]:
    """The command that seals a file, where it is known for whom."""
    to = project.table("vault", VaultTable).recipients
    if not to:
        return ()
    options = [part for one in to for part in ("--to", one)]
    return ("torchkeep", "seal", *options, path_argument(path))


def _finding(
    rule: str,
    subject: str,
    state: State,
    reason: Message,
    *,
    measured: Measured | None = None,
    fix: tuple[str, ...] = (),
) -> Finding:
    is_open = state in (State.FAIL, State.WARN, State.NOT_MEASURED)
    path = PurePosixPath(subject)
    name = f"TK-VAULT-{rule}"
    return Finding(
        rule=name,
        subject=subject,
        state=state,
        reason=reason,
        measured=measured,
        required=message(f"vault.required-{rule}") if is_open else None,
        location=None if path.is_absolute() else Location(path=str(path)),
        fix=(fix or ("torchkeep", "explain", name)) if is_open else (),
    )


def _nothing(project: Project, rule: str, reason: str) -> Finding:
    return Finding(
        rule=f"TK-VAULT-{rule}",
        subject=project.name,
        state=State.NOT_APPLICABLE,
        reason=message(reason),
    )


RULESET = Ruleset(
    room="vault",
    rules=(
        Rule(id="TK-VAULT-001", item="models.encryption", check=_plain),
        Rule(id="TK-VAULT-002", item="models.signature", check=_signed),
        Rule(id="TK-VAULT-003", item="models.signature", check=_current),
        Rule(id="TK-VAULT-004", item="models.encryption", check=_keys),
        Rule(id="TK-VAULT-005", item="models.encryption", check=_passphrases),
        Rule(id="TK-VAULT-006", item="models.encryption", check=_several),
        Rule(id="TK-VAULT-007", item="data.encryption", check=_data),
        Rule(id="TK-VAULT-010", item="data.storage", check=_stores),
    ),
    issues=stores.ISSUES,
    policy=VaultPolicy,
)
