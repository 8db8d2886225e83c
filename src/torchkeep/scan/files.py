"""Scans files, folders, streams and URLs."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from torchkeep.core import progress, source, tree
from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.source import Readable
from torchkeep.core.text import visible
from torchkeep.scan import dispatch
from torchkeep.scan.job import Job
from torchkeep.scan.pickle.policy import Policy, Tier
from torchkeep.scan.verdict import FileReport, Report, Verdict

Location = str | os.PathLike[str]

# What matters of a large file lies far apart in it, and is small: headers of a few hundred bytes.
_BLOCK = 2048  # bytes that are fetched at once of a file that is not on this machine
_KEPT = 2048  # blocks


def file(
    location: Location, *, tier: Tier = Tier.MODULE, allowed: Policy | None = None
) -> FileReport:
    """Scan one file.

    Args:
        location: A path or a URL (:func:`torchkeep.core.source.open`).
        tier: How much of a model may lie in a pickle.
        allowed: Names that are allowed beside those of the tier.

    Returns:
        What is said about it; a file that cannot be read is ``not-scanned``.
    """
    try:
        with _near(source.open(location)) as opened:
            return _scan(opened, opened.name, tier, allowed)
    except SourceError as error:
        return _unread(os.fspath(location), error)


def _near(found: source.Source) -> source.Source:
    if isinstance(found, source.FileSource):
        return found
    return source.Buffered(found, block=_BLOCK, keep=_KEPT)


def opened(
    reading: source.Source, *, tier: Tier = Tier.MODULE, allowed: Policy | None = None
) -> FileReport:
    """Scan a file that is open and stays so: what is read of it later is what was judged."""
    return _scan(reading, reading.name, tier, allowed)


def data(
    content: bytes, name: str, *, tier: Tier = Tier.MODULE, allowed: Policy | None = None
) -> FileReport:
    """Scan bytes that are in memory; ``name`` is what to call them."""
    return _scan(source.BytesSource(content, name), name, tier, allowed)


def stream(
    opened: BinaryIO, name: str, *, tier: Tier = Tier.MODULE, allowed: Policy | None = None
) -> FileReport:
    """Scan what a stream such as standard input gives; it is read to its end first.

    A stream that gives nothing is ``not-scanned``: whoever should have written to it has failed.
    """
    content = opened.read()
    if not content:
        return _unread(name, SourceError("nothing came"))
    return data(content, name, tier=tier, allowed=allowed)


def paths(
    locations: Iterable[Location],
    *,
    exclude: Iterable[str] = (),
    tier: Tier = Tier.MODULE,
    allowed: Policy | None = None,
) -> Report:
    """Scan files, URLs, and every file below each folder.

    Args:
        locations: What to scan.
        exclude: Shell patterns of paths below a folder that are left out; ``*`` matches ``/`` too.
        tier: How much of a model may lie in a pickle.
        allowed: Names that are allowed beside those of the tier.

    Raises:
        UsageError: One of the locations does not exist.
    """
    patterns = tuple(exclude)
    found = [one for location in locations for one in _below(location, patterns)]
    reports = [
        one if isinstance(one, FileReport) else file(one, tier=tier, allowed=allowed)
        for one in progress.track(found, "scanning", len(found))
    ]
    return Report(tuple(reports))


def _scan(opened: Readable, name: str, tier: Tier, allowed: Policy | None) -> FileReport:
    job = Job(FileReport(path=name), tier=tier, allowed=allowed or {})
    try:
        with _uncollected():
            kinds = dispatch.look(job, opened)
    except SourceError as error:
        job.issue(60, Verdict.NOT_SCANNED, "unread", why=error.message)
    else:
        job.report.format = "+".join(kind.value for kind in kinds)
    return job.report


@contextmanager
def _uncollected() -> Iterator[None]:
    """A followed pickle is a hundred thousand live tuples: looking for cycles in them is waste."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _below(location: Location, patterns: tuple[str, ...]) -> Iterator[Location | FileReport]:
    """The file itself, or all files below a folder; what cannot be looked at is a report."""
    if isinstance(location, str) and "://" in location:
        yield location
        return
    path = Path(location)
    if not path.is_dir():
        if not path.exists():
            raise UsageError(f"{visible(str(path))} does not exist", next="check the name")
        yield path
        return
    found = tree.walk(path)
    for entry in found.files:
        if not _matches(entry.path, patterns):
            yield path / entry.path
    # A loader follows a link that the walk does not: what lies there must not pass for scanned.
    outside = [
        (name, "it leads out of the folder") for name in found.skipped if _leaves(path, name)
    ]
    for name, reason in (*found.unreadable, *outside):
        if not _matches(name, patterns):
            yield _unread(str(path / name), SourceError(reason))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _leaves(folder: Path, name: str) -> bool:
    link = folder / name
    return link.is_symlink() and not link.resolve().is_relative_to(folder.resolve())


def _unread(name: str, error: SourceError) -> FileReport:
    job = Job(FileReport(path=name))
    job.issue(60, Verdict.NOT_SCANNED, "unread", why=error.message)
    return job.report
