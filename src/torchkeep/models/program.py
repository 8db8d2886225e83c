"""The program in an exported archive: strings that torch turns into Python, checked one by one.

Loading a program parses its sizes with sympy (which evaluates them), looks its operators up by
dotted name from ``torch`` on (``torch.os.system`` is one), writes its names into the source of a
function and executes that, and imports modules that its tree specifications name. A string is
therefore held against the form that its place calls for, and one in an unknown place may hold
nothing but a dotted word.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from torchkeep.core.errors import Refused, UsageError
from torchkeep.core.text import visible

_WORD: Final = re.compile(r"[\w.+-]*")
_ATEN: Final = re.compile(r"torch\.ops\.aten\.((?!__)\w+)\.((?!__)\w+)")
_TREES: Final = frozenset({None, "builtins.dict", "builtins.list", "builtins.tuple"})

# Arithmetic on sizes, and operators that run a part of the same program.
_OTHERS: Final = frozenset(
    {f"_operator.{name}" for name in ("add", "sub", "mul", "pow", "mod", "neg", "pos", "getitem")}
    | {f"_operator.{name}" for name in ("floordiv", "truediv", "lshift", "rshift", "and_", "or_")}
    | {f"_operator.{name}" for name in ("eq", "ne", "lt", "le", "gt", "ge")}
    | {f"torch.sym_{name}" for name in ("float", "int", "ite", "max", "min", "not", "sum")}
    | {f"torch.ops.higher_order.{name}" for name in ("cond", "wrap_with_autocast")}
    | {"torch.ops.higher_order.wrap_with_set_grad_enabled", "torch._sym_sqrt"}
    | {"math.ceil", "math.floor", "math.trunc"}
)

# How sympy writes a size (its `srepr`): calls of these, names and plain constants.
_SIZE: Final = re.compile(r"[\w (),.='-]*")
_PARTS: Final = (
    *(ast.Expression, ast.Call, ast.Name, ast.Load, ast.keyword, ast.Constant, ast.Tuple),
    *(ast.UnaryOp, ast.USub),
)
_NAMES: Final = frozenset(
    {"Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Abs"}
    | {"floor", "ceiling", "Piecewise", "ExprCondPair", "And", "Or", "Not"}
    | {"Equality", "Unequality", "LessThan", "StrictLessThan", "GreaterThan"}
    | {"StrictGreaterThan", "true", "false", "oo", "zoo", "int_oo"}
    # Torch's own.
    | {"FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilDiv"}
    | {"CeilToInt", "FloorToInt", "TruncToInt", "TruncToFloat", "RoundToInt", "RoundDecimal"}
    | {"ToFloat", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv"}
    | {"IsNonOverlappingAndDenseIndicator", "Identity"}
)
_STRING: Final = re.compile(r"[A-Za-z_]\w*|[-+]?\d[\d.e+-]*")  # a symbol or a number


def check(document: Any, name: str) -> None:
    """Refuse a program with a string that torch could run.

    Args:
        document: The parsed ``models/model.json``.
        name: What to call the file in a message.

    Raises:
        Refused: A string is not of the form that its place calls for.
        UsageError: The program was exported in training mode.
    """
    pending: list[tuple[str, Any]] = [("", document)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, Mapping):
            for each in value:
                _require(_is_word(each), "a name", each, name)
            _check_mode(value, name)
            pending.extend(value.items())
        elif isinstance(value, list):
            pending.extend((key, each) for each in value)
        elif isinstance(value, str):
            _require(_FORMS.get(key, _is_word)(value), key, value, name)


def _require(holds: bool, place: str, text: str, name: str) -> None:
    if not holds:
        raise Refused(
            f"loading {name} could run code: {place} is {visible(text[:80])!r}",
            next="ask for safetensors weights and the code that builds the module",
        )


def _check_mode(entry: Mapping[str, Any], name: str) -> None:
    if entry.get("name") in ("train", "training") and entry.get("arg") == {"as_bool": True}:
        raise UsageError(
            f"{name} was exported in training mode, which cannot be undone",
            next="call .eval() on the module, then export it again",
        )


def _is_word(text: str) -> bool:
    return _WORD.fullmatch(text) is not None


def _is_name(text: str) -> bool:
    return not text or text.isidentifier()


def _is_anything(_text: str) -> bool:
    return True


def _is_operator(text: str) -> bool:
    if found := _ATEN.fullmatch(text):
        operator = getattr(getattr(torch.ops.aten, found[1], None), found[2], None)
        return isinstance(operator, torch._ops.OpOverload) and not any(
            argument.name == "filename" for argument in operator._schema.arguments
        )
    return text in _OTHERS


def _is_size(text: str) -> bool:
    if not _SIZE.fullmatch(text):
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _PARTS) and _is_size_part(node) for node in nodes)


def _is_size_part(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name)  # which the next line looks at
    if isinstance(node, ast.Name):
        return node.id in _NAMES
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _STRING.fullmatch(node.value) is not None  # sympy evaluates strings once more
    return True


def _is_tree(text: str) -> bool:
    try:
        protocol, tree = json.loads(text)
        return protocol == 1 and _is_branch(tree)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _is_branch(tree: Any) -> bool:
    context = json.loads(tree["context"]) if tree["context"] is not None else None
    return (
        tree["type"] in _TREES
        and isinstance(context, list | None)
        and all(isinstance(key, int) or _is_word(key) for key in context or ())
        and all(_is_branch(each) for each in tree["children_spec"])
    )


# Metadata is kept as text, guards are not used, and strings for an operator are quoted.
_TEXTS: Final = (
    *("as_string", "as_strings", "custom", "from_node", "guards_code", "nn_module_stack"),
    *("source_fn_stack", "stack_trace", "torch_fn"),
)
_FORMS: Final[Mapping[str, Callable[[str], bool]]] = {
    "target": _is_operator,
    "as_operator": _is_operator,
    "expr_str": _is_size,
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    **dict.fromkeys(("name", "as_name", "forward_arg_names"), _is_name),
    **dict.fromkeys(_TEXTS, _is_anything),
}
