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
        self._todo: list[tuple[str, int, Any]] = []
        self._enter("", 0, value)
        while self._todo:
            budget.spend(self._todo[-1][0])
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
        inside = is_module(value)
        self.module = self.module or (repr(value.maker) if inside else "")
        for key, part in reversed(list(_members(value) if inside else entries(value))):
            if type(key) is str:
                self._todo.append((f"{name}.{key}" if depth else key, depth + 1, part))
            else:
                shown = f"{key!r:.40}"
                place = f"{name}.{shown}" if depth else shown
                self.others.append((place, f"named by {described(key)}"))

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
        and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in _given(value))
    )


def entries(value: Any) -> Iterator[tuple[Any, Any]]:
    """Keys and values of a dict, a list or a tuple; nothing of anything else."""
    if isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif is_dict(value):
        if isinstance(value, Made):
            yield from ((pair[0], pair[1]) for pair in _given(value))
        yield from value.pairs


def _given(value: Made) -> Sequence[Any]:
    """Entries from the arguments of a dict; Python 2 gave an OrderedDict its own that way."""
    args = value.args if isinstance(value.args, tuple) else (None, None)
    if value.is_made_by("collections", "defaultdict"):
        args = args[1:]
    if not args or value.kwargs is not None:  # an instance that was never initialised
        return ()
    given = args[0].pairs if isinstance(args[0], Dict) else args[0]
    return given if len(args) == 1 and isinstance(given, (list, tuple)) else (None,)


def is_module(value: Any) -> bool:
    """Whether a value is a pickled ``torch.nn.Module``, of whatever class."""
    state = value.state if isinstance(value, Made) else None
    return isinstance(state, Dict) and all(
        is_dict(state.get(part)) for part in ("_parameters", "_buffers", "_modules")
    )


def _members(module: Made) -> Iterator[tuple[Any, Any]]:
    """What ``state_dict()`` of a module names, as far as its class does not override it."""
    state = module.state
    if any(list(entries(state.get(hooks))) for hooks in _HOOKS):
        raise Unusable(f"has a module ({module.maker!r:.100}) with hooks on its state_dict()")
    passing = list(_items(state.get("_non_persistent_buffers_set")))
    for key, part in entries(state.get("_parameters")):
        if part is not None:
            yield key, part
    for key, part in entries(state.get("_buffers")):
        if part is not None and key not in passing:
            yield key, part
    for key, part in entries(state.get("_modules")):
        if part is not None:
            yield key, part


def _items(value: Any) -> Iterator[Any]:
    """What a set holds, in each way that pickles write one."""
    if isinstance(value, Set):
        yield from value
    elif isinstance(value, Made) and value.is_made_by("builtins", "set"):
        args = value.args if isinstance(value.args, tuple) and value.kwargs is None else ()
        for arg in args:
            yield from arg if isinstance(arg, (list, tuple)) else ()


def described(value: Any) -> str:
    """What a value is, in a word or two."""
    if isinstance(value, Made):
        return f"what {value.maker!r:.100} returns"
    if isinstance(value, Global):
        return f"{value!r:.100}"
    return "None" if value is None else f"a {type(value).__name__.lower()}"
