"""Where the statement about a file that a command has written is kept, and who signs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from torchkeep.core import files
from torchkeep.core.errors import UsageError
from torchkeep.core.evidence import SUFFIX
from torchkeep.core.project import FILE, Project
from torchkeep.core.statement import Statement
from torchkeep.core.text import visible

if TYPE_CHECKING:
    from torchkeep.vault.signing import Signer


class Shelf:
    """The place for the statement about one file: the project that it lies in, else beside it.

    Where ``[vault] signer`` of that project names a key, the statement is signed with it.

    Args:
        target: The file that is to be written.
        force: Whether files beside it may be replaced.
        passphrase_file: Where the passphrase of that key is; asked for where None.

    Raises:
        UsageError: A statement is in the way, or there is no such key.
        ProjectError: The project's file is wrong.
        Refused: The key does not open.
    """

    def __init__(self, target: Path, *, force: bool, passphrase_file: Path | None = None) -> None:
        self._project = _project(target)
        self._beside = target.with_name(target.name + SUFFIX)
        is_taken = os.path.lexists(self._beside) and not os.path.lexists(target)
        if self._project is None and is_taken and not force:
            raise UsageError(
                f"{visible(str(self._beside))} exists already", next="move it away, or add --force"
            )
        self._signer = _signer(self._project, passphrase_file)

    def keep(self, statement: Statement) -> Path:
        """Keep a statement; returns where it lies."""
        envelope = statement.envelope()
        if self._signer is not None:
            from torchkeep.vault import statements

            envelope = statements.sign(envelope, self._signer)
        if self._project is not None:
            return self._project.keep(statement, envelope)
        files.write(self._beside, envelope.to_bytes())
        return self._beside


def _signer(project: Project | None, passphrase_file: Path | None) -> Signer | None:
    """The key that signs what a project makes; loaded before the work, which may be long."""
    if project is None or "vault" not in project.settings:
        return None
    # Whoever converts a model and signs nothing should not wait for ciphers.
    from torchkeep.cli import keyring
    from torchkeep.vault.rules import VaultTable

    name = project.table("vault", VaultTable).signer
    given = passphrase_file or os.environ.get("TORCHKEEP_PASSPHRASE_FILE")
    return keyring.signers([name], Path(given) if given else None)[0] if name else None


def _project(target: Path) -> Project | None:
    """The project that a file lies in."""
    for folder in Path(os.path.realpath(target)).parents:
        if os.path.lexists(folder / FILE):
            return Project.open(folder)
    return None
