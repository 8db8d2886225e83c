"""What ``torch.save`` and ``torch.jit.save`` write: pickles, and the storages that they name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan import zip as archives
from torchkeep.scan.formats import joblib, legacy, pickles, torchscript, zips
from torchkeep.scan.job import Job
from torchkeep.scan.part import Part
from torchkeep.scan.pickle.bare import is_bare
from torchkeep.scan.pickle.policy import Policy
from torchkeep.scan.sniff import Kind, kinds
from torchkeep.scan.tensors import Recorder, Storage
from torchkeep.scan.verdict import Verdict
from torchkeep.scan.zip import Member

# Torch looks in one folder at the top of the archive. Deeper ones would let a record be called raw
# here that another loader (torch.export) unpickles.
_DATA: Final = re.compile(r"([^/]*/)(?:data|constants)\.pkl", re.IGNORECASE)
_KEY: Final = re.compile(r"\w{1,64}", re.ASCII)
_SHARED: Final = re.compile(r"(?:data|constants|bytecode)/\w{1,64}", re.ASCII)
_STORAGES: Final = ("data/", "constants/", "bytecode/")
_SHAPES: Final = "traced_inputs/"  # torch.jit.trace keeps the shapes of its inputs, and no data

# Small records beside the pickles, and what torch reads them as.
_RECORDS: Final = {
    "version": re.compile(rb"\d{1,9}\n?"),
    ".data/version": re.compile(rb"\d{1,9}\n?"),
    "byteorder": re.compile(rb"little|big"),
    ".format_version": re.compile(rb"\d{1,9}"),
    ".storage_alignment": re.compile(rb"\d{1,9}"),
    ".data/serialization_id": re.compile(rb"\d{1,80}"),
}
_KNOWN: Final = frozenset({"data.pkl", "constants.pkl", "bytecode.pkl", *_RECORDS})
_LONGEST: Final = 128


@dataclass(slots=True)
class _Saved:
    """One saved object in an archive: everything below one folder.

    Attributes:
        job: Where issues are noted.
        source: The archive.
        root: The folder, with its slash.
        where: What to call the archive.
        records: Its members by the rest of their names, in lower case as torch looks for them.
        referenced: Records that hold the storages of tensors.
        broken: Whether a pickle could not be read, so that some of those are unknown.
    """

    job: Job
    source: Readable
    root: str
    where: str
    depth: int
    records: dict[str, list[Member]] = field(default_factory=dict)
    referenced: set[str] = field(default_factory=set)
    broken: bool = False

    def name(self, record: str) -> str:
        """What to call a record in an issue."""
        return zips.inside(self.where, self.root + record)


def look(
    job: Job, source: Readable, members: list[Member], member: str, depth: int
) -> list[Member]:
    """Scan the objects that torch saved in an archive; returns the members that belong to none."""
    roots = {fold(match[1]) for found in members if (match := _DATA.fullmatch(found.name))}
    for root in sorted(roots):
        saved = _Saved(job, source, root, member, depth)
        rest = []
        for found in members:
            name = fold(found.name)
            if name.startswith(root):
                saved.records.setdefault(name[len(root) :], []).append(found)
            else:
                rest.append(found)
        members = rest + _scan(saved)
    return members


def fold(name: str) -> str:
    """A name as torch compares it: without regard to the case of ASCII letters."""
    return name.lower() if name.isascii() else name.encode("utf-8", "replace").lower().decode()


def _scan(saved: _Saved) -> list[Member]:
    """Scan one saved object; returns its members that are of no known use."""
    _check_cases(saved)
    is_program = "constants.pkl" in saved.records
    saved.job.report.is_checkpoint |= not saved.where and not is_program
    policy = torchscript.look(saved.job, saved.source, saved.records, saved.name)
    done: set[str] = set()
    for record, found in saved.records.items():
        if record.endswith("pkl"):
            done.add(record)
            for reading in found:
                _pickle(saved, record, reading, policy)
        elif record in _RECORDS and _are_known(saved, record):
            done.add(record)
    return _left(saved, done | saved.referenced)


def _check_cases(saved: _Saved) -> None:
    """Torch finds a record in whatever case its name is; other readers do not."""
    for record, found in saved.records.items():
        names = {reading.name[len(saved.root) :] for reading in found}
        if len(names) > 1 or (record in _KNOWN and names != {record}):
            saved.job.issue(30, Verdict.MALFORMED, "zip-case", member=saved.name(record))


def _are_known(saved: _Saved, record: str) -> bool:
    """Whether a small record says what torch writes there."""
    known = True
    for found in saved.records[record]:
        if found.method or found.encrypted or found.size > _LONGEST:
            known = False
            continue
        complain = _complainer(saved, record)
        with archives.opened(saved.source, found, complain) as content:
            text = content.read(0, content.size)
        if not _RECORDS[record].fullmatch(text):
            known = False
    if not known:
        saved.job.issue(45, Verdict.MALFORMED, "odd-record", member=saved.name(record))
    return known


def _pickle(saved: _Saved, record: str, found: Member, policy: Policy) -> None:
    name, job = saved.name(record), saved.job
    if found.encrypted or not zips.may_open(job, found, name):
        if found.encrypted:
            zips.into(job, saved.source, found, saved.where, saved.depth)
        saved.broken = True
        return
    with archives.opened(saved.source, found, _complainer(saved, record)) as content:
        arrays = joblib.reader(job, name, saved.depth)
        machine = Recorder(content, 0, policy, persistent=legacy.is_storage_id, after_build=arrays)
        outcome = machine.run()
        pickles.judge(job, content, outcome, name, saved.depth)
        if outcome.broken:
            saved.broken = True
        elif outcome.end < content.size:
            _trailing(job, content, outcome.end, name, saved.depth)
        if record == "bytecode.pkl":
            torchscript.check_operators(job, content, name)
    legacy.check_tensors(job, name, machine)
    _check_storages(saved, record, machine.storages.values())


def _trailing(job: Job, content: Readable, end: int, name: str, depth: int) -> None:
    rest = content.size - end
    trial = zips.trial(job)
    pickles.look(trial, Part(content, end, rest), name, depth)
    zips.keep(job, trial)
    text = "trailing-bytes"
    job.issue(20, Verdict.NEEDS_REVIEW, text, member=name, offset=end, count=rest)


def _check_storages(saved: _Saved, record: str, storages: Iterable[Storage]) -> None:
    """Each storage that a pickle names has one record, as long as the pickle says."""
    folder = record.removesuffix(".pkl") + "/"
    for storage in storages:
        key = storage.key
        is_shared = _SHARED.fullmatch(key)
        path = key if is_shared else folder + key
        found = saved.records.get(folded := fold(path), [])
        if not found and folder == "bytecode/":
            path = folded = f"constants/{key}"
            found = saved.records.get(path, [])
        if not found:
            name = saved.name(record)
            saved.job.issue(42, Verdict.MALFORMED, "storage-missing", member=name, key=path[:80])
            continue
        if is_shared or _KEY.fullmatch(key):
            saved.referenced.add(folded)
        sizes = {storage.size, 0} if folder == _SHAPES else {storage.size}
        for reading in found:
            if reading.size not in sizes:
                saved.job.issue(
                    40,
                    Verdict.MALFORMED,
                    "storage-size",
                    member=saved.name(path),
                    key=key[:40],
                    claimed=storage.size,
                    found=reading.size,
                )


def _left(saved: _Saved, done: set[str]) -> list[Member]:
    """Members that are scanned by their content; a storage that nothing names is noted."""
    left = []
    for record, found in saved.records.items():
        if record in done:
            continue
        if record.startswith(_STORAGES):
            found = [reading for reading in found if not _is_loose(saved, record, reading)]
        left += found
    return left


def _is_loose(saved: _Saved, record: str, found: Member) -> bool:
    """Whether a record among the storages is mere data that nothing names."""
    if found.method or found.encrypted:
        return False
    with archives.opened(saved.source, found, lambda text: None) as content:
        known = set(kinds(content)) - {Kind.UNKNOWN, Kind.EMPTY, Kind.TEXT}
        plain = not known and not is_bare(content, saved.job.policy)
    if not saved.broken:
        saved.job.issue(43, Verdict.NEEDS_REVIEW, "storage-loose", member=saved.name(record))
    return plain


def _complainer(saved: _Saved, record: str) -> torchscript.Complain:
    def complain(text: str) -> None:
        saved.job.issue(30, Verdict.MALFORMED, text, member=saved.name(record))

    return complain
