"""Parts that other packages add, by entry point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point, loaded or not.

    Attributes:
        name: Its name in the group.
        package: The distribution that brings it.
        value: What it points to; None where loading failed.
        error: Why loading failed, None where it did not. The caller shows it: a plug-in that does
            not load must not vanish from a report.
    """

    name: str
    package: str
    value: Any
    error: Exception | None


def load(group: str) -> Iterator[Plugin]:
    """Load every entry point of ``group``, in the order of their names."""
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        package = point.dist.name if point.dist else ""
        try:
            value = point.load()
        except Exception as error:  # whatever a stranger's module raises, the others must load
            yield Plugin(point.name, package, None, error)
        else:
            yield Plugin(point.name, package, value, None)
