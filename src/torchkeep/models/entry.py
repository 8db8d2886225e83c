"""What the project file says about a model, and how to complain about it."""

from __future__ import annotations

from pathlib import Path

from torchkeep.core import toml
from torchkeep.core.errors import ProjectError, UsageError
from torchkeep.core.project import FILE, Project
from torchkeep.core.schema import ModelTable
from torchkeep.core.text import visible


def find(project: Project, name: str) -> ModelTable:
    """The entry ``[models.NAME]``.

    Raises:
        UsageError: The project names no such model.
    """
    try:
        return project.models[name]
    except KeyError:
        known = ", ".join(sorted(project.models)) or "none"
        raise UsageError(
            f"the project names no model {visible(name)!r}; it names: {visible(known)}",
            next=f"check the name, or add [models.{visible(name)}] to {FILE}",
        ) from None


def line(project: Project, *key: str) -> int | None:
    """The line of ``key``, or of the table that lacks it."""
    if not key:
        return None
    return toml.line_of(project.text, key) or line(project, *key[:-1])


def wrong(project: Project, *key: str, message: str, next: str = "") -> ProjectError:
    """An error that names file, line and key."""
    return ProjectError(
        message,
        path=project.file or Path(FILE),
        line=line(project, *key),
        key=toml.dotted(key),
        next=next,
    )
