"""Follows a pickle without building what it describes.

The machine has the opcodes, the stack, the marks and the memo of CPython's unpickler, so it sees
the same calls in the same order and stops where that one stops; but a name is never imported, a
call never made. What the policy does not allow becomes a :class:`Hit`, and the machine goes on, so
that one refusal hides no other.
"""

from __future__ import annotations

import _compat_pickle
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NoReturn

from torchkeep.core.source import Readable
from torchkeep.scan.pickle import budget, opcodes
from torchkeep.scan.pickle.forged import CALLED, is_forged
from torchkeep.scan.pickle.held import functions
from torchkeep.scan.pickle.hits import Hit, What
from torchkeep.scan.pickle.policy import Container, Grant, Policy, Use
from torchkeep.scan.pickle.stream import Broken, Stream
from torchkeep.scan.pickle.values import Dict, Global, Made, Persistent, Unknown
from torchkeep.scan.pickle.weight import is_tree, largest, weight

_word: Final = struct.Struct("<I").unpack_from
_CONSTANTS: Final = {0x29: (), 0x4E: None, 0x88: True, 0x89: False}
_MOST_MARKS: Final = 2_000
_MOST_MEMO: Final = 1 << 25  # CPython's memo is an array: a huge index takes its memory at once
_MOST_WEIGHT: Final = 1 << 32  # values in a container, shared ones counted each time
_MOST_DEPTH: Final = 1_000  # what Python's own recursion stands
_MODULUS: Final = (1 << 61) - 1  # by which Python hashes numbers
_MOST_ALIKE: Final = 1_000  # numbers of one hash: each is compared with all before it
_MOST_HASHED: Final = 100_000


@dataclass(slots=True)
class Outcome:
    """What one pickle is.

    Attributes:
        value: What it would build; None where it is broken.
        start: Offset of its first byte.
        end: Offset after its last byte.
        hits: What the policy does not allow, in order; one for each name and kind.
        broken: Why no unpickler would read it to its end; empty where one would.
        protocol: The highest protocol that it declares.
        nested: Bytes that a call would unpickle in turn.
        names: Every name that it looks up.
    """

    value: Any = None
    start: int = 0
    end: int = 0
    hits: list[Hit] = field(default_factory=list)
    broken: str = ""
    protocol: int = 0
    nested: list[Any] = field(default_factory=list)
    names: set[tuple[str, str]] = field(default_factory=set)


class Machine(Stream):
    """Follows one pickle.

    Args:
        source: Where its bytes are.
        start: Offset of its first byte.
        policy: What it may look up and do.
        end: Offset at which the source ends for it.
        persistent: Whether an id of a persistent object is one that the format has.
        after_build: What follows in the stream after an object was given its state, as the arrays
            of joblib do.
    """

    def __init__(
        self,
        source: Readable,
        start: int,
        policy: Policy,
        *,
        end: int | None = None,
        persistent: Callable[[Any], bool] | None = None,
        after_build: Callable[[Machine, Made], None] | None = None,
    ) -> None:
        super().__init__(source, start, end)
        self.policy = policy
        self.outcome = Outcome(start=start, end=start)
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.protocol = 0
        self.at = start  # offset of the opcode that runs
        self._opcode = 0
        self._persistent = persistent
        self._after_build = after_build
        self._merged: list[Any] = []  # state that an object was given before its last one
        self._seen: set[tuple[What, str]] = set()
        self._arrays: list[Made] = []  # what may be an array of numpy
        self._budget, self._spent = budget.current(), 0
        self._alike: Counter[int] = Counter()

    def run(self) -> Outcome:
        """Follow the stream to its end, or to where an unpickler would give up."""
        try:
            self.outcome.value = self._loop()
            self._check_held()
            self._measure()
            self.leave_frame()
            self.is_odd |= self.offset < self.frame_end
        except Broken as error:
            self.outcome.broken = str(error)
        except UnicodeDecodeError:
            self.outcome.broken = f"a text at byte {self.at} is not UTF-8"
        except struct.error:
            self.outcome.broken = "it ends in the midst of an opcode"
        except (IndexError, KeyError):
            self.outcome.broken = f"stack, mark or memo is empty at byte {self.at}"
        self._budget.left -= min(len(self.buffer), self.offset - self.outcome.start)
        if self.is_odd:
            self.hit(What.FRAME, "a frame")
        # The unpickler takes a frame from the file as a whole: bytes of it that stand behind STOP
        # are gone, and whatever is read next starts behind them.
        self.outcome.end = self.offset if self.outcome.broken else max(self.offset, self.frame_end)
        return self.outcome

    # Buffer, position and stack live in local variables, and the commonest opcodes stand first:
    # the loop runs once for every opcode of files with millions of them.
    def _loop(self) -> Any:
        table, memo = opcodes.TABLE, self.memo
        buffer, pos, soft, stack = self.buffer, self.pos, self.soft, self.stack
        for steps in count():
            if pos > soft:
                buffer, pos, soft = self._refill(pos, steps, len(stack))
            code = buffer[pos]
            pos += 1
            if code == 0x72 and buffer[pos + 3] == 0:  # LONG_BINPUT of a sane index
                memo[_word(buffer, pos)[0]] = stack[-1]
                pos += 4
            elif code == 0x68:  # BINGET
                stack.append(memo[buffer[pos]])
                pos += 1
            elif code == 0x4B:  # BININT1
                stack.append(buffer[pos])
                pos += 1
            elif code == 0x58 and (end := pos + 4 + _word(buffer, pos)[0]) <= soft:  # BINUNICODE
                self.pos, self.at = end, self.base + pos - 1
                stack.append(str(buffer[pos + 4 : end], "utf-8", "surrogatepass"))
                pos = end
            elif code == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif code == 0x28:  # MARK
                self.marks.append(stack)
                stack = []
                if len(self.marks) > _MOST_MARKS:
                    self._give_up(pos)
            elif code == 0x74:  # TUPLE
                items = tuple(stack)
                stack = self.marks.pop()
                stack.append(items)
            elif code == 0x85:  # TUPLE1
                stack[-1] = (stack[-1],)
            elif code == 0x86:  # TUPLE2
                stack[-2:] = [(stack[-2], stack[-1])]
            elif code in _CONSTANTS:
                stack.append(_CONSTANTS[code])
            elif code == 0x6A:  # LONG_BINGET
                stack.append(memo[int.from_bytes(buffer[pos : pos + 4], "little")])
                pos += 4
            elif code == 0x2E:  # STOP
                break
            else:
                self.pos, self.stack, self.at, self._opcode = pos, stack, self.base + pos - 1, code
                table[code](self)
                buffer, pos, soft, stack = self.buffer, self.pos, self.soft, self.stack
        self.pos, self.at = pos, self.base + pos - 1
        return stack.pop()

    def _refill(self, pos: int, steps: int, height: int) -> tuple[bytes, int, int]:
        self._budget.left -= steps - self._spent
        self._spent = steps
        if self._budget.left < height:
            self._give_up(pos)
        self.pos = pos
        self.fill()
        return self.buffer, self.pos, self.soft

    def _give_up(self, pos: int) -> NoReturn:
        self.pos = pos
        raise Broken("it takes more than any model needs")

    def _check_held(self) -> None:
        for function in functions((self.outcome.value, self._merged)):
            self.hit(What.KEPT, repr(function))
        for array in self._arrays:  # by now their types have all the state that they get
            if is_forged(array):
                self.hit(What.STATE, named(array))

    def _measure(self) -> None:
        """Printing, comparing or copying what is nested or shared too much takes a process down."""
        if is_tree(self.outcome.value, _MOST_DEPTH):
            return
        most, depth = largest(self.outcome.value)
        if most > _MOST_WEIGHT:
            self.hit(What.BOMB, "containers that are shared again and again")
        if depth > _MOST_DEPTH:
            self.hit(What.BOMB, f"containers nested {depth} deep")

    def pop_mark(self) -> list[Any]:
        """Everything on the stack above the last mark."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def hit(self, what: What, about: str) -> None:
        """Note something that the policy does not allow, once."""
        if (what, about) not in self._seen:
            self._seen.add((what, about))
            self.outcome.hits.append(Hit(what, about, self.at, opcodes.NAMES[self._opcode]))

    def put(self, index: int) -> None:
        """Remember the top of the stack."""
        if index < 0:
            raise Broken(f"a negative memo index at byte {self.at}")
        if index > _MOST_MEMO:
            self.hit(What.BOMB, f"memo index {index}")
        self.memo[index] = self.stack[-1]

    def look_up(self, module: str, name: str) -> Global:
        """What importing ``module.name`` stands for."""
        if self.protocol < 3:  # as the unpickler does with names of Python 2
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[(module, name)]
            else:
                module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        self.outcome.names.add((module, name))
        grant = self.policy.get((module, name))
        if "." in name:
            self.hit(What.DOTTED, f"{module}.{name}")
        elif grant is None:
            self.hit(What.GLOBAL, f"{module}.{name}")
        return Global(module, name, self.at, grant)

    def call(self, maker: Any, args: Any) -> Made:
        """What calling ``maker`` would return."""
        if not isinstance(maker, Global) or not isinstance(args, tuple):
            self.hit(What.CALL, named(maker))
        elif (grant := maker.grant) is not None:  # else the name itself is a hit
            if grant.use in (Use.VALUE, Use.HELD) or (grant.check and not grant.check(args)):
                self.hit(What.CALL, repr(maker))
            elif grant.use is Use.NEW:  # copyreg makes an instance of its first argument
                return self.new(args[0], args[1:])
            elif grant.use is Use.UNPICKLE:
                self.outcome.nested.append(args[0])
        made = Made(maker, args, self.at)
        if isinstance(maker, Global) and maker.name in CALLED:
            self._arrays.append(made)
        if made.is_made_by("builtins", "set") or made.is_made_by("builtins", "frozenset"):
            for given in args if isinstance(args, tuple) else ():
                self.hashed(given if isinstance(given, (list, tuple)) else ())
        return made

    def new(self, maker: Any, args: Any, kwargs: Any = None) -> Made:
        """What instantiating ``maker`` would return."""
        grant = grant_of(maker)
        if not isinstance(maker, Global) or not isinstance(args, tuple):
            self.hit(What.CALL, named(maker))
        elif grant is not None:
            given = args if kwargs is None else (*args, kwargs)
            if grant.use is not Use.CLASS or (grant.check and not grant.check(given)):
                self.hit(What.CALL, repr(maker))
        return Made(maker, args, self.at, kwargs)

    def build(self, target: Any, state: Any) -> None:
        """What setting state would do."""
        if not isinstance(target, Made):
            self.hit(What.STATE, named(target))
            return
        grant = grant_of(target.maker)
        if grant and not (grant.state and (grant.sets is None or grant.sets(state))):
            self.hit(What.STATE, named(target))
        if target.state is not None:
            self._merged.append(target.state)
        target.state = state
        if type(state) is tuple:
            self._arrays.append(target)
        if self._after_build is not None:
            self._after_build(self, target)

    def extend(self, target: Any, items: list[Any]) -> None:
        """What appending or adding items would do."""
        if isinstance(target, Made):
            target.items += items
            if not _may_hold(target, Container.ITEMS):
                self.hit(What.FILL, named(target))
        elif isinstance(target, list):
            target += items
        else:
            self.hit(What.FILL, named(target))

    def update(self, target: Any, pairs: list[tuple[Any, Any]]) -> None:
        """What setting items would do."""
        self.hashed(key for key, _ in pairs)
        if isinstance(target, Made):
            target.pairs += pairs
            if not _may_hold(target, Container.PAIRS):
                self.hit(What.FILL, named(target))
        elif isinstance(target, Dict):
            target.pairs += pairs
        else:
            self.hit(What.FILL, named(target))

    def hashed(self, keys: Iterable[Any]) -> None:
        """A key is hashed at once: tuples of shared tuples take exponential time."""
        for key in keys:
            if type(key) is tuple and weight(key) > _MOST_HASHED:
                self.hit(What.BOMB, "a key of shared tuples")
            elif type(key) is int and not -_MODULUS < key < _MODULUS:
                self._alike[key % _MODULUS] += 1
                if self._alike[key % _MODULUS] > _MOST_ALIKE:
                    self.hit(What.BOMB, "keys of one hash")

    def persist(self, id: Any) -> Any:
        """What fetching an object from outside would return."""
        if self._persistent is None or not self._persistent(id):
            self.hit(What.PERSISTENT, named(id))
        elif isinstance(id, tuple) and isinstance(id[1], Global) and id[0] == "module":
            return id[1]  # torch's old files: the class of a module, beside its source
        return Persistent(id, self.at)


def grant_of(maker: Any) -> Grant | None:
    """What the policy lets ``maker`` do; None for what it does not know."""
    return maker.grant if isinstance(maker, Global) else None


def named(value: Any) -> str:
    """What to call a value in a hit."""
    if isinstance(value, Global):
        return repr(value)
    if isinstance(value, Made):
        calls = 0  # a hostile file chains more of them than Python can follow by recursion
        while isinstance(value, Made):
            value, calls = value.maker, calls + 1
        return f"what {named(value)} returns" + (
            f", called {calls} times over" if calls > 1 else ""
        )
    if isinstance(value, Unknown):
        return value.what
    if isinstance(value, Dict):
        return "a dict"
    if isinstance(value, Persistent):
        return "a persistent object"
    return f"a {type(value).__name__.lower()}"


def _may_hold(target: Made, container: Container) -> bool:
    """Of a maker that the policy does not know, it was said already."""
    grant = grant_of(target.maker)
    return grant is None or grant.fills is container
