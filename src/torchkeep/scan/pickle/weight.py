"""How large a value is when what is shared in it is counted each time."""

from __future__ import annotations

from typing import Any

from torchkeep.scan.pickle.values import Dict, Made


def weight(value: Any) -> int:
    """Number of values in ``value``, shared ones counted as often as they are reached.

    A value that holds itself counts as one there. The work is linear in the number of different
    containers, however large the weight.
    """
    known: dict[int, int] = {}
    todo: list[tuple[Any, bool]] = [(value, False)]
    while todo:
        node, ready = todo.pop()
        parts = _parts(node)
        if not parts:
            continue
        if ready:
            known[id(node)] = 1 + sum(known.get(id(part), 1) for part in parts)
        elif id(node) not in known:
            known[id(node)] = 1
            todo.append((node, True))
            todo += [(part, False) for part in parts]
    return known.get(id(value), 1)


def _parts(node: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(node, (tuple, list)):
        return node
    if isinstance(node, Dict):
        return [part for pair in node.pairs for part in pair]
    if isinstance(node, Made):
        return [node.args, node.state, *node.items, *(part for pair in node.pairs for part in pair)]
    return ()
