"""What can be seen of a store: a folder, or a bucket.

Each row is a finding. What cannot be seen is ``not-measured``, by name, and never a pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torchkeep.core.errors import MissingExtra, SourceError, UsageError
from torchkeep.core.finding import Finding, State, worst
from torchkeep.core.messages import message
from torchkeep.core.source import bucket_at
from torchkeep.core.text import visible
from torchkeep.vault.stores import folders
from torchkeep.vault.stores.rows import BUCKET, ISSUES, row

__all__ = ["ISSUES", "Check", "check"]

SCHEMA_VERSION: Final = 1

_EXIT: Final = {State.FAIL: 1, State.NOT_MEASURED: 3, State.ERROR: 3}


@dataclass(frozen=True, slots=True)
class Check:
    """What was seen of a store.

    Attributes:
        store: What to call it.
        findings: One for each row.
    """

    store: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> State:
        """The worst of all rows."""
        return worst(finding.state for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """1 where a row fails, 3 where one could not be measured, else 0."""
        return _EXIT.get(self.verdict, 0)

    def to_json(self) -> dict[str, Any]:
        """The check as JSON data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "store": self.store,
            "verdict": self.verdict.value,
            "findings": [finding.to_json() for finding in self.findings],
        }


def check(location: str | os.PathLike[str]) -> Check:
    """Look at a store. Nothing in it is changed, and no object or file is read.

    Args:
        location: A folder, or ``s3://BUCKET``, ``gs://BUCKET``, ``az://CONTAINER``; what follows a
            bucket's name is not looked at.

    Raises:
        UsageError: It is no folder and no such URL.
        SourceError: The bucket is not there, or its store is not reached.
        MissingExtra: A bucket of S3 is named and the extra ``store`` is not installed.
    """
    found = bucket_at(location)
    if found is None:
        return Check(visible(os.fspath(location)), tuple(_folder(location)))
    scheme, bucket = found
    name = visible(f"{scheme}://{bucket}")
    if scheme != "s3":
        unseen = message("vault.store.other-cloud", scheme=scheme)
        rows = (row(rule, name, State.NOT_MEASURED, unseen) for rule in BUCKET)
        return Check(name, tuple(rows))
    try:
        from torchkeep.vault.stores import buckets
    except ImportError:
        raise MissingExtra("Looking at a bucket", "store") from None
    return Check(name, tuple(buckets.look(bucket)))


def _folder(location: str | os.PathLike[str]) -> Iterable[Finding]:
    path = Path(location)
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where it may not look)
        raise UsageError(
            f"{visible(str(path))} is no folder and no URL of a store",
            next="name a folder, or s3://BUCKET, gs://BUCKET or az://CONTAINER",
        )
    try:
        return list(folders.look(path))
    except OSError as error:
        raise SourceError(
            f"{visible(str(path))} cannot be looked at: {error.strerror}",
            next="check who may read it",
        ) from error
