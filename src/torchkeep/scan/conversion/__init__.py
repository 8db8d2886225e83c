"""Turns a pickled checkpoint into safetensors without unpickling it.

The pickle is followed as for a scan. What it would build is known then: names, and for each tensor
the storage that it lies on, its element type, shape and strides. That is all a safetensors file
needs; the numbers are copied from where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from torchkeep.core import files, progress
from torchkeep.core.errors import Foreign, Incomplete, Refused, UsageError
from torchkeep.core.source import FileSource, Source
from torchkeep.core.source import open as open_source
from torchkeep.core.text import visible
from torchkeep.scan.conversion.choose import choose
from torchkeep.scan.conversion.locate import Located, locate
from torchkeep.scan.conversion.result import Conversion, stamp
from torchkeep.scan.conversion.walk import MOST_NAMES
from torchkeep.scan.conversion.write import header, in_order, size, write
from torchkeep.scan.files import opened as scan_opened
from torchkeep.scan.job import MOST_ISSUES
from torchkeep.scan.tensors import Tensor
from torchkeep.scan.verdict import FileReport, Verdict

__all__ = ["Conversion", "convert"]

SUFFIX: Final = ".safetensors"
_MOST_GROWTH: Final = 8  # times the source; expanded tensors and views are written in full
_FREE: Final = 64 << 20  # bytes that may be written however small the source is


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    key: str = "",
    salvage: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """Write the tensors of a checkpoint of ``torch.save`` into a safetensors file.

    The source is scanned first. Every tensor has the numbers that ``torch.load`` would give it;
    those that share a storage are written in full each. The file is whole or absent.

    Args:
        source: A path or a URL (:func:`torchkeep.core.source.open`).
        target: The file to write; its name ends in ``.safetensors``.
        key: Keys, joined by dots, that lead to the dict of tensors or the module to take; empty
            where that is the whole file. Tensors in dicts within it get dotted names.
        salvage: Take the tensors alone, out of a file too that is dangerous to load. Nothing of it
            runs; but whoever put code into it may have changed its weights as well.
        overwrite: Whether a file of the target's name may be replaced.

    Raises:
        Refused: The file is malformed, dangerous, or of a kind that is not converted, holds a
            tensor that safetensors has no form for, or would grow far beyond its size.
        Foreign: It is no pickled model, or changed meanwhile.
        Incomplete, UsageError: It could not be scanned; key or target are wrong.
    """
    path = Path(target)
    with open_source(source) as opened:
        _require_free(path, opened, overwrite)
        report = _admitted(opened, salvage)
        found = locate(opened, report.format)
        choice = choose(found, key, salvage)
        total = _written(found, choice.tensors, path, overwrite)
        return Conversion(
            source=opened.name,
            target=os.fspath(path),
            format=found.format,
            verdict=report.verdict,
            key=key,
            salvage=salvage,
            tensors=len(choice.tensors),
            bytes=total,
            shared=_shared(choice.tensors),
            left_behind=choice.left,
            module=choice.module,
            location=source,
            versions=(stamp(opened), _stamped(path)),
        )


def _written(found: Located, chosen: Iterable[Tensor], path: Path, overwrite: bool) -> int:
    """Write the file; returns how many bytes of data it has."""
    tensors = in_order(chosen)
    total = _bounded(tensors, found.source)
    head = _headed(tensors, found.source)
    with (
        progress.task(f"converting {found.source.name}", total) as advance,
        files.replacing(path, exclusive=not overwrite) as file,
    ):
        file.write(head)
        write(file, found, tensors, advance)
    return total


def _require_free(path: Path, opened: Source, overwrite: bool) -> None:
    """Tell before the work what would keep the target from being written after it."""
    shown = visible(os.fspath(path))
    if path.suffix != SUFFIX:
        raise UsageError(
            f"{shown} does not end in {SUFFIX}", next=f"name the output something{SUFFIX}"
        )
    if not os.path.lexists(path):
        return
    if path.is_file() and _stamped(path) == stamp(opened):
        raise UsageError(f"{shown} is the source itself", next="choose another name")
    if not overwrite:
        raise UsageError(
            f"{shown} exists already", next="choose another name with -o, or add --force"
        )


def _stamped(path: Path) -> str:
    with FileSource(path) as opened:
        return stamp(opened)


def _admitted(opened: Source, salvage: bool) -> FileReport:
    """What the scan says of a file; refuses it for the worst reason."""
    report = scan_opened(opened)
    found = {issue.severity for issue in report.issues}
    # Of many issues the last ones are not kept: damage may be among them.
    if Verdict.MALFORMED in found or len(report.issues) >= MOST_ISSUES:
        raise Refused(
            f"{opened.name} is malformed: {_reason(report, Verdict.MALFORMED)}",
            next="fetch the file again, or ask the sender for safetensors",
        )
    if Verdict.DANGEROUS in found and not salvage:
        raise Refused(
            f"{opened.name} is dangerous: {_reason(report, Verdict.DANGEROUS)}",
            next="ask the sender for safetensors, or take its tensors with --salvage (nothing of"
            " it runs, but whoever put code in may have changed the weights too)",
        )
    if Verdict.NOT_SCANNED in found:
        raise Incomplete(
            f"{opened.name} could not be scanned: {_reason(report, Verdict.NOT_SCANNED)}",
            next="torchkeep scan says more",
        )
    if not report.has_pickle:
        raise Foreign(
            f"{opened.name} holds no pickle ({report.format}), so there is nothing to convert",
            next="name a file of torch.save",
        )
    return report


def _reason(report: FileReport, severity: Verdict) -> str:
    reasons = [issue.message.text() for issue in report.issues if issue.severity is severity]
    return visible(reasons[0]) if reasons else f"more than {MOST_ISSUES} things are wrong with it"


def _bounded(tensors: Iterable[Tensor], opened: Source) -> int:
    """Bytes of all tensors; expanded ones and views can be far more than what they lie on."""
    total = sum(map(size, tensors))
    if total > _MOST_GROWTH * opened.size + _FREE:
        raise Refused(
            f"{opened.name} has {opened.size:,} bytes and would become {total:,}: its tensors share"
            " storages, and safetensors writes each of them in full",
            next="choose fewer of them with --key, or save it without expanded tensors",
        )
    return total


def _headed(tensors: Iterable[Tensor], opened: Source) -> bytes:
    head = header(tensors)
    if len(head) > MOST_NAMES:
        raise Refused(
            f"{opened.name} has names of {len(head):,} bytes, more than safetensors reads",
            next="choose fewer tensors with --key",
        )
    return head


def _shared(tensors: Iterable[Tensor]) -> tuple[tuple[str, ...], ...]:
    groups: dict[str, list[str]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.storage.key, []).append(tensor.name)
    return tuple(tuple(sorted(names)) for names in groups.values() if len(names) > 1)
