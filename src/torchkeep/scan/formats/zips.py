"""Zip archives: each member that some reader can reach, and where readers do not agree.

Members are scanned by their content. The storages that a pickle of torch names are numbers,
whatever they begin with: they are not read, so their checksum is not looked at; nor is that of any
other member of more than 64 MiB that is not compressed.
"""

from __future__ import annotations

import re
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan import dispatch
from torchkeep.scan import zip as archives
from torchkeep.scan.formats import texts
from torchkeep.scan.job import DEEPEST, Job
from torchkeep.scan.part import Part
from torchkeep.scan.sniff import Kind, kinds
from torchkeep.scan.verdict import FileReport, Issue, Verdict
from torchkeep.scan.zip import Archive, Member

_PICKLES: Final = frozenset({".pkl", ".pickle", ".p", ".pk", ".dill", ".joblib"})
_PACKAGE: Final = re.compile(r"[^/]*/\.data/(extern_modules|python_version)|mar-inf/manifest\.json")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_MOST_RATIO: Final = 200
_MOST_PROBLEMS: Final = 50  # that are told of one archive
_MOST_OVERLAP: Final = 3  # how often a byte may be scanned, over all members
_FREE: Final = 64 << 20  # bytes that may come out whatever went in


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Scan a zip archive, or several in a row as distributed checkpoints write them."""
    rows = archives.series(source)
    for start, part in rows:
        _look(job, part, member if len(rows) == 1 else f"{member}@{start}", depth)


def _look(job: Job, source: Readable, member: str, depth: int) -> None:
    from torchkeep.scan.formats import pt2, torch_zip

    archive = archives.read(source)
    _note_problems(job, archive, member)
    members = _files(job, archive, member, source.size)
    _note_code(job, members, member)
    members = torch_zip.look(job, source, members, member, depth)
    members = pt2.look(job, source, members, member, depth)
    for found in members:
        into(job, source, found, member, depth)
    for start, length in archive.hidden:
        _stretch(job, source, start, length, member, depth)


def inside(member: str, name: str) -> str:
    """What to call a member of a container that lies in another one."""
    return f"{member}!{name}" if member and name else member or name


def into(
    job: Job, source: Readable, found: Member, member: str, depth: int, *, pickle: bool = False
) -> None:
    """Scan a member by its content; as a pickle too, where its name or its place says so."""
    name = inside(member, found.name)
    if found.encrypted:
        _as_if_plain(job, source, found, member, depth)
        return
    if not may_open(job, found, name):
        return

    def complain(text: str) -> None:
        job.issue(30, Verdict.MALFORMED, text, member=name, about="")

    with archives.opened(source, found, complain) as content:
        seen = dispatch.look(job, content, name, depth + 1)
        if (
            (pickle or texts.suffix(found.name) in _PICKLES)
            and not _loaded(seen)
            and depth < DEEPEST
        ):
            from torchkeep.scan.formats import pickles

            pickles.look(job, content, name, depth + 1)


def _loaded(seen: tuple[Kind, ...]) -> bool:
    """Whether a loader of pickles takes one of these readings."""
    return bool({Kind.PICKLE, Kind.ZIP, Kind.COMPRESSED, Kind.TAR, Kind.EMPTY} & set(seen))


def may_open(job: Job, found: Member, name: str) -> bool:
    """Whether a member can be unpacked and there is room for it; notes it where not."""
    if found.method not in archives.METHODS:
        job.issue(31, Verdict.NOT_SCANNED, "zip-method", member=name, method=found.method)
        return False
    if not found.method:
        return True
    if found.size > _FREE and found.size > _MOST_RATIO * max(found.packed, 1):
        job.issue(33, Verdict.MALFORMED, "ratio", member=name, ratio=_MOST_RATIO)
        return False
    return job.may_unpack(found.size, name)


def _note_problems(job: Job, archive: Archive, member: str) -> None:
    for problem in archive.problems[:_MOST_PROBLEMS]:
        job.issue(
            30,
            Verdict.MALFORMED,
            problem.text,
            member=inside(member, problem.name),
            offset=problem.offset,
            about=problem.about,
        )


def _files(job: Job, archive: Archive, member: str, size: int) -> list[Member]:
    """The members that are files; names that lead out of a folder are noted."""
    files, left = [], _MOST_OVERLAP * size
    for found in dict.fromkeys(archive.members):
        left -= found.packed
        if left < 0:
            job.issue(33, Verdict.MALFORMED, "over-budget", member=inside(member, found.name))
            break
        if _leaves(found.name):
            name = inside(member, found.name)
            job.issue(36, Verdict.MALFORMED, "path-outside", member=name)
        if found.packed or found.size or not found.name.endswith("/"):
            files.append(found)
    return files


def _note_code(job: Job, members: list[Member], member: str) -> None:
    """Note Python code that whoever loads the archive runs: torch.package, TorchServe."""
    names = [found.name.lower() for found in members]
    if not any(_PACKAGE.fullmatch(name) for name in names):
        return
    for name in names:
        if name.endswith((".py", ".pyc")):
            job.issue(48, Verdict.NEEDS_REVIEW, "package-code", member=inside(member, name))
            return


def _leaves(name: str) -> bool:
    path = name.replace("\\", "/")
    return path.startswith("/") or _DRIVE.match(path) is not None or ".." in path.split("/")


def _as_if_plain(job: Job, source: Readable, found: Member, member: str, depth: int) -> None:
    """Some readers do not look at the flag: what they would find is scanned, its noise is not."""
    name = inside(member, found.name)
    job.issue(31, Verdict.NOT_SCANNED, "zip-encrypted", member=name)
    other = trial(job)
    plain = Member(found.name, found.data, found.packed, found.size, found.method, None)
    into(other, source, plain, member, depth)
    keep(job, other)


def trial(job: Job) -> Job:
    """A scan of bytes that may be no file at all."""
    return Job(FileReport(path=job.report.path), job.tier, job.allowed, job.unpacked)


def keep(job: Job, other: Job, *, all_but: frozenset[str] | None = None) -> None:
    """Take over from a trial what no chance can have put there, or all but some rules."""
    job.unpacked = other.unpacked
    job.report.allowed |= other.report.allowed
    for issue in other.report.issues:
        certain = issue.severity in (Verdict.DANGEROUS, Verdict.NEEDS_REVIEW)
        if certain if all_but is None else issue.rule not in all_but:
            _again(job, issue)


def _again(job: Job, issue: Issue) -> None:
    job.issue(
        int(issue.rule[-3:]),
        issue.severity,
        issue.message,
        member=issue.member,
        offset=issue.offset,
        opcode=issue.opcode,
    )


def _stretch(job: Job, source: Readable, start: int, length: int, member: str, depth: int) -> None:
    """Scan bytes between the members: what a reader of another format would find there."""
    part = Part(source, start, length)
    if part.size and Kind.ZIP not in kinds(part):  # its headers were followed already
        other = trial(job)
        dispatch.look(other, part, inside(member, f"bytes {start}-{start + length}"), depth + 1)
        keep(job, other)
