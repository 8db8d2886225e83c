"""The tensors below a value that a pickle would build, and the names under which they go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torchkeep.core.text import is_encodable
from torchkeep.scan.conversion.forms import is_tensor
from torchkeep.scan.pickle.values import Dict, Global, Made, Set

MOST_NAMES: Final = 100_000_000
"""Bytes of a header that the safetensors library reads."""

_EACH: Final = 256  # what every step counts, beside the length of its name
_DEEPEST: Final = 100
_DICTS: Final = (("collections", "OrderedDict"), ("collections", "defaultdict"))
_HOOKS: Final = ("_state_dict_hooks", "_state_dict_pre_hooks")


class Unusable(Exception):
    """What cannot become a set of named tensors; its text says why."""


@dataclass(slots=True)
class Budget:
    """How far walks may go: what is shared again and again has no end."""

    left: int = MOST_NAMES

    def spend(self, name: str) -> None:
        """Take a step to something of that name."""
        self.left -= len(name) + _EACH
        if self.left < 0:
            raise Unusable("holds more names than any model has")


class Walk:
    """Finds the tensors below a value.

    Args:
        value: A dict of tensors, of other dicts too, or a module.
        budget: How far it may go.

    Attributes:
        tensors: What was found, by name.
        others: Names of what is no tensor, with what it is instead.
        module: The class of the first module that was met; empty where there was none.

    Raises:
        Unusable: Two tensors would have one name, a name cannot be written, or what hangs
            together by sharing is larger than a file can be.
    """

    def __init__(self, value: Any, budget: Budget) -> None:
        self.tensors: dict[str, Made] = {}
        self.others: list[tuple[str, str]] = []
        self.module = ""
        self._budget = budget
        self._known: dict[int, list[tuple[Any, Any]]] = {}  # what is shared is looked into once
        self._todo: list[tuple[str, int, Any]] = []
        self._enter("", 0, value)
        while self._todo:
            self._look(*self._todo.pop())

    def _look(self, name: str, depth: int, value: Any) -> None:
        if depth > _DEEPEST:
            raise Unusable(f"holds dicts that are more than {_DEEPEST} deep")
        if is_tensor(value):
            self._take(name, value)
        elif is_dict(value) or is_module(value):
            self._enter(name, depth, value)
        else:
            self.others.append((name, described(value)))

    def _enter(self, name: str, depth: int, value: Any) -> None:
        if is_module(value) and not self.module:
            self.module = described(value.maker)
        for key, part in reversed(self._members(value)):
            place = f"{name}.{shown(key)}" if depth else shown(key)
            self._budget.spend(place)
            if type(key) is str:
                self._todo.append((place, depth + 1, part))
            else:
                self.others.append((place, f"named by {described(key)}"))

    def _members(self, value: Any) -> list[tuple[Any, Any]]:
        if id(value) not in self._known:
            self._known[id(value)] = list(members(value) if is_module(value) else entries(value))
        return self._known[id(value)]

    def _take(self, name: str, value: Made) -> None:
        if name in self.tensors:
            raise Unusable(f"has two tensors that would be called {name:.200}")
        if name == "__metadata__" or not is_encodable(name):
            raise Unusable(f"has a tensor called {name:.200}, which safetensors cannot write")
        self.tensors[name] = value


def is_dict(value: Any) -> bool:
    """Whether a value is a dict whose entries are known."""
    return isinstance(value, Dict) or (
        isinstance(value, Made)
        and isinstance(value.maker, Global)
        and (value.maker.module, value.maker.name) in _DICTS
        and _given(value) is not None
    )


def entries(value: Any) -> Iterator[tuple[Any, Any]]:
    """Keys and values of a dict, a list or a tuple; nothing of anything else."""
    if isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif is_dict(value):
        for pair in (_given(value) if isinstance(value, Made) else None) or ():
            is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
            yield (pair[0], pair[1]) if is_pair else (pair, None)
        yield from value.pairs


def _given(value: Made) -> Sequence[Any] | None:
    """Entries from the arguments of a dict; Python 2 gave an OrderedDict its own that way."""
    args = value.args if isinstance(value.args, tuple) else (None, None)
    if value.is_made_by("collections", "defaultdict"):
        args = args[1:]
    if not args or value.kwargs is not None:  # an instance that was never initialised
        return ()
    given = args[0].pairs if isinstance(args[0], Dict) else args[0]
    return given if len(args) == 1 and isinstance(given, (list, tuple)) else None


def is_module(value: Any) -> bool:
    """Whether a value is a pickled ``torch.nn.Module``, of whatever class."""
    state = value.state if isinstance(value, Made) else None
    return isinstance(state, Dict) and all(
        is_dict(state.get(part)) for part in ("_parameters", "_buffers", "_modules")
    )


def members(module: Made) -> Iterator[tuple[Any, Any]]:
    """What ``state_dict()`` of a module names, as far as its class does not override it."""
    state = module.state
    if any(list(entries(state.get(hooks))) for hooks in _HOOKS):
        raise Unusable(f"has a module ({described(module.maker)}) with hooks on its state_dict()")
    passing = _texts(state.get("_non_persistent_buffers_set"))
    for part in ("_parameters", "_buffers", "_modules"):
        for key, value in entries(state.get(part)):
            if value is not None and not (part == "_buffers" and key in passing):
                yield key, value


def _texts(value: Any) -> frozenset[str]:
    """The texts in a set, in each way that pickles write one."""
    items = value if isinstance(value, Set) else []
    if isinstance(value, Made) and value.is_made_by("builtins", "set") and value.kwargs is None:
        args = value.args if isinstance(value.args, tuple) else ()
        items = args[0] if args and isinstance(args[0], list) else []
    return frozenset(item for item in items if type(item) is str)


def described(value: Any) -> str:
    """What a value is, in a word or two: of what it holds, nothing is told."""
    if isinstance(value, Global):
        return f"{value!r:.100}"
    if isinstance(value, Made):
        named = isinstance(value.maker, Global)
        return f"what {value.maker!r:.100} returns" if named else "what a call returns"
    return "None" if value is None else f"a {type(value).__name__.lower()}"


def shown(key: Any) -> str:
    """A key as a part of a name."""
    if type(key) is str:
        return key
    return str(key) if type(key) is int and abs(key) < 1 << 63 else f"({described(key)})"
