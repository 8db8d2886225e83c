"""The opcodes of CPython's unpickler, each as a function on the machine.

``TABLE`` holds them by code, ``NAMES`` what they are called. The commonest ones run inside the
machine's loop as well; they stand here too so that the table is the whole language.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from torchkeep.scan.pickle.hits import What
from torchkeep.scan.pickle.stream import Broken
from torchkeep.scan.pickle.values import Blob, Dict, Set, Unknown

if TYPE_CHECKING:
    from torchkeep.scan.pickle.machine import Machine

_LONGEST_NUMBER: Final = 4096  # digits of a decimal, bytes of a binary one

_C_NUMBER: Final = re.compile(rb"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)|")

Handler = Callable[["Machine"], None]


def _none(m: Machine) -> None:
    raise Broken(f"byte {m.at} is no opcode")


TABLE: Final[list[Handler]] = [_none] * 256
NAMES: Final[list[str]] = [""] * 256


def _opcode(code: bytes, name: str) -> Callable[[Handler], Handler]:
    def enter(handler: Handler) -> Handler:
        TABLE[code[0]], NAMES[code[0]] = handler, name
        return handler

    return enter


def _constant(code: bytes, name: str, value: Callable[[], Any]) -> None:
    @_opcode(code, name)
    def push(m: Machine) -> None:
        m.stack.append(value())


def _argument(code: bytes, name: str, read: Callable[[Machine], Any]) -> None:
    @_opcode(code, name)
    def push(m: Machine) -> None:
        value = read(m)  # it may change which stack is on top
        m.stack.append(value)


# What is read from the stream


def _decimal(m: Machine, line: bytes, base: int) -> int:
    text = line.split(b"\0")[0]  # the C code reads numbers up to a NUL
    try:
        if len(text) > _LONGEST_NUMBER:
            raise ValueError("too long")
        return int(text, base)
    except ValueError:
        raise Broken(f"a number at byte {m.at} is none") from None


def _int(m: Machine) -> int:
    """An integer as C's ``strtol`` reads it: ``010`` is eight and nothing at all is zero."""
    line = m.line()
    match = _C_NUMBER.fullmatch(line.split(b"\0")[0])
    if match is None:
        return _decimal(m, line, 0)
    digits = match[2] or b"0"
    base = 16 if digits[:2].lower() == b"0x" else 8 if digits[:1] == b"0" else 10
    if len(digits) > _LONGEST_NUMBER:
        raise Broken(f"a number at byte {m.at} is none")
    value = int(digits, base) * (-1 if match[1] == b"-" else 1)
    return bool(value) if len(line) == 2 and value in (0, 1) else value


def _long(m: Machine, width: int) -> Any:
    length = m.length(width)
    if length > _LONGEST_NUMBER:
        m.hit(What.BOMB, f"a number of {length} bytes")
        m.skip(length)
        return Unknown("a number")
    return m.number(length, signed=True)


def _float(m: Machine) -> float:
    line = m.line().split(b"\0")[0]
    try:
        if line.strip() != line or b"_" in line:  # Python takes these, the unpickler does not
            raise ValueError("not a float")
        return float(line)
    except ValueError:
        raise Broken(f"a number at byte {m.at} is none") from None


def _quoted(m: Machine) -> str:
    line = m.line().rstrip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Broken(f"a text at byte {m.at} has no quotes")
    try:
        return codecs.escape_decode(line[1:-1])[0].decode("latin-1")
    except ValueError:
        raise Broken(f"a text at byte {m.at} has a wrong escape") from None


def _escaped(m: Machine) -> str:
    try:
        return m.line().decode("raw-unicode-escape")
    except UnicodeDecodeError:
        raise Broken(f"a text at byte {m.at} has a wrong escape") from None


def _text(m: Machine, length: int, encoding: str = "utf-8", errors: str = "surrogatepass") -> Any:
    data = m.chunk(length)
    return data if isinstance(data, Blob) else data.decode(encoding, errors)


def _name(m: Machine) -> str:
    try:
        return m.line().decode("utf-8")
    except UnicodeDecodeError:
        raise Broken(f"a name at byte {m.at} is not UTF-8") from None


_argument(b"I", "INT", _int)
_argument(b"J", "BININT", lambda m: m.number(4, signed=True))
_argument(b"K", "BININT1", lambda m: m.number(1))
_argument(b"M", "BININT2", lambda m: m.number(2))
_argument(b"L", "LONG", lambda m: _decimal(m, m.line().removesuffix(b"L"), 0))
_argument(b"\x8a", "LONG1", lambda m: _long(m, 1))
_argument(b"\x8b", "LONG4", lambda m: _long(m, 4))
_argument(b"F", "FLOAT", _float)
_argument(b"G", "BINFLOAT", lambda m: struct.unpack(">d", m.take(8))[0])
_argument(b"S", "STRING", _quoted)
_argument(b"T", "BINSTRING", lambda m: _text(m, m.length(4), "latin-1", "strict"))
_argument(b"U", "SHORT_BINSTRING", lambda m: _text(m, m.number(1), "latin-1", "strict"))
_argument(b"V", "UNICODE", _escaped)
_argument(b"\x8c", "SHORT_BINUNICODE", lambda m: _text(m, m.number(1)))
_argument(b"X", "BINUNICODE", lambda m: _text(m, m.number(4)))
_argument(b"\x8d", "BINUNICODE8", lambda m: _text(m, m.number(8)))
_argument(b"C", "SHORT_BINBYTES", lambda m: m.chunk(m.number(1)))
_argument(b"B", "BINBYTES", lambda m: m.chunk(m.number(4)))
_argument(b"\x8e", "BINBYTES8", lambda m: m.chunk(m.number(8)))
_argument(b"\x96", "BYTEARRAY8", lambda m: m.chunk(m.number(8)))
_constant(b"N", "NONE", lambda: None)
_constant(b"\x88", "NEWTRUE", lambda: True)
_constant(b"\x89", "NEWFALSE", lambda: False)
_constant(b"]", "EMPTY_LIST", list)
_constant(b")", "EMPTY_TUPLE", tuple)
_constant(b"}", "EMPTY_DICT", Dict)
_constant(b"\x8f", "EMPTY_SET", Set)


# Stack and memo


@_opcode(b"(", "MARK")
def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


@_opcode(b"0", "POP")
def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


@_opcode(b"1", "POP_MARK")
def _pop_to_mark(m: Machine) -> None:
    m.pop_mark()


@_opcode(b"2", "DUP")
def _dup(m: Machine) -> None:
    m.stack.append(m.stack[-1])


_argument(b"g", "GET", lambda m: m.memo[_decimal(m, m.line(), 10)])
_argument(b"h", "BINGET", lambda m: m.memo[m.number(1)])
_argument(b"j", "LONG_BINGET", lambda m: m.memo[m.number(4)])
_opcode(b"p", "PUT")(lambda m: m.put(_decimal(m, m.line(), 10)))
_opcode(b"q", "BINPUT")(lambda m: m.put(m.number(1)))
_opcode(b"r", "LONG_BINPUT")(lambda m: m.put(m.number(4)))
_opcode(b"\x94", "MEMOIZE")(lambda m: m.put(len(m.memo)))


# Containers


def _last(m: Machine, count: int) -> None:
    if len(m.stack) < count:
        raise IndexError
    m.stack[-count:] = [tuple(m.stack[-count:])]


_opcode(b"\x85", "TUPLE1")(lambda m: _last(m, 1))
_opcode(b"\x86", "TUPLE2")(lambda m: _last(m, 2))
_opcode(b"\x87", "TUPLE3")(lambda m: _last(m, 3))
_argument(b"t", "TUPLE", lambda m: tuple(m.pop_mark()))


@_opcode(b"l", "LIST")
def _list(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(items)


@_opcode(b"d", "DICT")
def _dict(m: Machine) -> None:
    pairs = _paired(m, m.pop_mark())
    m.hashed(key for key, _ in pairs)
    m.stack.append(Dict(pairs))


@_opcode(b"\x91", "FROZENSET")
def _frozenset(m: Machine) -> None:
    items = Set(m.pop_mark())
    m.hashed(items)
    m.stack.append(items)


@_opcode(b"a", "APPEND")
def _append(m: Machine) -> None:
    item = m.stack.pop()
    m.extend(m.stack[-1], [item])


@_opcode(b"e", "APPENDS")
def _appends(m: Machine) -> None:
    items = m.pop_mark()
    m.extend(m.stack[-1], items)


@_opcode(b"\x90", "ADDITEMS")
def _additems(m: Machine) -> None:
    items = m.pop_mark()
    m.hashed(items)
    m.extend(m.stack[-1], items)


@_opcode(b"s", "SETITEM")
def _setitem(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.update(m.stack[-1], [(key, value)])


@_opcode(b"u", "SETITEMS")
def _setitems(m: Machine) -> None:
    pairs = _paired(m, m.pop_mark())
    m.update(m.stack[-1], pairs)


def _paired(m: Machine, items: list[Any]) -> list[tuple[Any, Any]]:
    if len(items) % 2:
        raise Broken(f"a key without a value at byte {m.at}")
    return list(zip(items[::2], items[1::2], strict=True))


# Names, calls, state


@_opcode(b"c", "GLOBAL")
def _global(m: Machine) -> None:
    module = _name(m)
    m.stack.append(m.look_up(module, _name(m)))


@_opcode(b"\x93", "STACK_GLOBAL")
def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if isinstance(name, str) and isinstance(module, str):
        m.stack.append(m.look_up(module, name))
    else:
        m.hit(What.GLOBAL, "a name that is computed")
        m.stack.append(Unknown("a name that is computed"))


def _extension(m: Machine, width: int) -> None:
    code = m.number(width, signed=width == 4)
    if code <= 0:
        raise Broken(f"extension {code} at byte {m.at} cannot exist")
    m.hit(What.EXTENSION, f"extension {code}")
    m.stack.append(Unknown(f"extension {code}"))


_opcode(b"\x82", "EXT1")(lambda m: _extension(m, 1))
_opcode(b"\x83", "EXT2")(lambda m: _extension(m, 2))
_opcode(b"\x84", "EXT4")(lambda m: _extension(m, 4))


@_opcode(b"R", "REDUCE")
def _reduce(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.call(m.stack[-1], args)


@_opcode(b"i", "INST")
def _inst(m: Machine) -> None:
    args = tuple(m.pop_mark())  # before the name is looked up: without a mark it never is
    module = _name(m)
    maker = m.look_up(module, _name(m))
    m.stack.append(m.call(maker, args))


@_opcode(b"o", "OBJ")
def _obj(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(m.call(items[0], tuple(items[1:])))


@_opcode(b"\x81", "NEWOBJ")
def _newobj(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.new(m.stack[-1], args)


@_opcode(b"\x92", "NEWOBJ_EX")
def _newobj_ex(m: Machine) -> None:
    kwargs, args = m.stack.pop(), m.stack.pop()
    m.stack[-1] = m.new(m.stack[-1], args, kwargs)


@_opcode(b"b", "BUILD")
def _build(m: Machine) -> None:
    state = m.stack.pop()
    m.build(m.stack[-1], state)


_argument(b"P", "PERSID", lambda m: m.persist(m.line().decode("latin-1")))


@_opcode(b"Q", "BINPERSID")
def _binpersid(m: Machine) -> None:
    m.stack[-1] = m.persist(m.stack[-1])


@_opcode(b"\x97", "NEXT_BUFFER")
def _next_buffer(m: Machine) -> None:
    m.hit(What.PERSISTENT, "a buffer outside of the stream")
    m.stack.append(Unknown("a buffer"))


@_opcode(b"\x98", "READONLY_BUFFER")
def _readonly_buffer(m: Machine) -> None:
    if not m.stack:
        raise IndexError


# The stream itself


@_opcode(b"\x80", "PROTO")
def _proto(m: Machine) -> None:
    version = m.number(1)
    if version > 5:
        raise Broken(f"protocol {version} does not exist")
    m.protocol = version
    m.outcome.protocol = max(m.outcome.protocol, version)


@_opcode(b"\x95", "FRAME")
def _frame(m: Machine) -> None:
    m.enter_frame(m.number(8))


@_opcode(b".", "STOP")
def _stop(m: Machine) -> None:
    """The machine's loop ends here."""
