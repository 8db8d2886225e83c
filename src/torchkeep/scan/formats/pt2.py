"""Archives of ``torch.export``: a graph as JSON, raw weights, and whatever is pickled beside them.

torch 2.13 still loads pickled weights, constants and example inputs of such an archive without
``weights_only``, so each record is looked into but those that its own lists call raw. Graphs are
not run; the texts in them that torch evaluates must be plain arithmetic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan import zip as archives
from torchkeep.scan.formats import zips
from torchkeep.scan.formats.torch_zip import fold
from torchkeep.scan.job import Job
from torchkeep.scan.tensors import Storage, Tensor
from torchkeep.scan.verdict import Verdict
from torchkeep.scan.zip import Member

_FORMAT: Final = re.compile(r"([^/]*/)archive_format", re.IGNORECASE)
# As torch finds them: names of records are told apart without regard to case.
_LIST: Final = re.compile(r"data/(weights|constants)/.*\.json", re.DOTALL)
_MODEL: Final = re.compile(r"models/.*\.json", re.DOTALL)
_PICKLED: Final = re.compile(r"data/(sample_inputs/.*|constants/(custom|opaque)_obj_.*)", re.DOTALL)
_SMALL: Final = {
    "archive_format": re.compile(rb"pt2\n?"),
    "archive_version": re.compile(rb"\d{1,9}\n?"),
    "byteorder": re.compile(rb"little|big"),
    ".data/version": re.compile(rb"\d{1,9}\n?"),
    "version": re.compile(rb"\d{1,9}\n?"),
    ".data/serialization_id": re.compile(rb"\d{1,80}"),
}
# Numbers of dtypes in torch's own schema.
_DTYPES: Final = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16",
    28: "uint16", 29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip
_LONGEST: Final = 1 << 26  # bytes of one JSON record that is read

# sympy evaluates these texts as Python, with all of its names and those of Python itself: only what
# torch writes there is plain. No attribute, no index, no text but a name, no other call.
_NAMED: Final = re.compile(r"\b(?:Symbol|Float|Integer)\('[\w.+-]*'", re.ASCII)
_CALLED: Final = re.compile(r"([A-Za-z_]\w*)\s*\(", re.ASCII)
_ARITHMETIC: Final = re.compile(r"(?!.*__)(?!.*\.\s*[A-Za-z_])[\w\s+\-*/%(),.<>=!&|~]{1,65536}")
_FUNCTIONS: Final = frozenset(
    """
    Symbol Float Integer Rational Add Mul Pow Max Min Abs Mod PythonMod FloorDiv CleanDiv CeilDiv
    CeilToInt FloorToInt TruncToInt RoundToInt IntTrueDiv FloatTrueDiv ModularIndexing Where ToFloat
    TruncToFloat RoundDecimal PowByNatural FloatPow LShift RShift Identity And Or Not Xor Eq Ne Gt
    Ge Lt Le Equality Unequality StrictGreaterThan StrictLessThan GreaterThan LessThan floor ceiling
    sqrt exp log Piecewise ExprCondPair Tuple Half IsNonOverlappingAndDenseIndicator
    OpaqueUnaryFn_sqrt OpaqueUnaryFn_exp OpaqueUnaryFn_log OpaqueUnaryFn_log2 OpaqueUnaryFn_sin
    OpaqueUnaryFn_cos OpaqueUnaryFn_tan OpaqueUnaryFn_tanh BitwiseFn_bitwise_and
    BitwiseFn_bitwise_or
    """.split()
)
_OUTWARD: Final = re.compile(
    r"torch\.ops\.(aten\.(save|from_file)|image\.\w*file|c10d_functional_autograd|_?inductor)\b"
)
# torch walks from one of these modules along any attributes: ``torch.os.system`` leads somewhere.
_WALKED: Final = re.compile(r"torch|math|_operator")
_OPERATOR: Final = re.compile(
    r"torch\.ops(\.(?!__)\w+){2,}|torch\.sym_\w+|math\.[a-z]\w*|_operator\.(?!\w*(getter|call))\w+"
    r"|torch\.(_C\._set_grad_enabled|autograd\.grad_mode\.set_grad_enabled)"
    r"|torch\.(amp\.autocast_mode|_functorch\.predispatch|export\.custom_ops)\._[a-z]\w*"
    r"|torch\._functorch\.predispatch\.lazy_load_decompositions"
    r"|torch\.fx\.experimental\.symbolic_shapes\.cast_symbool_to_symint_guardless",
    re.ASCII,
)


def look(
    job: Job, source: Readable, members: list[Member], member: str, depth: int
) -> list[Member]:
    """Scan exported programs in an archive; returns the members that belong to none."""
    roots = {fold(match[1]) for found in members if (match := _FORMAT.fullmatch(found.name))}
    for root in sorted(roots):
        mine = [found for found in members if fold(found.name).startswith(root)]
        members = [found for found in members if not fold(found.name).startswith(root)]
        _program(job, source, mine, root, member, depth)
    return members


def _program(
    job: Job, source: Readable, members: list[Member], root: str, member: str, depth: int
) -> None:
    raw = _raw(job, source, members, root, member)
    for found in members:
        record = fold(found.name)[len(root) :]
        if record in raw and not found.method and not found.encrypted:
            _check_size(job, zips.inside(member, found.name), found, raw[record])
            continue
        if record in _SMALL and _is_known(job, source, found, record, member):
            continue
        if _MODEL.fullmatch(record):
            _check_graph(job, source, found, member)
        else:
            pickled = _PICKLED.fullmatch(record) is not None
            zips.into(job, source, found, member, depth, pickle=pickled)


def _check_size(job: Job, name: str, found: Member, metas: list[Any]) -> None:
    """Note raw numbers of which a tensor needs more than there are."""
    for meta in metas:
        tensor = _tensor(meta, found.size)
        if tensor is None:
            job.issue(41, Verdict.MALFORMED, "odd-tensor", member=name)
        elif not tensor.fits():
            job.issue(41, Verdict.MALFORMED, "tensor-outside", member=name)


def _tensor(meta: Any, size: int) -> Tensor | None:
    """A tensor as a list of weights describes it, on a record of ``size`` bytes."""
    if not isinstance(meta, dict):
        return None
    kind, sizes, strides = meta.get("dtype"), meta.get("sizes"), meta.get("strides")
    dtype = _DTYPES.get(kind) if type(kind) is int else None
    offset, shape = _number(meta.get("storage_offset")), _numbers(sizes)
    stride = _numbers(strides)
    if dtype is None or offset is None or shape is None or stride is None:
        return None
    return Tensor("", Storage("", "uint8", "cpu", size), dtype, offset, shape, stride)


def _numbers(value: Any) -> tuple[int, ...] | None:
    numbers = [_number(one) for one in value] if isinstance(value, list) else [None]
    return None if None in numbers else tuple(number for number in numbers if number is not None)


def _number(value: Any) -> int | None:
    number = value.get("as_int") if isinstance(value, dict) else None
    return number if type(number) is int else None


def _raw(
    job: Job, source: Readable, members: list[Member], root: str, member: str
) -> dict[str, list[Any]]:
    """Records that every list of the archive calls raw numbers, with the tensors on them."""
    raw: dict[str, list[Any]] = {}
    pickled: set[str] = set()
    for found in members:
        if match := _LIST.fullmatch(fold(found.name)[len(root) :]):
            for entry in _entries(_json(job, source, found, member)):
                path = fold(f"data/{match[1]}/{entry.get('path_name')}")
                raw.setdefault(path, []).append(entry.get("tensor_meta"))
                if entry.get("use_pickle"):
                    pickled.add(path)
    return {path: metas for path, metas in raw.items() if path not in pickled}


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    table = config.get("config") if isinstance(config, dict) else None
    if isinstance(table, dict):
        yield from (entry for entry in table.values() if isinstance(entry, dict))


def _check_graph(job: Job, source: Readable, found: Member, member: str) -> None:
    name = zips.inside(member, found.name)
    for key, text in dict.fromkeys(_texts(_json(job, source, found, member))):
        if key == "expr_str" and not is_arithmetic(text):
            job.issue(47, Verdict.NEEDS_REVIEW, "odd-expression", member=name, expression=text[:60])
        elif key == "target" and _is_outward(text):
            job.issue(44, Verdict.NEEDS_REVIEW, "script-operator", member=name, operator=text[:60])


def _is_outward(target: str) -> bool:
    """Whether a target is an operator that reaches out of the process, or none of torch at all."""
    if _OUTWARD.match(target):
        return True
    return bool(_WALKED.match(target)) and not _OPERATOR.fullmatch(target)


def is_arithmetic(text: str) -> bool:
    """Whether evaluating ``text`` computes a size and does nothing else."""
    plain = _NAMED.sub("Symbol(", text)
    return bool(_ARITHMETIC.fullmatch(plain)) and set(_CALLED.findall(plain)) <= _FUNCTIONS


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield from ((key, text) for key, text in node.items() if isinstance(text, str))
            todo += node.values()
        elif isinstance(node, list):
            todo += node


def _json(job: Job, source: Readable, found: Member, member: str) -> Any:
    text = _bytes(job, source, found, member, _LONGEST)
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        name = zips.inside(member, found.name)
        job.issue(45, Verdict.MALFORMED, "odd-record", member=name)
        return None


def _is_known(job: Job, source: Readable, found: Member, record: str, member: str) -> bool:
    text = _bytes(job, source, found, member, 128)
    if _SMALL[record].fullmatch(text):
        return True
    job.issue(45, Verdict.MALFORMED, "odd-record", member=zips.inside(member, found.name))
    return False


def _bytes(job: Job, source: Readable, found: Member, member: str, most: int) -> bytes:
    """A small record; empty, and noted, where it cannot be read."""
    name = zips.inside(member, found.name)
    if found.encrypted:
        job.issue(31, Verdict.NOT_SCANNED, "zip-encrypted", member=name)
        return b""
    if found.size > most:
        job.issue(33, Verdict.NOT_SCANNED, "over-budget", member=name)
        return b""
    if not zips.may_open(job, found, name):
        return b""

    def complain(text: str) -> None:
        job.issue(30, Verdict.MALFORMED, text, member=name, about="")

    with archives.opened(source, found, complain) as content:
        return content.read(0, content.size)
