"""Scans files, folders, streams and URLs."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from torchkeep.core import progress, source, tree
from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.source import Readable
from torchkeep.core.text import visible
from torchkeep.scan import dispatch, shards
from torchkeep.scan.job import Followed, Job
from torchkeep.scan.pickle import budget
from torchkeep.scan.pickle.policy import Policy, Tier
from torchkeep.scan.spool import Spool
from torchkeep.scan.verdict import FileReport, Report, Verdict

Location = str | os.PathLike[str]

# What matters of a large file lies far apart in it, and is small: headers of a few hundred bytes.
_BLOCK = 2048  # bytes that are fetched at once of a file that is not on this machine
_KEPT = 2048  # blocks

MOST_STREAMED: Final = 64 << 30
"""Bytes that are taken from a stream."""

_PIECE: Final = 1 << 20


def file(
    location: Location,
    *,
    tier: Tier = Tier.MODULE,
    allowed: Policy | None = None,
    named: bool = False,
) -> FileReport:
    """Scan one file.

    Args:
        location: A path or a URL (:func:`torchkeep.core.source.open`). The index of a model in
            several files stands for all of them.
        tier: How much of a model may lie in a pickle.
        allowed: Names that are allowed beside those of the tier.
        named: Whether to take the digests of files of this machine, for which all of each is read.

    Returns:
        What is said about it; a file that cannot be read is ``not-scanned``.
    """
    return _Run(tier, allowed, named).file(location)


def _near(found: source.Source) -> source.Source:
    if isinstance(found, source.FileSource):
        return found
    return source.Buffered(found, block=_BLOCK, keep=_KEPT)


def opened(
    reading: source.Source,
    *,
    tier: Tier = Tier.MODULE,
    allowed: Policy | None = None,
    followed: list[Followed] | None = None,
) -> FileReport:
    """Scan a file that is open and stays so: what is read of it later is what was judged.

    Args:
        reading: The file.
        tier: How much of a model may lie in a pickle.
        allowed: Names that are allowed beside those of the tier.
        followed: Where its pickles are noted, if somebody wants to know them again.
    """
    return _scan(reading, reading.name, tier, allowed, followed=followed)


def data(
    content: bytes, name: str, *, tier: Tier = Tier.MODULE, allowed: Policy | None = None
) -> FileReport:
    """Scan bytes that are in memory; ``name`` is what to call them."""
    return _scan(source.BytesSource(content, name), name, tier, allowed)


def stream(
    opened: BinaryIO, name: str, *, tier: Tier = Tier.MODULE, allowed: Policy | None = None
) -> FileReport:
    """Scan what a stream such as standard input gives.

    It is read to its end first, into a temporary file where it is long. A stream that gives
    nothing is ``not-scanned``: whoever should have written to it has failed.
    """
    with Spool() as content:
        try:
            while piece := opened.read(_PIECE):
                content.write(piece)
                if content.size > MOST_STREAMED:
                    return _unread(name, SourceError(f"more than {MOST_STREAMED:,} bytes came"))
        except OSError as error:  # of the stream, or of the disk with the temporary file
            return _unread(name, SourceError(error.strerror or str(error)))
        if not content.size:
            return _unread(name, SourceError("nothing came"))
        return _scan(content, name, tier, allowed)


def paths(
    locations: Iterable[Location],
    *,
    exclude: Iterable[str] = (),
    tier: Tier = Tier.MODULE,
    allowed: Policy | None = None,
    named: bool = False,
) -> Report:
    """Scan files, URLs, and every file below each folder.

    A link that leads out of a folder is followed to a file, which is scanned under the name of the
    link: that is what a loader would open. A link to a folder elsewhere is ``not-scanned``.

    Args:
        locations: What to scan.
        exclude: Shell patterns of paths below a folder that are left out; ``*`` matches ``/`` too.
        tier: How much of a model may lie in a pickle.
        allowed: Names that are allowed beside those of the tier.
        named: Whether to take the digests of files of this machine, for which all of each is read.

    Raises:
        UsageError: One of the locations does not exist.
    """
    search = _Search(tuple(exclude))
    for location in locations:
        search.add(location)
    run = _Run(tier, allowed, named)
    for one in search.found:  # first: an index needs to look into its shards anyway
        if not isinstance(one, FileReport) and shards.is_index(one):
            run.file(one)
    reports = [
        one if isinstance(one, FileReport) else run.file(one)
        for one in progress.track(search.found, "scanning", len(search.found))
    ]
    return Report(tuple(reports), search.excluded)


@dataclass(slots=True)
class _Run:
    """Scans files on the same terms, and each of them once.

    Attributes:
        tier: How much of a model may lie in a pickle.
        allowed: Names that are allowed beside those of the tier.
        named: Whether to take the digests of files of this machine.
        done: What was said, by where the file lies.
    """

    tier: Tier
    allowed: Policy | None
    named: bool = False
    done: dict[Location, FileReport] = field(default_factory=dict)

    def file(self, location: Location) -> FileReport:
        """What is said about a file; of an index, about the whole model."""
        if location not in self.done:
            try:
                with _near(source.open(location)) as opened:
                    self.done[location] = self._name(opened, self._scan(opened, location))
            except SourceError as error:
                self.done[location] = _unread(_shown(location), error)
        return self.done[location]

    def _scan(self, opened: source.Source, location: Location) -> FileReport:
        then = None
        if shards.is_index(location):
            folder = Path(location).parent
            then = partial(shards.look, opened=opened, folder=folder, scan=self._shard)
        return _scan(opened, opened.name, self.tier, self.allowed, then)

    def _shard(self, path: Path, opened: source.Source) -> FileReport:
        report = self._name(opened, _scan(opened, opened.name, self.tier, self.allowed))
        if not shards.is_index(path):  # of one that is named as a shard, more is to be said
            self.done[path] = report
        return report

    def _name(self, opened: source.Source, report: FileReport) -> FileReport:
        """Take the digests through what the scan read: a file that has changed since raises."""
        if self.named and isinstance(opened, source.FileSource):
            from torchkeep.scan import attest  # a scan of one small file must start at once

            report.subject = attest.subject(opened, report)
        return report


def _scan(
    opened: Readable,
    name: str,
    tier: Tier,
    allowed: Policy | None,
    then: Callable[[Job], None] | None = None,
    followed: list[Followed] | None = None,
) -> FileReport:
    job = Job(FileReport(path=name), tier=tier, allowed=allowed or {}, followed=followed)
    try:
        with _uncollected(), budget.shared():
            kinds = dispatch.look(job, opened)
            if then is not None:
                then(job)
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


@dataclass(slots=True)
class _Search:
    """Finds what is to be scanned."""

    patterns: tuple[str, ...]
    found: list[Location | FileReport] = field(default_factory=list)
    excluded: int = 0

    def add(self, location: Location) -> None:
        """The file itself, or all files below a folder; what cannot be looked at is a report."""
        if location == "":  # a shell variable that nobody set, and not the current folder
            raise UsageError("there is a location without a name", next="name a file or a folder")
        path = Path(location)
        if isinstance(location, str) and "://" in location:
            self.found.append(location)
        elif path.is_dir():
            self._folder(path)
        elif path.exists():
            self.found.append(path)
        else:
            raise UsageError(f"{visible(str(path))} does not exist", next="check the name")

    def _folder(self, path: Path) -> None:
        found = tree.walk(path)
        # A loader follows a link out of the folder, so what it would open there is scanned.
        names = sorted({*(entry.path for entry in found.files), *left_out(path, found)})
        for name in names:
            self._take(name, path / name)
        for name, reason in found.unreadable:
            self._take(name, _unread(str(path / name), SourceError(reason)))
        for name in shards.missing(path, names):
            self._take(name, shards.absent(str(path / name)))

    def _take(self, name: str, what: Location | FileReport) -> None:
        if matches(name, self.patterns):
            self.excluded += 1
        else:
            self.found.append(what)


def left_out(root: Path, found: tree.Tree) -> Iterator[str]:
    """What a walk left out and a loader might open: links, pipes, devices.

    Folders that it knows are left out on purpose, and so is a link to a folder that was walked.
    """
    top = Path(os.path.realpath(root))
    unwalked = {*found.skipped, *tree.SKIPPED_FOLDERS}
    for name in found.skipped:
        path = root / name
        if not path.is_symlink():
            if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where it may not look)
                yield name
            continue
        target = Path(os.path.realpath(path))
        inside = target.relative_to(top) if target.is_relative_to(top) else None
        if inside is None or any(str(part) in unwalked for part in (inside, *inside.parents)):
            yield name


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a path below a folder is left out; ``*`` matches ``/`` too."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def _shown(location: Location) -> str:
    """A location without the password and the signature that a URL may hold."""
    name = os.fspath(location)
    if not isinstance(location, str) or not name.lower().startswith(("http://", "https://")):
        return name
    from torchkeep.core.source import address  # where a server failed alone

    return address.parse(name).name


def _unread(name: str, error: SourceError) -> FileReport:
    job = Job(FileReport(path=name))
    job.issue(60, Verdict.NOT_SCANNED, "unread", why=error.message)
    return job.report
