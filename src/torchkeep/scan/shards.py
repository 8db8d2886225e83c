"""Models in several files: an index names the file of each tensor, and the files lie beside it.

The index is held against what the files say: the headers of safetensors, the pickles of torch. A
loader that follows the index and one that takes every file must come to the same tensors. What is
said of one of the files is said of the index too, for a model is as safe as its worst part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torchkeep.core import source
from torchkeep.core.errors import TorchkeepError
from torchkeep.core.messages import message
from torchkeep.core.source import Readable, Source
from torchkeep.core.text import visible
from torchkeep.scan.job import Job
from torchkeep.scan.sniff import Kind
from torchkeep.scan.verdict import FileReport, Verdict

Scan = Callable[[Path, Source], FileReport]
"""Scans a shard that is open."""

_INDEX: Final = re.compile(r"(.+)(\.safetensors|\.bin)\.index(\.\w+)?\.json", re.DOTALL)
_SERIES: Final = re.compile(
    r"(.*)-(\d{1,6})-of-(\d{1,6})(\.safetensors|\.bin|\.gguf)", re.DOTALL | re.ASCII
)
_LONGEST: Final = 64 << 20  # bytes, as of any JSON
_MOST_SHARDS: Final = 10_000
_SHOWN: Final = 100  # letters of a name


@dataclass(slots=True)
class _Index:
    """An index that is held against its shards.

    Attributes:
        job: Where issues are noted.
        folder: Where it lies.
        scan: Scans a shard.
        shards: The names that each shard should hold.
        size: Bytes of all tensors that were found; None where they cannot be told.
    """

    job: Job
    folder: Path
    scan: Scan
    shards: dict[str, set[str]] = field(default_factory=dict)
    size: int | None = 0

    def refuse(self, rule: int, text: str, **args: object) -> None:
        """Note a contradiction."""
        self.job.issue(rule, Verdict.MALFORMED, message(f"scan.{text}", **args))

    def lack(self, text: str, **args: object) -> None:
        """Note a shard of which it is not known what it holds."""
        self.size = None
        self.job.issue(63, Verdict.NOT_SCANNED, message(f"scan.{text}", **args))


@dataclass(frozen=True, slots=True)
class _Held:
    """What a shard holds.

    Attributes:
        names: Its tensors.
        size: Their bytes; None where it cannot be told.
        others: Further names of tensors in it.
    """

    names: set[str]
    size: int | None = None
    others: frozenset[str] = frozenset()


def is_index(location: str | os.PathLike[str]) -> bool:
    """Whether something is, by its name, the index of a model, and lies on this machine."""
    is_url = isinstance(location, str) and "://" in location
    return not is_url and _INDEX.fullmatch(os.fspath(location)) is not None


def look(job: Job, opened: Readable, folder: Path, scan: Scan) -> None:
    """Hold an index against the shards in its folder.

    Args:
        job: Where issues are noted.
        opened: The index.
        folder: Where it lies.
        scan: Scans a shard.
    """
    if opened.size > _LONGEST:
        return  # which is noted of any JSON
    job.report.is_model = True
    index = _Index(job, folder, scan)
    content = _content(opened)
    if content is None:
        index.refuse(64, "index-odd")
        return
    places, sizes = content
    if not _take(index, places):
        return
    for shard in index.shards:
        _compare(index, shard)
    for name in _strays(index):
        index.refuse(65, "shard-stray", name=name[:_SHOWN])
    _check_size(index, sizes)


def missing(root: Path, names: Iterable[str]) -> list[str]:
    """The first file that is missing of each series of shards that has no index.

    Args:
        root: A folder.
        names: Paths of the files below it.
    """
    found: dict[tuple[str, str, str], set[int]] = {}
    indexed: set[tuple[str, str]] = set()
    for name in names:
        if match := _SERIES.fullmatch(name):
            stem, number, total, kind = match.groups()
            found.setdefault((stem, kind, total), set()).add(int(number))
        elif match := _INDEX.fullmatch(name):
            stem, kind, variant = match.groups()
            indexed |= {(stem, kind), (f"{stem}{variant or ''}", kind)}
    firsts = (
        _first_missing(root, *series, numbers)
        for series, numbers in found.items()
        if series[:2] not in indexed
    )
    return sorted(filter(None, firsts))


def _first_missing(root: Path, stem: str, kind: str, total: str, numbers: set[int]) -> str:
    first = 0 if 0 in numbers else 1  # some count from zero
    for number in range(first, first + int(total)):
        name = f"{stem}-{number:0{len(total)}}-of-{total}{kind}"
        if number not in numbers and not os.path.lexists(root / name):
            return name
    return ""


def absent(name: str) -> FileReport:
    """What is said of a shard that is not there."""
    job = Job(FileReport(path=visible(name)))
    job.issue(63, Verdict.NOT_SCANNED, "shard-absent")
    return job.report


def _content(opened: Readable) -> tuple[list[tuple[str, Any]], list[Any]] | None:
    """Names with their shards, and the sizes that are claimed; None where it is no index."""
    from torchkeep.scan.formats.configs import Pairs, parsed

    value = parsed(opened.read(0, opened.size))
    said = value if isinstance(value, Pairs) else []
    tables = [part for key, part in said if key == "weight_map"]
    if len(tables) != 1 or not isinstance(tables[0], Pairs) or not tables[0]:
        return None
    metadata = [part for key, part in said if key == "metadata" and isinstance(part, Pairs)]
    return tables[0], [size for part in metadata for key, size in part if key == "total_size"]


def _take(index: _Index, places: list[tuple[str, Any]]) -> bool:
    """Learn which names each shard should hold; says whether they can be told."""
    seen: set[str] = set()
    for name, shard in places:
        if name in seen:
            index.refuse(64, "index-twice", name=name[:_SHOWN])
            return False
        seen.add(name)
        if not isinstance(shard, str):
            index.refuse(64, "index-odd")
            return False
        index.shards.setdefault(shard, set()).add(name)
    if len(index.shards) > _MOST_SHARDS:
        index.refuse(64, "index-odd")
        return False
    outside = [shard for shard in index.shards if not _is_beside(index.folder, shard)]
    for shard in outside:
        index.refuse(64, "shard-outside", name=shard[:_SHOWN])
    return not outside


def _is_beside(folder: Path, shard: str) -> bool:
    """Whether a path stays in the folder, links to other folders on its way included.

    The file itself may be a link: that is how caches of hubs keep them, and what is scanned under
    its name is what a loader opens.
    """
    parts = shard.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in shard or ":" in shard or not shard.isprintable():
        return False
    parent = (folder / shard).parent
    if not os.path.lexists(parent):  # nor is the file; to follow a path of a million steps is waste
        return True
    return Path(os.path.realpath(parent)).is_relative_to(os.path.realpath(folder))


def _compare(index: _Index, shard: str) -> None:
    """Hold the names that a shard should have against those that it has."""
    held = _read(index, shard)
    if held is None:
        return
    index.size = None if held.size is None or index.size is None else index.size + held.size
    names = index.shards[shard]
    absent, odd = names - held.names - held.others, held.names - names
    for text, left in (("tensor-absent", absent), ("tensor-odd", odd)):
        if left:
            args = {"name": min(left)[:_SHOWN], "shard": shard[:_SHOWN], "count": len(left)}
            index.refuse(66, text, **args)


def _read(index: _Index, shard: str) -> _Held | None:
    """What a shard holds; None where that cannot be told, which is noted."""
    path = index.folder / shard
    if not os.path.lexists(path):
        index.lack("shard-missing", name=shard[:_SHOWN])
        return None
    held = None
    try:
        with source.open(path) as opened:
            report = index.scan(path, opened)
            index.job.report.has_pickle |= report.has_pickle
            index.job.report.allowed |= report.allowed
            if report.issues:
                _join(index, shard, report)
                return None
            held = _held(opened, report.format)
    except TorchkeepError:
        pass
    if held is None:
        index.lack("shard-unread", name=shard[:_SHOWN])
    return held


def _join(index: _Index, shard: str, report: FileReport) -> None:
    """Say of the whole model the worst that is said of one of its files."""
    worst = min(report.issues, key=lambda issue: issue.severity.rank)
    index.size = None
    index.job.issue(
        int(worst.rule[-3:]),
        worst.severity,
        worst.message,
        member=f"{shard}!{worst.member}" if worst.member else shard,
        offset=worst.offset,
        opcode=worst.opcode,
    )


def _held(opened: Source, format: str) -> _Held | None:
    """What a shard in which nothing is wrong holds; None where it cannot be told."""
    if format == Kind.SAFETENSORS.value:
        return _of_safetensors(opened)
    from torchkeep.scan.conversion.locate import locate
    from torchkeep.scan.pickle.values import Dict, Made

    value = locate(opened, format).value
    if not isinstance(value, (Dict, Made)):
        return None
    return _Held({name for name, _ in value.pairs if isinstance(name, str)})


def _of_safetensors(opened: Source) -> _Held:
    from torchkeep.scan.formats import tensors

    end = 8 + int.from_bytes(opened.read(0, 8), "little")
    held = dict(tensors.entries(opened, 8, end))
    # Of tensors that share their bytes the library keeps one, and names the others beside it.
    others = frozenset(name for name, one in held.pop("__metadata__", ()) if one in held)
    return _Held(set(held), None if others else opened.size - end, others)


def _strays(index: _Index) -> list[str]:
    """Files of the series that the index does not name: a loader of all files would take them."""
    series = {(match[1], match[4]) for shard in index.shards if (match := _SERIES.fullmatch(shard))}
    strays = []
    for folder in {shard.rpartition("/")[0] for shard in index.shards}:
        for name in _listed(index.folder / folder):
            path = f"{folder}/{name}" if folder else name
            match = _SERIES.fullmatch(path)
            if match and (match[1], match[4]) in series and path not in index.shards:
                strays.append(path)
    return sorted(strays)


def _listed(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []  # then its shards are missing, which is said


def _check_size(index: _Index, sizes: list[Any]) -> None:
    if len(sizes) > 1 or not all(isinstance(size, int | float) for size in sizes):
        index.refuse(64, "index-odd")
    elif sizes and index.size not in (None, sizes[0]):
        index.refuse(66, "total-size", claimed=sizes[0], found=index.size)
