"""What is kept of a file with more issues than anybody reads."""

from __future__ import annotations

from torchkeep.scan import Verdict
from torchkeep.scan.job import MOST_ISSUES, Job
from torchkeep.scan.verdict import FileReport


def noted(*severities: Verdict) -> list[Verdict]:
    job = Job(FileReport(path="x"))
    for severity in severities:
        job.issue(30, severity, "zip-gap", about="1")
    return [issue.severity for issue in job.report.issues]


def test_no_more_issues_are_kept_than_anybody_reads():
    assert noted(*[Verdict.MALFORMED] * (MOST_ISSUES + 5)) == [Verdict.MALFORMED] * MOST_ISSUES


def test_what_is_worse_than_all_that_is_kept_is_never_lost():
    many = [Verdict.NOT_SCANNED] * MOST_ISSUES
    rising = [Verdict.NEEDS_REVIEW, Verdict.DANGEROUS, Verdict.MALFORMED]
    kept = noted(*many, *rising)
    assert len(kept) == MOST_ISSUES
    assert kept[-1] is Verdict.DANGEROUS
    assert noted(Verdict.DANGEROUS, *many, *rising)[0] is Verdict.DANGEROUS
