"""Which tensors of a file are taken, and what is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from torchkeep.core.errors import Refused, UsageError
from torchkeep.core.text import visible
from torchkeep.scan.conversion import forms
from torchkeep.scan.conversion.locate import AGAIN, Located
from torchkeep.scan.conversion.walk import (
    Budget,
    Unusable,
    Walk,
    described,
    entries,
    is_dict,
    is_module,
    shown,
)
from torchkeep.scan.tensors import Tensor

ALONE: Final = "tensor"
"""Name of a tensor that is a whole file."""

_MOST_SHOWN: Final = 8
_MOST_TRIED: Final = 64  # values below the top that are looked at for one that would do


@dataclass(frozen=True, slots=True)
class Choice:
    """What is taken.

    Attributes:
        tensors: Tensors with their names.
        left: Names of what is not.
        module: The class of the module whose tensors they are; empty where they are none's.
    """

    tensors: tuple[Tensor, ...]
    left: tuple[str, ...]
    module: str = ""


def choose(found: Located, key: str, salvage: bool) -> Choice:
    """Choose the tensors of a file.

    Args:
        found: The file.
        key: Keys that lead to what holds them, joined by dots; empty for the file as a whole.
        salvage: Whether what is no tensor may stand among them, and is left behind.

    Raises:
        Refused: There is no such set of tensors, or one is of a form that safetensors has not.
        UsageError: The key leads nowhere, or to several places.
    """
    value, beside = _picked(found, key)
    if forms.is_tensor(value):
        alone = _fit(found, key.rpartition(".")[2] or ALONE, value)
        return Choice((alone,), tuple(beside))
    walk = _walked(found, key, value)
    if walk.others and not salvage:
        path, what = walk.others[0]
        raise Refused(
            f"{found.source.name} holds more than tensors: {visible(path):.200} is {visible(what)}",
            next=_advice(found, "add --salvage, which takes the tensors alone"),
        )
    if not walk.tensors:
        raise Refused(f"{found.source.name} holds no tensors{_below(key)}", next=_advice(found))
    tensors = tuple(_fit(found, name, made) for name, made in walk.tensors.items())
    return Choice(tensors, (*beside, *(path for path, _ in walk.others)), walk.module)


def _walked(found: Located, key: str, value: Any) -> Walk:
    name = found.source.name
    if not is_dict(value) and not is_module(value):
        raise Refused(
            f"{name} holds {visible(described(value))}{_below(key)}, expected a dict of tensors",
            next=_advice(found),
        )
    try:
        return Walk(value, Budget())
    except Unusable as error:
        raise Refused(f"{name} {visible(str(error))}", next=_advice(found)) from None


def _fit(found: Located, name: str, made: Any) -> Tensor:
    try:
        tensor = forms.tensor(made, name)
        key = tensor.storage.key
        if len(found.dtypes[key]) > 1:
            raise forms.Unfit("lies on a storage that the file gives two types")
        place = found.places.get(key)
        if place is None or place.size != tensor.storage.size:
            raise forms.Unfit("lies on a storage that the file does not have")
    except forms.Unfit as error:
        raise Refused(
            f"{found.source.name}: tensor {visible(name):.200} {visible(str(error))}", next=AGAIN
        ) from None
    return tensor


def _picked(found: Located, key: str) -> tuple[Any, list[str]]:
    """What a dotted key leads to, and the names of what stands beside the way."""
    if not key:
        return found.value, []
    ways = list(_ways(found.value, key))
    if len(ways) != 1:
        what = "leads to several things" if ways else "is not there"
        raise UsageError(f"{found.source.name}: the key {visible(key)} {what}", next=_advice(found))
    return ways[0]


def _ways(value: Any, key: str) -> Iterator[tuple[Any, list[str]]]:
    """Everything that a dotted key may lead to: keys can have dots of their own."""
    todo: list[tuple[Any, str, str, list[str]]] = [(value, key, "", [])]
    seen: set[tuple[int, str]] = set()
    while todo:
        node, rest, prefix, beside = todo.pop()
        if (id(node), rest) in seen:
            continue
        seen.add((id(node), rest))
        names = [(shown(name), part) for name, part in entries(node)]
        for place, (name, part) in enumerate(names):
            if rest != name and not rest.startswith(f"{name}."):
                continue
            others = [prefix + other for n, (other, _) in enumerate(names) if n != place]
            if rest == name:
                yield part, [*beside, *others]
            else:
                left = rest[len(name) + 1 :]
                todo.append((part, left, f"{prefix}{name}.", [*beside, *others]))


def _advice(found: Located, otherwise: str = "") -> str:
    """The next step: the keys that would do, and what would do otherwise."""
    budget = Budget()
    keys = [visible(key) for key, value in _tried(found.value) if _would_do(value, budget)]
    if not keys:
        return otherwise or AGAIN
    more = ", ..." if len(keys) > _MOST_SHOWN else ""
    listed = ", ".join(keys[:_MOST_SHOWN]) + more
    return f"choose what to take with --key: {listed}" + (f"; or {otherwise}" if otherwise else "")


def _tried(value: Any) -> Iterator[tuple[str, Any]]:
    """Dicts and modules on the first two levels, by the keys that lead to them."""
    todo, tried = [("", value)], 0
    while todo and tried < _MOST_TRIED:
        prefix, node = todo.pop(0)
        for key, part in entries(node):
            if type(key) is str and (is_dict(part) or is_module(part)) and tried < _MOST_TRIED:
                tried += 1
                yield f"{prefix}{key}", part
                if not prefix:
                    todo.append((f"{key}.", part))


def _would_do(value: Any, budget: Budget) -> bool:
    try:
        walk = Walk(value, budget)
    except Unusable:
        return False
    return bool(walk.tensors) and not walk.others


def _below(key: str) -> str:
    return f" under {visible(key)}" if key else ""
