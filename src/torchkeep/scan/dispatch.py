"""Leads each reading of a file to the module that knows it."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan.job import DEEPEST, Job
from torchkeep.scan.pickle.bare import is_bare
from torchkeep.scan.sniff import Kind, kinds
from torchkeep.scan.verdict import Verdict

# Module below torchkeep.scan.formats whose ``look(job, source, member, depth)`` scans the kind.
# They are imported when they are needed: a scan of one small file must start at once.
_FORMATS: Final = {
    Kind.PICKLE: "pickles",
    Kind.ZIP: "zips",
    Kind.TAR: "tars",
    Kind.COMPRESSED: "streams",
    Kind.SAFETENSORS: "tensors",
    Kind.NPY: "arrays",
    Kind.HDF5: "keras",
    Kind.GGUF: "gguf",
    Kind.ONNX: "onnx",
    Kind.NATIVE: "native",
    Kind.JSON: "configs",
    Kind.TEXT: "texts",
    Kind.EMPTY: "texts",
    Kind.UNKNOWN: "texts",
}
_AROUND: Final = frozenset({"TK-SCAN-020", "TK-SCAN-030"})  # bytes behind, before or between


def look(job: Job, source: Readable, member: str = "", depth: int = 0) -> tuple[Kind, ...]:
    """Scan a file, or a member of one, in each of its readings.

    Args:
        job: Where issues are noted.
        source: The bytes.
        member: Where they lie inside the file; empty for the file itself.
        depth: Containers around them.

    Returns:
        The readings.
    """
    found = kinds(source)
    if Kind.PICKLE not in found and is_bare(source, job.policy):
        # What has no header of its own may lie under that of any other format.
        plain = {Kind.TEXT, Kind.UNKNOWN, Kind.JSON, Kind.ONNX}
        found = (Kind.PICKLE, *(kind for kind in found if kind not in plain))
    if depth > DEEPEST:
        job.issue(34, Verdict.NOT_SCANNED, "too-deep", member=member)
        return found
    for kind in found:
        if kind is Kind.ZIP and Kind.TAR in found[: found.index(kind)]:
            _within(job, source, member, depth)
        elif name := _FORMATS.get(kind):
            import_module(f"torchkeep.scan.formats.{name}").look(job, source, member, depth)
        else:
            job.issue(61, Verdict.NOT_SCANNED, "unknown-kind", member=member, kind=kind.value)
    return found


def _within(job: Job, source: Readable, member: str, depth: int) -> None:
    """A zip archive near the end of a tar archive: mostly its last member, and scanned as such.

    Some readers would take it for the file itself. What they would find is scanned; that the tar
    archive stands around it is no damage, and nothing that is left over.
    """
    from torchkeep.scan.formats import zips

    other = zips.trial(job)
    zips.look(other, source, member, depth)
    zips.keep(job, other, all_but=_AROUND)
