"""What a pickle may look up, by exact name, and what it may then do with it.

Nothing is allowed for where it comes from: a name that is not listed is not known to be harmless.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from torchkeep.scan.pickle import names
from torchkeep.scan.pickle.values import Blob, Dict, Global, Made, Persistent

_LIBRARIES: Final = Path(__file__).with_name("libraries.txt")

_MOST_MADE: Final = 1 << 31  # bytes, or numbers, that one call makes
_EXPONENT: Final = re.compile(r"[eE]\+?[\d_]{5}")
_GROWING: Final = frozenset({"builtins.range", "decimal.Decimal", "fractions.Fraction"})

Check = Callable[[tuple[Any, ...]], bool]
"""Whether the arguments of an allowed call are what the call is meant for."""


class Use(StrEnum):
    """What may be done with an allowed name."""

    VALUE = "value"  # passed on, such as a dtype
    CALL = "call"  # called
    CLASS = "class"  # instantiated, with or without its constructor
    NEW = "new"  # called to make an instance of its first argument
    UNPICKLE = "unpickle"  # called with bytes that are a pickle in turn
    HELD = "held"  # kept by an object, never called or given to a call


FUNCTIONS: Final = frozenset({Use.CALL, Use.NEW, Use.UNPICKLE})
"""Uses of what is called while a pickle is loaded, and may not be kept for later."""


class Container(StrEnum):
    """What may be put into what was made."""

    NONE = "none"
    PAIRS = "pairs"
    ITEMS = "items"


@dataclass(frozen=True, slots=True)
class Grant:
    """What the policy lets a name do.

    Attributes:
        use: What may be done with it.
        fills: What may be put into what it makes.
        state: Whether what it makes may be given state.
        check: Whether given arguments are allowed; any are where None.
        takes: Whether a function among the arguments is what the check asks for.
        sets: Whether given state is allowed, where any is not.
        until: The last day on which a project allows it; None for what torchkeep lists.
    """

    use: Use
    fills: Container = Container.NONE
    state: bool = False
    check: Check | None = None
    takes: bool = False
    sets: Callable[[Any], bool] | None = None
    until: date | None = None


Policy = Mapping[tuple[str, str], Grant]


class Tier(StrEnum):
    """How much of a model may lie in a pickle.

    Attributes:
        WEIGHTS: Tensors, numbers, texts and containers: what torch's ``weights_only`` admits, and
            arrays of numpy.
        MODULE: Whole modules and estimators of well-known libraries, and plain data, too.
    """

    WEIGHTS = "weights"
    MODULE = "module"


@cache
def of(tier: Tier) -> Policy:
    """The policy of a tier."""
    table = dict(_tensors())
    if tier is Tier.MODULE:
        table |= dict(_libraries())
    return table


def _tensors() -> Iterator[tuple[tuple[str, str], Grant]]:
    plain = Grant(Use.CLASS, state=True, check=_bounded)
    yield from _grants(names.VALUES, Grant(Use.VALUE))
    yield from _grants(names.CLASSES, plain)
    pairs = Grant(Use.CLASS, Container.PAIRS, state=True, check=_bounded)
    yield from _grants(names.FILLED_BY_PAIRS, pairs)
    items = Grant(Use.CLASS, Container.ITEMS, state=True, check=_bounded)
    yield from _grants(names.FILLED_BY_ITEMS, items)
    yield from _grants(names.REBUILD, Grant(Use.CALL, state=True, check=_no_functions))
    for key, check in _CHECKED.items():
        yield key, Grant(Use.CALL, state=True, check=check, takes=key in _TAKERS)
    yield ("collections", "defaultdict"), Grant(Use.CLASS, Container.PAIRS, True, _factory)
    yield ("copyreg", "_reconstructor"), Grant(Use.NEW, check=_instance)
    yield ("copyreg", "__newobj__"), Grant(Use.NEW, check=_instance)


def _libraries() -> Iterator[tuple[tuple[str, str], Grant]]:
    grants = PLAIN | {"held": Grant(Use.HELD), "never": Grant(Use.CALL, check=_never)}
    for line in _LIBRARIES.read_text("ascii").splitlines():
        if not line.startswith("#"):
            use, module, *found = line.split()
            for name in found:
                yield (module, name), grants[use]
    yield from _grants(names.PLAIN_CLASSES, PLAIN["class"])
    yield ("fractions", "Fraction"), Grant(Use.CLASS, state=True, check=_fraction)
    yield ("torch.storage", "_load_from_bytes"), Grant(Use.UNPICKLE, check=_one_bytes)
    yield ("torch", "ScriptObject"), Grant(Use.CLASS, state=True, check=_nothing, sets=_packed)
    for name in ("__generator_ctor", "__randomstate_ctor"):
        key = ("numpy.random._pickle", name)
        yield key, Grant(Use.CALL, state=True, check=_generator, takes=True)


def _grants(table: names.Names, grant: Grant) -> Iterator[tuple[tuple[str, str], Grant]]:
    for module, found in table.items():
        for name in found:
            yield (module, name), grant


# Checks of arguments


def _use_of(value: Any) -> Use | None:
    return value.grant.use if isinstance(value, Global) and value.grant else None


def _no_functions(args: tuple[Any, ...]) -> bool:
    """No argument is something that whoever gets it could call with data of the stream."""
    if not args:
        return True
    todo: list[Any] = [args]
    seen: set[int] = set()  # a list can hold itself
    while todo:
        part = todo.pop()
        if isinstance(part, (tuple, list, Dict)):
            if id(part) not in seen:
                seen.add(id(part))
                todo += part.pairs if isinstance(part, Dict) else part
        elif _use_of(part) in FUNCTIONS or _use_of(part) is Use.HELD:
            return False
    return True


def _bounded(args: tuple[Any, ...]) -> bool:
    """No argument is a few bytes that take all memory: ``bytearray(1 << 40)``, ``list(range)``."""
    return not args or (
        _no_functions(args)
        and not any(
            (type(arg) is int and len(args) == 1 and arg > _MOST_MADE)
            or (isinstance(arg, str) and _EXPONENT.search(arg))
            or (isinstance(arg, Made) and repr(arg.maker) in _GROWING)
            for arg in args
        )
    )


def _fraction(args: tuple[Any, ...]) -> bool:
    return _bounded(args) and not any(isinstance(arg, Blob) for arg in args)


def _never(args: tuple[Any, ...]) -> bool:
    return False


def _nothing(args: tuple[Any, ...]) -> bool:
    return all(arg is None for arg in args)


def _packed(state: Any) -> bool:
    """Weights of a quantized layer; torch makes whatever native class the state names."""
    return isinstance(state, tuple) and len(state) == 2 and str(state[1]) in names.PACKED


def _instance(args: tuple[Any, ...]) -> bool:
    return bool(args) and _use_of(args[0]) in (Use.CLASS, None) and isinstance(args[0], Global)


def _factory(args: tuple[Any, ...]) -> bool:
    return len(args) < 2 and all(arg is None or _use_of(arg) is Use.CLASS for arg in args)


def _one_bytes(args: tuple[Any, ...]) -> bool:
    return len(args) == 1 and (isinstance(args[0], bytes | Blob) or is_encoded(args[0]))


def is_encoded(value: Any) -> bool:
    """Whether a value is bytes as protocols below 3 write them: text, encoded when it is loaded."""
    return isinstance(value, Made) and value.is_made_by("_codecs", "encode")


def _encode(args: tuple[Any, ...]) -> bool:
    # Any other codec may do anything that somebody registered it for.
    return len(args) == 2 and args[1] in ("latin1", "latin-1") and isinstance(args[0], str | Blob)


def _array(args: tuple[Any, ...]) -> bool:
    return bool(args) and isinstance(args[0], Global) and _use_of(args[0]) is Use.CLASS


def _generator(args: tuple[Any, ...]) -> bool:
    """``__generator_ctor(name, function)`` calls its second argument with the first."""
    return _no_functions(args[:1]) and (len(args) < 2 or _is_bit_generator(args[1:]))


def _is_bit_generator(args: tuple[Any, ...]) -> bool:
    return len(args) == 1 and repr(args[0]) == "numpy.random._pickle.__bit_generator_ctor"


def _storage(args: tuple[Any, ...]) -> bool:
    return bool(args) and isinstance(args[0], Persistent | Made)


def _retyped(args: tuple[Any, ...]) -> bool:
    """``_rebuild_from_type_v2(function, type, args, state)`` calls its first argument."""
    return (
        len(args) == 4
        and isinstance(args[0], Global)
        and args[0].module == "torch._utils"
        and _use_of(args[0]) is Use.CALL
        and _use_of(args[1]) is Use.CLASS
        and isinstance(args[2], tuple)
        and (args[0].grant is None or args[0].grant.check is None or args[0].grant.check(args[2]))
    )


_TAKERS: Final = frozenset({("torch._tensor", "_rebuild_from_type_v2")})
_CHECKED: Final[dict[tuple[str, str], Check]] = {
    ("_codecs", "encode"): _encode,
    ("torch._tensor", "_rebuild_from_type_v2"): _retyped,
    ("torch._utils", "_rebuild_tensor"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _storage,
    ("torch._utils", "_rebuild_tensor_v3"): _storage,
    ("torch._utils", "_rebuild_qtensor"): _storage,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
}

PLAIN: Final = {
    "class": Grant(Use.CLASS, state=True, check=_no_functions),
    "call": Grant(Use.CALL, state=True, check=_no_functions),
    "value": Grant(Use.VALUE),
}
"""What names get that are listed by their use alone."""
