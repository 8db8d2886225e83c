"""Where the statement about a file that a command has written is kept."""

from __future__ import annotations

import os
from pathlib import Path

from torchkeep.core import files
from torchkeep.core.errors import UsageError
from torchkeep.core.evidence import SUFFIX
from torchkeep.core.project import FILE, Project
from torchkeep.core.statement import Statement
from torchkeep.core.text import visible


class Shelf:
    """The place for the statement about one file: the project that it lies in, else beside it.

    Args:
        target: The file that is to be written.
        force: Whether files beside it may be replaced.

    Raises:
        UsageError: A statement is in the way.
        ProjectError: The project's file is wrong.
    """

    def __init__(self, target: Path, *, force: bool) -> None:
        self._project = _project(target)
        self._beside = target.with_name(target.name + SUFFIX)
        is_taken = os.path.lexists(self._beside) and not os.path.lexists(target)
        if self._project is None and is_taken and not force:
            raise UsageError(
                f"{visible(str(self._beside))} exists already", next="move it away, or add --force"
            )

    def keep(self, statement: Statement) -> Path:
        """Keep a statement; returns where it lies."""
        if self._project is not None:
            return self._project.keep(statement)
        files.write(self._beside, statement.envelope().to_bytes())
        return self._beside


def _project(target: Path) -> Project | None:
    """The project that a file lies in."""
    for folder in Path(os.path.realpath(target)).parents:
        if os.path.lexists(folder / FILE):
            return Project.open(folder)
    return None
