"""What an audit asks about the models and data that the project file names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePath

from torchkeep import scan
from torchkeep.core.finding import Finding, Location, Measured, State
from torchkeep.core.messages import Message, message
from torchkeep.core.project import Project
from torchkeep.core.rule import Rule, Ruleset
from torchkeep.core.schema import ModelTable
from torchkeep.models import entry, imports
from torchkeep.models.forms import Form, tell
from torchkeep.scan import allowlist

Judgement = tuple[State, Message, Form | None]


def _models(project: Project) -> Iterator[Finding]:
    for name, table in project.models.items():
        state, reason, form = _model(project, table)
        yield Finding(
            rule="TK-MODELS-001",
            subject=f"models.{name}",
            state=state,
            reason=reason,
            measured=Measured(value=form.value) if form else None,
            required=message("models.loadable") if state is State.FAIL else None,
            location=_location(project, "models", name),
            fix=_fix("TK-MODELS-001", state),
        )
    if not project.models:
        yield _nothing(project, "TK-MODELS-001", "models.no-models")


def _model(project: Project, table: ModelTable) -> Judgement:
    if table.weights is None:
        return State.FAIL, message("models.no-weights"), None
    path = project.root / table.weights
    if not path.is_file():
        return State.FAIL, message("models.missing", path=table.weights), None
    try:
        with path.open("rb") as file:
            form = tell(file)
    except OSError:
        return State.NOT_MEASURED, message("models.unreadable", path=table.weights), None
    terms = project.once(allowlist.terms)
    report = scan.file(path, tier=terms.tier, allowed=terms.allowed)
    if form is None or report.verdict is scan.Verdict.NOT_A_MODEL:
        reason = "models.pickle" if report.has_pickle else "models.foreign"
        return State.FAIL, message(reason, path=table.weights), None
    if report.verdict is not scan.Verdict.CLEAN:
        return _not_clean(report, form)
    if problem := _build_problem(project, table, form):
        return State.FAIL, problem, form
    known = {file.path for file in project.tree.files}
    if PurePath(os.path.normpath(table.weights)).as_posix() not in known:
        return State.WARN, message("models.outside", path=table.weights), form
    return State.PASS, message("models.can-be-loaded"), form


def _not_clean(report: scan.FileReport, form: Form) -> Judgement:
    """What loading would refuse."""
    worst = min(report.issues, key=lambda issue: issue.severity.rank)
    is_unknown = report.verdict is scan.Verdict.NOT_SCANNED
    state = State.NOT_MEASURED if is_unknown else State.FAIL
    return state, message("models.not-clean", issue=worst.message, rule=worst.rule), form


def _build_problem(project: Project, table: ModelTable, form: Form) -> Message | None:
    if form.brings_structure:
        return message("models.build-superfluous", form=form.value) if table.build else None
    if table.build is None:
        return message("models.build-absent")
    if imports.find(project.root, table.build) is None:
        return message("models.no-module", build=table.build)
    return None


def _data(project: Project) -> Iterator[Finding]:
    for name, table in project.data.items():
        yield _datum(project, ("data", name), table.path, None)
    for name, model in project.models.items():
        if model.test is not None:
            key = ("models", name, "test")
            yield _datum(project, key, model.test.path, model.test.call)
    if not project.data and not any(model.test for model in project.models.values()):
        yield _nothing(project, "TK-MODELS-002", "models.no-data")


def _datum(project: Project, key: tuple[str, ...], path: str | None, call: str | None) -> Finding:
    state, reason = State.PASS, message("models.data-found")
    if (path is None) == (call is None):
        state, reason = State.FAIL, message("models.no-path")
    elif path is not None and not (project.root / path).exists():
        state, reason = State.FAIL, message("models.missing", path=path)
    elif call is not None and imports.find(project.root, call) is None:
        state, reason = State.FAIL, message("models.no-module", build=call)
    return Finding(
        rule="TK-MODELS-002",
        subject=".".join(key),
        state=state,
        reason=reason,
        required=message("models.data-named") if state is State.FAIL else None,
        location=_location(project, *key),
        fix=_fix("TK-MODELS-002", state),
    )


def _location(project: Project, *key: str) -> Location | None:
    if project.file is None:
        return None
    return Location(path=project.file.name, line=entry.line(project, *key))


def _fix(rule: str, state: State) -> tuple[str, ...]:
    return () if state is State.PASS else ("torchkeep", "explain", rule)


def _nothing(project: Project, rule: str, reason: str) -> Finding:
    return Finding(
        rule=rule, subject=project.name, state=State.NOT_APPLICABLE, reason=message(reason)
    )


RULESET = Ruleset(
    room="models",
    rules=(
        Rule(id="TK-MODELS-001", item="practice.project", check=_models),
        Rule(id="TK-MODELS-002", item="practice.project", check=_data),
    ),
)
