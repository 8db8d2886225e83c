"""Functions that what a pickle builds would keep.

The policy lets a function of a library be called while the pickle is loaded, with arguments that
are looked at. Kept as data, as a layer or a hook of a model, it is called later on, with data that
the model makes: bytes that were weights become a pickle in ``torch.storage._load_from_bytes``.
"""

from __future__ import annotations

from typing import Any, Final

from torchkeep.scan.pickle.policy import FUNCTIONS
from torchkeep.scan.pickle.values import Dict, Global, Made, Set

_HOLDERS: Final = frozenset({tuple, list, Dict, Made, Set})


def functions(value: Any) -> list[Global]:
    """The functions among all that ``value`` holds; each container is looked at once."""
    found: list[Global] = []
    seen: set[int] = set()
    level: list[Any] = [(value,)]
    while level:
        parts = [part for node in level for part in _parts(node)]
        found += [part for part in parts if type(part) is Global and _is_function(part)]
        fresh = {id(part): part for part in parts if type(part) in _HOLDERS and part}
        level = [part for key, part in fresh.items() if key not in seen]
        seen.update(fresh)
    return found


def _is_function(found: Global) -> bool:
    return found.grant is not None and found.grant.use in FUNCTIONS


def _parts(node: Any) -> Any:
    if isinstance(node, Dict):
        return [part for pair in node.pairs for part in pair]
    if isinstance(node, Made):
        if not node.pairs and not node.items and node.state is None:
            return _arguments(node)
        pairs = [part for pair in node.pairs for part in pair]
        return [*_arguments(node), node.state, *node.items, *pairs]
    return node


def _arguments(made: Made) -> Any:
    """What a call was given; a function that it is meant to be given is gone when it returns."""
    takes = isinstance(made.maker, Global) and made.maker.grant and made.maker.grant.takes
    if takes and isinstance(made.args, tuple):
        return [part for part in made.args if not isinstance(part, Global)]
    return (made.args, made.kwargs)
