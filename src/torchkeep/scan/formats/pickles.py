"""Pickles: one or several, with what stands between and behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from torchkeep.core.source import BytesSource, Readable
from torchkeep.scan import dispatch
from torchkeep.scan.job import Followed, Job
from torchkeep.scan.part import Part
from torchkeep.scan.pickle.dangerous import is_dangerous
from torchkeep.scan.pickle.hits import Hit, What
from torchkeep.scan.pickle.machine import Machine, Outcome
from torchkeep.scan.pickle.policy import is_encoded
from torchkeep.scan.pickle.values import Blob
from torchkeep.scan.verdict import Verdict

_MOST_STACKED: Final = 10_000
_MOST_KEPT: Final = 16  # pickles of one file that are remembered: torch's old files have five
_LONGEST_KEPT: Final = 1 << 24  # bytes of one

# Rule, verdict and text for each kind of hit; a name that is known to run code is dangerous.
_HITS: Final = {
    What.GLOBAL: (11, Verdict.NEEDS_REVIEW, "unknown-name"),
    What.DOTTED: (12, Verdict.NEEDS_REVIEW, "dotted-name"),
    What.CALL: (13, Verdict.DANGEROUS, "wrong-call"),
    What.KEPT: (13, Verdict.DANGEROUS, "kept-function"),
    What.STATE: (14, Verdict.DANGEROUS, "wrong-state"),
    What.FILL: (15, Verdict.DANGEROUS, "wrong-fill"),
    What.EXTENSION: (16, Verdict.NEEDS_REVIEW, "extension"),
    What.PERSISTENT: (17, Verdict.NEEDS_REVIEW, "persistent"),
    What.FRAME: (19, Verdict.MALFORMED, "odd-frame"),
    What.BOMB: (18, Verdict.MALFORMED, "bomb"),
}


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Scan a file that is a pickle, or several in a row."""
    from torchkeep.scan.formats import legacy

    first = follow(job, source, member, depth, persistent=legacy.is_storage_id)
    if legacy.is_magic(first.value):
        legacy.look(job, source, member, depth, first.end)
        return
    end, count = first.end, 1
    while not first.broken and end < source.size and count < _MOST_STACKED:
        following = Machine(source, end, job.policy).run()
        if following.broken and not following.hits:
            rest = source.size - end
            text = "trailing-bytes"
            job.issue(20, Verdict.NEEDS_REVIEW, text, member=member, offset=end, count=rest)
            break
        judge(job, source, following, member, depth)
        end, count = following.end, count + 1
        if following.broken:
            break


def follow(
    job: Job,
    source: Readable,
    member: str,
    depth: int,
    start: int = 0,
    *,
    end: int | None = None,
    persistent: Callable[[Any], bool] | None = None,
) -> Outcome:
    """Follow one pickle and note what the policy does not allow."""
    from torchkeep.scan.formats import joblib

    machine = Machine(
        source,
        start,
        job.policy,
        end=end,
        persistent=persistent,
        after_build=joblib.reader(job, member, depth),
    )
    outcome = machine.run()
    judge(job, source, outcome, member, depth)
    return outcome


def judge(job: Job, source: Readable, outcome: Outcome, member: str, depth: int) -> None:
    """Note everything about one pickle that keeps it from being clean."""
    job.report.has_pickle = True
    if job.followed is not None:
        _remember(job.followed, source, outcome)
    job.note_allowed(outcome.names)
    note_hits(job, outcome, member)
    if outcome.broken:
        text = "broken-pickle"
        job.issue(
            19, Verdict.MALFORMED, text, member=member, offset=outcome.end, why=outcome.broken
        )
    for nested in outcome.nested:
        _unpickled(job, source, nested, f"{member}!bytes" if member else "bytes", depth + 1)


def _unpickled(job: Job, source: Readable, value: Any, member: str, depth: int) -> None:
    """Scan bytes that a call would unpickle in turn."""
    if isinstance(value, bytes):
        dispatch.look(job, BytesSource(value), member, depth)
    elif isinstance(value, Blob):
        dispatch.look(job, Part(source, value.offset, value.length), member, depth)
    elif is_encoded(value):  # text of protocols below 3 that is encoded when it is loaded
        text = value.args[0]
        if isinstance(text, str):
            dispatch.look(job, BytesSource(text.encode("latin-1", "replace")), member, depth)
        elif job.may_unpack(text.length, member):
            _encoded(job, source, text, member, depth)


def _encoded(job: Job, source: Readable, text: Blob, member: str, depth: int) -> None:
    """A text that was too long to keep; one of Python 2 may be its own encoding."""
    from torchkeep.scan.formats import zips

    data = source.read(text.offset, text.length)
    try:
        encoded = data.decode("utf-8", "surrogatepass").encode("latin-1")
    except UnicodeError:
        encoded = data
    dispatch.look(job, BytesSource(encoded), member, depth)
    if encoded != data:
        other = zips.trial(job)
        dispatch.look(other, BytesSource(data), member, depth)
        zips.keep(job, other)


def _remember(followed: list[Followed], source: Readable, outcome: Outcome) -> None:
    length = outcome.end - outcome.start
    if not outcome.broken and length <= _LONGEST_KEPT and len(followed) < _MOST_KEPT:
        import hashlib  # a scan of one small file must start at once

        digest = hashlib.sha256(source.read(outcome.start, length)).digest()
        followed.append(Followed(length, digest, frozenset(outcome.names)))


def note_hits(job: Job, outcome: Outcome, member: str) -> None:
    """Note what a pickle does that the policy does not allow."""
    for hit in outcome.hits:
        _note(job, hit, member)


def _note(job: Job, hit: Hit, member: str) -> None:
    rule, verdict, text = _HITS[hit.what]
    if hit.what in (What.GLOBAL, What.DOTTED) and is_dangerous(hit.about):
        rule, verdict, text = 10, Verdict.DANGEROUS, "dangerous-name"
    job.issue(
        rule, verdict, text, member=member, offset=hit.offset, opcode=hit.opcode, name=hit.about
    )
