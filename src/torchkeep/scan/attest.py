"""States what a scan said, about the very bytes that were scanned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime

from torchkeep.core import digest
from torchkeep.core.errors import Foreign, Incomplete, SourceError
from torchkeep.core.source import Source
from torchkeep.core.statement import Statement, Subject, state
from torchkeep.scan.pickle.policy import Policy, Tier, of
from torchkeep.scan.verdict import FileReport, Report, Verdict


def subject(opened: Source, report: FileReport) -> Subject:
    """The digests of a file that is open since it was scanned; reads all of it.

    Raises:
        SourceError: It has changed since it was opened, or cannot be read to its end.
    """
    sha256 = digest.sha256(opened)
    return Subject(report.path, sha256, _content(opened, report))


def statement(
    report: Report,
    *,
    started: datetime,
    tier: Tier = Tier.MODULE,
    allowed: Policy | None = None,
    argv: Sequence[str] = (),
) -> Statement:
    """State what a scan said about the files whose digests it took.

    Args:
        report: What :func:`torchkeep.scan.paths` gave with ``named``.
        started: When the scan began, with a time zone.
        tier: The tier that it was made with.
        allowed: The names that were allowed beside those of the tier.
        argv: The command line, without secrets.

    Raises:
        Incomplete: It took the digests of no file.
    """
    subjects = dict.fromkeys(file.subject for file in report.files if file.subject is not None)
    if not subjects:
        raise Incomplete(
            "no scanned file has digests, so there is nothing that a statement could be about",
            next="scan files of this machine that can be read",
        )
    unknown = [
        file.path
        for file in report.files
        if file.subject is None or file.verdict is Verdict.NOT_SCANNED
    ]
    return state(
        "scan",
        list(subjects),
        report.to_json(),
        started=started,
        argv=argv,
        inputs={"policy": _digest(tier, allowed or {})},
        not_measured=unknown,
    )


def _content(opened: Source, report: FileReport) -> str | None:
    """The digest of the weights, where the bytes alone give it."""
    if report.format != "safetensors":
        return None
    try:
        return digest.safetensors_content(opened)
    except Foreign as error:
        if isinstance(error, SourceError):
            raise
        return None  # the report says what is wrong with it


def _digest(tier: Tier, allowed: Policy) -> str:
    """SHA-256 of what pickles were allowed to look up, and what for."""
    table = {**allowed, **of(tier)}
    rows = sorted([*name, grant.use.value] for name, grant in table.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
