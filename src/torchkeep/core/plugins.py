"""Parts that other packages add, by entry point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
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
    error: BaseException | None


def load(group: str) -> Iterator[Plugin]:
    """Load every entry point of ``group``, in the order of their names.

    A distribution whose list of entry points cannot be read comes first, as one that failed under
    the name of that list: it may have brought some.
    """
    found: list[tuple[str, str, EntryPoint]] = []
    seen = set()
    for distribution in distributions():
        try:
            points = distribution.entry_points.select(group=group)
        except Exception as error:  # one damaged list must not take the plug-ins of all others away
            yield Plugin("entry_points.txt", _package(distribution), None, error)
            continue
        package = _package(distribution) if points else ""
        if package not in seen:  # an earlier one on the path hides what has the same name
            found += [(point.name, package, point) for point in points]
        seen.add(package or None)
    for name, package, point in sorted(found, key=lambda entry: entry[:2]):
        yield _load(point, name, package)


def _load(point: EntryPoint, name: str, package: str) -> Plugin:
    try:
        return Plugin(name, package, point.load(), None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a stranger's module raises, SystemExit included
        return Plugin(name, package, None, error)


def _package(distribution: Distribution) -> str:
    try:
        return distribution.name or ""
    except Exception:  # its metadata is missing or damaged
        return ""
