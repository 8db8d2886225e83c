"""Scans bytes as a file of some name, for tests."""

from __future__ import annotations

from torchkeep.core.source import BytesSource
from torchkeep.scan import dispatch
from torchkeep.scan.job import Job
from torchkeep.scan.pickle.policy import Tier
from torchkeep.scan.verdict import FileReport, Verdict

FLAGGED = {Verdict.DANGEROUS, Verdict.NEEDS_REVIEW, Verdict.MALFORMED}


def look(content: bytes, name: str = "model.pkl", tier: Tier = Tier.MODULE) -> FileReport:
    job = Job(FileReport(path=name), tier)
    dispatch.look(job, BytesSource(content))
    for issue in job.report.issues:
        for language in ("en", "zh"):
            assert issue.message.text(language)  # every word is in the catalogue
    return job.report


def verdict(content: bytes, name: str = "model.pkl", tier: Tier = Tier.MODULE) -> Verdict:
    return look(content, name, tier).verdict


def rules(content: bytes, name: str = "model.pkl") -> set[int]:
    return {int(issue.rule[-3:]) for issue in look(content, name).issues}
