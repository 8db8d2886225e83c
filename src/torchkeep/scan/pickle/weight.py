"""How large a value is when what is shared in it is counted each time."""

from __future__ import annotations

from typing import Any

from torchkeep.scan.pickle.values import Dict, Made, Set


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


def is_tree(value: Any, depth: int) -> bool:
    """Whether no container in ``value`` is reached twice, or through more than ``depth`` others.

    Nothing in it then weighs more than it takes in the stream. Nearly all models are such trees,
    and to see that costs a fraction of weighing them.
    """
    seen = {id(value)}
    level = [value]
    for _ in range(depth):
        # Empty tuples are all the same one, and weigh nothing.
        level = [part for node in level for part in _parts(node) if type(part) in _HOLDERS and part]
        if not level:
            return True
        known = len(seen)
        seen.update(map(id, level))
        if len(seen) < known + len(level):
            return False
    return False


def _parts(node: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(node, (tuple, list)):
        return node
    if isinstance(node, Made):
        held = [node.args, node.state, *node.items]
        return [*held, *(part for pair in node.pairs for part in pair)] if node.pairs else held
    if isinstance(node, Dict):
        return [part for pair in node.pairs for part in pair]
    return ()


def largest(value: Any) -> tuple[int, int]:
    """The largest weight of any tuple, list, dict or set in ``value``, and the greatest depth.

    What an object holds as its state does not count towards what holds the object: printing and
    comparing stop there, and objects may well refer to each other.
    """
    known: dict[int, tuple[int, int]] = {}
    todo: list[tuple[Any, bool]] = [(value, False)]
    most = depth = 1
    while todo:
        node, ready = todo.pop()
        parts, inner = _split(node)
        holders = [part for part in parts if type(part) in _HOLDERS]
        if ready:
            found = [known.get(id(part), _ONE) for part in holders]
            weighs = 1 + len(parts) - len(holders) + sum(one[0] for one in found)
            goes = 1 + max(one[1] for one in found)
            known[id(node)] = weighs, goes
            most, depth = max(most, weighs), max(depth, goes)
        elif id(node) not in known:
            known[id(node)] = _ONE
            if holders:
                todo.append((node, True))
                todo += [(part, False) for part in holders]
            elif len(parts) > 1:
                known[id(node)] = 1 + len(parts), 1
            todo += [(part, False) for part in inner if type(part) in _HOLDERS]
    return most, depth


_ONE = (1, 1)
_HOLDERS = frozenset({tuple, list, Dict, Made, Set})


def _split(node: Any) -> tuple[Any, Any]:
    """What a container holds, and what an object holds as its own."""
    if isinstance(node, (tuple, list)):
        return node, ()
    if isinstance(node, Dict):
        return [part for pair in node.pairs for part in pair], ()
    if isinstance(node, Made):
        held = [*node.items, *(part for pair in node.pairs for part in pair)]
        return held, (node.args, node.state)
    return (), ()
