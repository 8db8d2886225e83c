"""What an audit asks about model files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Final

from torchkeep.core.finding import Finding, Location, Measured, State
from torchkeep.core.messages import Message, message
from torchkeep.core.project import Project
from torchkeep.core.rule import Control, Rule, Ruleset
from torchkeep.scan.sniff import Kind, sniff

# Names under which loaders look for weights. Content decides what such a file is.
MODEL_SUFFIXES: Final = frozenset(
    {".pt", ".pth", ".pt2", ".ptl", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".jit", ".mar"}
    | {".safetensors", ".onnx", ".gguf", ".h5", ".hdf5", ".keras", ".npy", ".npz", ".model"}
)
_CAN_RUN_CODE: Final = frozenset({Kind.PICKLE, Kind.TORCH_ZIP})


def _weights_format(project: Project) -> Iterator[Finding]:
    named = {normpath(table.weights) for table in project.models.values() if table.weights}
    paths = {entry.path for entry in project.tree.files}
    models = {path for path in paths if PurePosixPath(path).suffix.lower() in MODEL_SUFFIXES}
    for path in sorted(models | (named & paths)):
        yield _judge(project, path)
    for path in sorted(named - paths):  # missing, or beyond what an audit looks at
        yield _finding(path, State.NOT_MEASURED, message("scan.not-there"))
    if not models | named:
        yield _finding(project.name, State.NOT_APPLICABLE, message("scan.no-models"))


def _judge(project: Project, path: str) -> Finding:
    try:
        kind = sniff(project.root / path)
    except OSError:
        return _finding(path, State.NOT_MEASURED, message("scan.unreadable"))
    if kind in _CAN_RUN_CODE:
        return _finding(path, State.FAIL, message("scan.can-run-code"), kind)
    if kind is Kind.SAFETENSORS:
        return _finding(path, State.PASS, message("scan.no-code"), kind)
    return _finding(path, State.NOT_MEASURED, message("scan.not-looked-into"), kind)


def _finding(subject: str, state: State, reason: Message, kind: Kind | None = None) -> Finding:
    open_ = state in (State.FAIL, State.NOT_MEASURED)
    return Finding(
        rule="TK-SCAN-001",
        subject=subject,
        state=state,
        reason=reason,
        measured=Measured(value=kind.value) if kind else None,
        required=message("scan.required") if open_ else None,
        location=Location(path=subject) if kind else None,
        fix=("torchkeep", "explain", "TK-SCAN-001") if open_ else (),
    )


RULESET = Ruleset(
    room="scan",
    rules=(
        Rule(
            id="TK-SCAN-001",
            item="models.loading",
            check=_weights_format,
            controls=(
                Control("OWASP AISVS", "1.0", "C6.1.1"),
                Control("MITRE ATLAS", "5.6.0", "AML.T0011.000"),
                Control("CWE", "4.17", "CWE-502"),
            ),
        ),
    ),
)
