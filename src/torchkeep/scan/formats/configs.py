"""JSON beside and inside of models: what in it makes a loader run code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.formats import targets, texts
from torchkeep.scan.job import Job
from torchkeep.scan.pickle.dangerous import is_dangerous
from torchkeep.scan.templates import danger
from torchkeep.scan.verdict import Verdict

_LONGEST: Final = 64 << 20  # bytes; vocabularies are the longest of such files
_KERAS: Final = ("keras", "tf_keras", "keras_hub", "keras_nlp", "keras_cv", "tensorflow.keras")
# Where functions stand that a layer may name.
_FUNCTIONS: Final = frozenset(
    {"activations", "losses", "metrics", "initializers", "regularizers", "constraints", "ops"}
)


class Pairs(list[tuple[str, Any]]):
    """A JSON object with every pair, doubled keys too: parsers differ in which one counts."""

    __slots__ = ()


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Scan a JSON file."""
    if source.size > _LONGEST:
        job.issue(61, Verdict.NOT_SCANNED, "too-long", member=member, size=source.size)
        return
    value = parsed(source.read(0, source.size))
    if value is None or (not member and texts.is_named_like_model(job.report.path)):
        texts.look(job, source, member, depth)
        return
    check(job, value, member)
    if not member:
        job.report.is_model = False


def parsed(data: bytes) -> Any:
    """The JSON value in ``data``, with objects as :class:`Pairs`; None where it is not JSON."""
    try:
        return json.loads(data, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return None


def check(job: Job, value: Any, member: str) -> None:
    """Note whatever in a JSON value makes a loader run code."""
    of_keras = is_keras(value)
    for node in _objects(value):
        said = dict(node)
        targets.check(job, said, member)
        for key, inner in node:
            _remote(job, key, inner, member)
            if key.endswith("chat_template"):
                _template(job, inner, member)
        if of_keras and isinstance(said.get("class_name"), str):
            keras_object(job, said, member)


def is_keras(value: Any) -> bool:
    """Whether a JSON value is a model of Keras, or a part of one."""
    names = {key for key, _ in value} if isinstance(value, Pairs) else set()
    return "class_name" in names or "model_config" in names or "layers" in names


def _objects(value: Any) -> Iterator[Pairs]:
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, Pairs):
            yield node
            todo += [inner for _, inner in node]
        elif isinstance(node, list):
            todo += node


def _remote(job: Job, key: str, value: Any, member: str) -> None:
    """Keys by which transformers and peft import code that came with the model."""
    is_code = (
        (key in ("auto_map", "custom_pipelines", "custom_generate") and bool(value))
        or (key == "trust_remote_code" and value is True)
        or (
            key == "parent_library"
            and isinstance(value, str)
            and not f"{value}.".startswith(("transformers.", "diffusers.", "torch.", "timm."))
        )
    )
    if is_code:
        job.issue(56, Verdict.NEEDS_REVIEW, "remote-code", member=member, key=key)


def _template(job: Job, value: Any, member: str) -> None:
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, str):
            template(job, node, member)
        elif isinstance(node, Pairs):
            todo += [inner for _, inner in node]
        elif isinstance(node, list):
            todo += node


def template(job: Job, text: str, member: str) -> None:
    """Note what a chat template would reach for."""
    if part := danger(text):
        job.issue(57, Verdict.DANGEROUS, "template", member=member, part=part)


def keras_object(job: Job, said: dict[str, Any], member: str) -> None:
    """Note an object of Keras that brings code with it, or names code elsewhere."""
    name, module = said["class_name"], said.get("module")
    if name in ("Lambda", "__lambda__", "TorchModuleWrapper"):
        job.issue(55, Verdict.DANGEROUS, "keras-code", member=member, name=name)
        return
    if not isinstance(module, str) or not module:
        return
    named = said.get("config") if name == "function" else name
    full = f"{module}.{named if isinstance(named, str) else name}"[:200]
    parts = module.split(".")
    inside = any(f"{module}.".startswith(f"{root}.") for root in _KERAS)
    if inside and name == "function":
        inside = bool(_FUNCTIONS & set(parts[1:3]))
        if {"utils", "config", "saving"} & set(parts):
            job.issue(55, Verdict.DANGEROUS, "keras-module", member=member, name=full)
            return
    if not inside:
        verdict = Verdict.DANGEROUS if is_dangerous(full) else Verdict.NEEDS_REVIEW
        job.issue(55, verdict, "keras-module", member=member, name=full)
