"""Holds the message catalogue against the source: which ids are used, and with which values.

Found by reading the syntax tree, without running anything:

* ``message("a.b", x=1)`` names an id and its values; so does ``message("a.b" if c else "a.d")``.
* A function that hands its own argument on to ``message``, bare or behind a fixed start, is a
  *wrapper*, and calls of it inside its room count alike: ``self.word("a.b", x=1)``,
  ``words.say("labels.x")`` for ``report.labels.x``.
* ``message(f"a.{kind}")`` is a *pattern*, and so is a variable. It uses the ids that it matches, as
  long as what stands for the variable is spelled out as a string somewhere in the source.
* Any other string that is an id uses it; with which values is not known then.

Where it errs, it errs towards *used*: an entry under a pattern whose name is also an everyday word
of the source is not accused.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from string import Formatter


def flat(node: Mapping, prefix: str) -> Iterator[tuple[str, Mapping]]:
    """Every entry below ``node`` by its id; an entry is a table that holds text."""
    for key, value in node.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping) and not any(isinstance(v, Mapping) for v in value.values()):
            yield name, value
        elif isinstance(value, Mapping):
            yield from flat(value, name)
        else:
            yield prefix, node  # text beside tables: an entry that is no entry
            return


def placeholders(text: str) -> set[str]:
    """What a text needs; anything but plain ``{names}`` is shown as it stands."""
    return {
        name + ("!" + conversion if conversion else "") + (":" + spec if spec else "")
        for _, name, spec, conversion in Formatter().parse(text)
        if name is not None
    }


@dataclass
class Uses:
    """What the source uses."""

    calls: list[tuple[str, tuple[str, ...], set[str] | None]] = field(default_factory=list)
    patterns: list[re.Pattern] = field(default_factory=list)
    strings: set[str] = field(default_factory=set)

    def is_used(self, name: str) -> bool:
        matches = filter(None, (pattern.fullmatch(name) for pattern in self.patterns))
        return (
            name in self.strings
            or any(name in ids for _, ids, _ in self.calls)
            or any(self.strings.issuperset(match.groups()) for match in matches)
        )


def uses(sources: Mapping[str, str]) -> Uses:
    """Read the source: file text by ``room/file.py``."""
    out = Uses()
    rooms: dict[str, list[tuple[str, ast.Module]]] = {}
    for path, text in sources.items():
        tree = ast.parse(text)
        rooms.setdefault(path.partition("/")[0], []).append((path, tree))
        out.strings |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    for modules in rooms.values():
        wrappers, inner = _wrappers(modules)
        for path, tree in modules:
            for call, said in _spoken(tree, wrappers):
                if call not in inner:
                    _take(out, f"{path}:{call.lineno}", call, said, wrappers[_name(call)])
    return out


@dataclass(frozen=True)
class _Wrapper:
    prefix: str
    place: int = 0  # of the id among the arguments
    hands_on: bool = True  # the values too
    own: frozenset[str] = frozenset()  # arguments that it takes for itself, which are no values


def _wrappers(modules) -> tuple[dict[str, _Wrapper], set[ast.Call]]:
    """The functions of a room that speak for their callers, and the calls by which they do."""
    known = {name: _Wrapper("") for name in ("message", "template")}
    inner: set[ast.Call] = set()
    trees = [node for _, tree in modules for node in ast.walk(tree)]
    functions = [node for node in trees if isinstance(node, ast.FunctionDef)]
    grown = True
    while grown:
        grown = False
        for function in functions:
            names = [argument.arg for argument in function.args.args if argument.arg != "self"]
            for call, said in list(_spoken(function, known)):
                prefix, variable = _split(said)
                if variable in names and call not in inner:
                    via = known[_name(call)]
                    hands_on = via.hands_on and function.args.kwarg is not None
                    own = via.own | {
                        a.arg for a in (*function.args.args, *function.args.kwonlyargs)
                    }
                    wrapper = _Wrapper(
                        via.prefix + prefix, names.index(variable), hands_on, frozenset(own)
                    )
                    known.setdefault(function.name, wrapper)
                    inner.add(call)
                    grown = True
    return known, inner


def _split(said: ast.expr) -> tuple[str, str | None]:
    """A fixed start, and the name of the variable that is all the rest."""
    match said:
        case ast.Name(variable):
            return "", variable
        case ast.JoinedStr([ast.Constant(start), ast.FormattedValue(ast.Name(variable))]):
            return start, variable
    return "", None


def _spoken(tree: ast.AST, known: Mapping[str, _Wrapper]) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Every call that names a message, and what it names."""
    for node in ast.walk(tree):
        wrapper = known.get(_name(node)) if isinstance(node, ast.Call) else None
        if wrapper and len(node.args) > wrapper.place:
            yield node, node.args[wrapper.place]


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


def _take(out: Uses, place: str, call: ast.Call, said: ast.expr, wrapper: _Wrapper) -> None:
    choices = [said.body, said.orelse] if isinstance(said, ast.IfExp) else [said]
    if all(
        isinstance(choice, ast.Constant) and isinstance(choice.value, str) for choice in choices
    ):
        values = {keyword.arg for keyword in call.keywords} if wrapper.hands_on else set()
        values -= wrapper.own
        ids = tuple(wrapper.prefix + choice.value for choice in choices)
        out.calls.append((place, ids, None if None in values else values))
        return
    parts = said.values if isinstance(said, ast.JoinedStr) else [said]
    values_of = [getattr(part, "value", None) for part in parts]
    spelled = [re.escape(v) if isinstance(v, str) else "(.+)" for v in values_of]
    out.patterns.append(re.compile(re.escape(wrapper.prefix) + "".join(spelled)))
