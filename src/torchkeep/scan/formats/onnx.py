"""ONNX: a graph in a protocol buffer; its weights may lie in other files, its operators elsewhere.

A path of external data that leads out of the model's folder makes the loader read any file of the
machine. An operator of an unknown domain runs whatever library is registered for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan.formats.legacy import refuse
from torchkeep.scan.formats.tars import leads_out
from torchkeep.scan.job import Job
from torchkeep.scan.protobuf import Field, Malformed, Walker
from torchkeep.scan.verdict import Verdict

_DEEPEST: Final = 64  # graphs within graphs
_MOST_FIELDS: Final = 20_000_000
# Domains whose operators the format or the runtimes themselves define.
_DOMAINS: Final = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "com.microsoft"}
    | {"ai.onnx.preview.training", "com.microsoft.nchwc", "com.ms.internal.nhwc"}
    | {"com.microsoft.experimental", "org.pytorch.aten"}
)
_PYTHON: Final = frozenset({"PyOp", "PythonOp", "PyFunc", "PyCustomOp"})

_COMPILED: Final = "EPContext"  # a graph that is machine code, here or in a file that it names


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Check what a model reads from elsewhere."""
    checker = _Checker(job, Walker(source), member)
    try:
        checker.model(0, source.size)
    except Malformed as error:
        refuse(job, member, 0, str(error))


class _Checker:
    """Walks the messages of a model; a field that is not known there is passed by."""

    def __init__(self, job: Job, walker: Walker, member: str) -> None:
        self._job, self._walker, self._member = job, walker, member
        self._own: set[str] = set()  # domains of functions that the model itself defines
        self._domains: dict[str, int] = {}
        self._count = 0
        self._locations: set[str] = set()

    def model(self, start: int, end: int) -> None:
        """A ModelProto: its opset imports, functions and graph."""
        self._each(start, end, 0, {7: self._graph, 8: self._import, 25: self._function})
        for domain, offset in self._domains.items():
            if domain not in _DOMAINS and domain not in self._own:
                self._issue(53, Verdict.NEEDS_REVIEW, "onnx-domain", offset, name=domain[:200])

    def _each(
        self, start: int, end: int, depth: int, known: Mapping[int, Callable[[Field, int], None]]
    ) -> None:
        if depth > _DEEPEST:
            raise Malformed("graphs are nested deeper than any model needs")
        for field in self._walker.fields(start, end):
            self._count += 1
            if self._count > _MOST_FIELDS:
                raise Malformed("it has more parts than any model needs")
            if field.wire == 2 and field.number in known:
                known[field.number](field, depth + 1)

    def _import(self, field: Field, depth: int) -> None:
        self._each(field.start, field.end, depth, {1: self._domain})

    def _domain(self, field: Field, depth: int) -> None:
        self._domains.setdefault(self._walker.text(field), field.start)

    def _function(self, field: Field, depth: int) -> None:
        known = {7: self._node, 9: self._import, 10: self._own_domain}
        self._each(field.start, field.end, depth, known)

    def _own_domain(self, field: Field, depth: int) -> None:
        self._own.add(self._walker.text(field))

    def _graph(self, field: Field, depth: int) -> None:
        known = {1: self._node, 5: self._tensor, 15: self._sparse}
        self._each(field.start, field.end, depth, known)

    def _node(self, field: Field, depth: int) -> None:
        known = {4: self._operator, 5: self._attribute, 7: self._domain}
        self._each(field.start, field.end, depth, known)

    def _operator(self, field: Field, depth: int) -> None:
        name = self._walker.text(field)
        if name in _PYTHON:
            self._issue(53, Verdict.DANGEROUS, "onnx-python", field.start, name=name)
        elif name == _COMPILED:
            self._issue(46, Verdict.NEEDS_REVIEW, "native-code", field.start)

    def _attribute(self, field: Field, depth: int) -> None:
        known = {5: self._tensor, 6: self._graph, 10: self._tensor, 11: self._graph}
        known |= {22: self._sparse, 23: self._sparse}
        self._each(field.start, field.end, depth, known)

    def _sparse(self, field: Field, depth: int) -> None:
        self._each(field.start, field.end, depth, {1: self._tensor, 2: self._tensor})

    def _tensor(self, field: Field, depth: int) -> None:
        self._each(field.start, field.end, depth, {13: self._external})

    def _external(self, field: Field, depth: int) -> None:
        """A pair of texts: ``location`` and a path, or what part of the file it is."""
        key = value = ""
        for part in self._walker.fields(field.start, field.end):
            if part.number == 1 and part.wire == 2:
                key = self._walker.text(part)
            elif part.number == 2 and part.wire == 2:
                value = self._walker.text(part)
        if key in ("offset", "length") and not (value.isascii() and value.isdigit()):
            raise Malformed(f"external data at byte {field.start} has no place")
        if key == "location" and value not in self._locations:
            self._locations.add(value)
            if leads_out(value) or value.startswith(("~", "file:")) or "\0" in value:
                self._issue(52, Verdict.DANGEROUS, "onnx-leads-out", field.start, name=value[:200])

    def _issue(self, rule: int, verdict: Verdict, text: str, offset: int, **args: str) -> None:
        self._job.issue(rule, verdict, text, member=self._member, offset=offset, **args)
