"""Pickles put together opcode by opcode. None of them is ever unpickled with its names resolved."""

from __future__ import annotations

import random
import struct

NAMES = [
    ("os", "system"), ("builtins", "eval"), ("collections", "OrderedDict"), ("torch", "float32"),
    ("numpy", "dtype"), ("builtins", "set"), ("nowhere", "thing"), ("a.b", "c.d"),
    ("__builtin__", "xrange"), ("copy_reg", "_reconstructor"),
    ("torch._utils", "_rebuild_tensor_v2"),
]  # fmt: skip


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str, how: str = "GLOBAL") -> bytes:
    """The opcodes that look up a name."""
    if how == "GLOBAL":
        return f"c{module}\n{attribute}\n".encode()
    if how == "STACK_GLOBAL":
        return text(module) + text(attribute) + b"\x93"
    if how == "MEMO":  # both words come out of the memo
        return text(module) + b"\x940" + text(attribute) + b"\x940h\x00h\x01\x93"
    raise ValueError(how)


def call(module: str, attribute: str, how: str = "REDUCE") -> bytes:
    """A whole pickle that calls a name with a text, by one of the ways there are."""
    argument = text("id")
    body = {
        "REDUCE": name(module, attribute) + argument + b"\x85R",
        "STACK_GLOBAL": name(module, attribute, "STACK_GLOBAL") + argument + b"\x85R",
        "MEMO": name(module, attribute, "MEMO") + argument + b"\x85R",
        "INST": b"(" + argument + f"i{module}\n{attribute}\n".encode(),
        "OBJ": b"(" + name(module, attribute) + argument + b"o",
        "OBJ+POP": b"(" + name(module, attribute) + argument + b"o0N",
        "NEWOBJ": name(module, attribute) + argument + b"\x85\x81",
        "NEWOBJ_EX": name(module, attribute) + argument + b"\x85}\x92",
        "BUILD": name(module, attribute) + b"}" + argument + b"Nsb",
    }[how]
    return b"\x80\x04" + body + b"."


WAYS = (
    "REDUCE", "STACK_GLOBAL", "MEMO", "INST", "OBJ", "OBJ+POP", "NEWOBJ", "NEWOBJ_EX", "BUILD",
)  # fmt: skip


def _argument(rng: random.Random, code: int) -> bytes:
    if code in b"c i".replace(b" ", b""):
        return "{}\n{}\n".format(*rng.choice(NAMES)).encode()
    if code in b"IL":
        return rng.choice([b"0\n", b"01\n", b"-5\n", b"123L\n" if code == 76 else b"7\n", b"x\n"])
    if code in b"F":
        return rng.choice([b"1.5\n", b"nan\n", b"1e5\n", b" 1\n"])
    if code in b"SVP":
        return rng.choice([b"'a'\n", b'"b"\n', b"os\n", b"'\\x41'\n", b"\n"])
    if code in b"gp":
        return rng.choice([b"0\n", b"1\n", b"5\n", b"-1\n"])
    if code in b"hq":
        return bytes([rng.randrange(4)])
    if code in b"jr":
        return struct.pack("<I", rng.choice([0, 1, 2, 3]))
    if code in b"K\x82":
        return bytes([rng.randrange(256)])
    if code in b"M\x83":
        return rng.randbytes(2)
    if code in b"J\x84":
        return struct.pack("<i", rng.choice([0, 1, -1, 70000]))
    if code == 0x47:
        return rng.randbytes(8)
    if code == 0x80:
        return bytes([rng.choice([0, 1, 2, 3, 4, 5, 6])])
    data = rng.choice([b"", b"os", b"system", b"a" * 9, b"\xff\x80", b"collections"])
    if code in b"UC\x8c\x8a":
        return bytes([len(data)]) + data
    if code in b"TXB\x8b":
        return struct.pack("<I", len(data)) + data
    if code in b"\x8d\x8e\x96":
        return struct.pack("<Q", len(data)) + data
    if code == 0x95:
        return struct.pack("<Q", rng.choice([0, 1, 5, 20]))
    return b""


_CODES = bytes(
    b"(.0 1 2 F G I J K L M N P Q R S T U V X a b c d e } g h i j ] l o ) p q r s t u".replace(
        b" ", b""
    )
) + bytes(range(0x80, 0x99))
_USEFUL = b"(N]}):Kqhct\x85\x86\x87R\x81bseau\x8f\x90\x91\x93\x8c\x940".replace(b":", b"")


def generated(rng: random.Random) -> bytes:
    """Some opcodes in a row, with arguments that often fit; many get to their end."""
    parts = []
    if rng.random() < 0.7:
        parts.append(b"\x80" + bytes([rng.randrange(6)]))
    for _ in range(rng.randrange(1, 24)):
        code = rng.choice(_USEFUL if rng.random() < 0.75 else _CODES)
        parts.append(bytes([code]) + _argument(rng, code))
    parts.append(b".")
    return b"".join(parts)


def mutated(rng: random.Random, content: bytes) -> bytes:
    """A pickle with some bytes changed, doubled, cut out or put in."""
    data = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if at < len(data):
                data[at] = rng.randrange(256)
            case 1:
                data[at:at] = bytes([rng.choice(_CODES)])
            case 2:
                del data[at : at + rng.randrange(1, 4)]
            case _:
                data[at:at] = data[at : at + rng.randrange(1, 9)]
    return bytes(data)
