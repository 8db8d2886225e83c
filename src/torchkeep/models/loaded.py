"""Loading a model: its weights read once, checked, and put into the module that they are for."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchkeep import scan
from torchkeep.core import files
from torchkeep.core.errors import Foreign, Refused, UsageError
from torchkeep.core.project import Project
from torchkeep.core.schema import ModelTable
from torchkeep.core.statement import Subject
from torchkeep.core.text import visible
from torchkeep.models import entry, exported, imports, script
from torchkeep.models.forms import Form, tell
from torchkeep.models.tensors import content_of, from_safetensors, name_of
from torchkeep.scan import allowlist

_SHOWN = 3  # names in a message; a wrong `build` easily makes hundreds


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to run.

    Attributes:
        module: In eval mode; ``requires_grad`` is as ``build`` or the file set it.
        subject: Names the bytes that were loaded, for a statement about them.
        table: The model's entry: ``range``, ``mean``, ``std``, ``outputs``, ``classes``.
    """

    module: nn.Module
    subject: Subject
    table: ModelTable

    @property
    def content(self) -> str:
        """The content digest of the weights in ``module``."""
        return str(self.subject.content)


def load(project: Project, name: str) -> Loaded:
    """Load a model of the project. It runs code of the project where the entry has a ``build``.

    Weights are safetensors with a ``build``, or an exported program (``.pt2``) or TorchScript
    archive, which bring their structure; content decides, not the file's name. Dtypes stay as they
    are in the file.

    Args:
        project: The project.
        name: The model's name in the project file.

    Raises:
        UsageError: There is no such model, its entry lacks something, or ``build`` fails.
        Refused: The weights are a pickle, or could run code or touch files.
        Foreign: The weights are damaged, of another kind, or do not fit the module.
    """
    table = entry.find(project, name)
    if table.weights is None:
        raise entry.wrong(
            project, "models", name, message="names no weights", next='add weights = "FILE"'
        )
    path = project.root / table.weights
    data = files.read(path)
    module, content = _module(project, name, table, data)
    subject = Subject(table.weights, hashlib.sha256(data).hexdigest(), content)
    return Loaded(module, subject, table)


def _module(project: Project, name: str, table: ModelTable, data: bytes) -> tuple[nn.Module, str]:
    form, shown = tell(io.BytesIO(data)), visible(str(table.weights))
    report = _scanned(project, data, shown)
    if form is None or report.verdict is scan.Verdict.NOT_A_MODEL:
        raise _unloadable(report, shown)
    _require_clean(report, shown)
    if form.brings_structure:
        if table.build is not None:
            raise entry.wrong(
                project,
                "models",
                name,
                "build",
                message=f"{shown} is {form} and brings its own structure",
                next="remove `build`, or name safetensors weights",
            )
        reader = exported if form is Form.EXPORTED else script
        module, weights = reader.load(data, shown)
        return module, content_of(weights)
    tensors, content = from_safetensors(data, shown)
    if table.build is None:
        raise entry.wrong(
            project,
            "models",
            name,
            message=f"{shown} holds weights only, and no `build` says what they are for",
            next='add build = "module:callable"',
        )
    module = _built(project, table.build)
    _fill(module, tensors, shown)
    held = module.state_dict()
    # Hooks, tied tensors or a second reading of the header could make a difference; none may.
    if content_of({key: held[key] for key in tensors}) != content:
        raise Foreign(
            f"the module of {table.build} does not hold what {shown} says after loading it",
            next="look for load hooks, and for tied tensors that differ in the file",
        )
    return module.eval(), content


def _scanned(project: Project, data: bytes, shown: str) -> scan.FileReport:
    """What a scan says, before any library looks at them, of the very bytes to be loaded."""
    terms = allowlist.terms(project)
    return scan.data(data, shown, tier=terms.tier, allowed=terms.allowed)


def _require_clean(report: scan.FileReport, shown: str) -> None:
    if report.verdict is scan.Verdict.CLEAN:
        return
    worst = min(report.issues, key=lambda issue: issue.severity.rank)
    raise (Foreign if report.verdict is scan.Verdict.MALFORMED else Refused)(
        f"{shown} is {report.verdict}: {visible(worst.message.text())}",
        next=f"run: torchkeep explain {worst.rule}",
    )


def _unloadable(report: scan.FileReport, shown: str) -> Foreign | Refused:
    if report.has_pickle:
        return Refused(
            f"{shown} is a pickle, which can run code of whoever wrote it, and is never loaded",
            next="run: torchkeep explain TK-SCAN-001",
        )
    return Foreign(
        f"{shown} is none of {', '.join(Form)} (it looks like: {report.format})",
        next="save the weights with safetensors.torch.save_file",
    )


def _built(project: Project, build: str) -> nn.Module:
    module = imports.call(project.root, build)
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"{build} returned {type(module).__name__}, expected a torch.nn.Module",
            next="let it return the untrained module",
        )
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise UsageError(
            f"{build} returned a module on the meta device, which holds no numbers",
            next="build it on the CPU",
        )
    return module


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], shown: str) -> None:
    """Put ``tensors`` into ``module``; every name, shape and kind of number must agree."""
    slots = module.state_dict(keep_vars=True)
    # Tied tensors stand in a state dict under each name; a safetensors file holds them under one.
    written = {id(slots[name]): name for name in tensors if name in slots}
    full = {name: tensors[written[id(slot)]] for name, slot in slots.items() if id(slot) in written}
    problems = [
        *_listed("missing in the file", [name for name in slots if name not in full]),
        *_listed("unknown to the module", [name for name in tensors if name not in slots]),
        *_listed("different", _differences(slots, full)),
    ]
    if problems:
        raise Foreign(
            f"{shown} does not fit the module: {'; '.join(problems)}",
            next="check that `build` and `weights` belong together",
        )
    for name, slot in slots.items():
        slot.data = slot.data.to(full[name].dtype)  # else loading would cast to the module's
    try:
        module.load_state_dict(full, strict=True)
    except Exception as error:  # modules may bring a loading of their own
        raise Foreign(
            f"the module did not take {shown}: {visible(str(error))}",
            next="check that `build` and `weights` belong together",
        ) from error


def _differences(slots: Mapping[str, Tensor], full: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} (module {_described(slots[name])}, file {_described(tensor)})"
        for name, tensor in full.items()
        if slots[name].shape != tensor.shape or _kind(slots[name]) != _kind(tensor)
    ]


def _described(tensor: Tensor) -> str:
    return f"{name_of(tensor.dtype)} {list(tensor.shape)}"


def _kind(tensor: Tensor) -> torch.dtype | str:
    """What a dtype may be exchanged with: a float with any float, a whole number with its like."""
    if tensor.is_floating_point():
        return "float"
    return "complex" if tensor.is_complex() else tensor.dtype


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {what}: {visible(', '.join(names[:_SHOWN]))}{more}"]
