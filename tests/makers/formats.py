"""Files of formats that are no pickles, written by hand, so that any part of them can lie."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any


def npy(header: Any, data: bytes = b"", version: int = 1) -> bytes:
    """An array as numpy saves it; ``header`` is what Python would print, or the text itself."""
    text = header if isinstance(header, bytes) else repr(header).encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def safetensors(header: Any, data: bytes = b"") -> bytes:
    """A file of safetensors; ``header`` is what JSON would say, or the text itself."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def string(value: str) -> bytes:
    """A text as GGUF has it."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(
    facts: Mapping[str, str], tensors: bytes = b"", count: int = 0, data: bytes = b""
) -> bytes:
    """A file of GGUF: facts that are texts, ``count`` tensors as they stand, and their data."""
    body = b"".join(string(k) + struct.pack("<I", 8) + string(v) for k, v in facts.items())
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(facts)) + body + tensors
    return head + bytes(-len(head) % 32) + data


def field(number: int, value: int | str | bytes) -> bytes:
    """A field of a protocol buffer: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """A number as protocol buffers write it."""
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def onnx(
    *, location: str = "weights.bin", domain: str = "", operator: str = "Add",
    inside: bool = False, function: bytes = b"", tensor: Iterable[bytes] = (),
) -> bytes:  # fmt: skip
    """A model of one node whose one tensor lies elsewhere, in a branch of an ``If`` or not."""
    pair = field(1, "location") + field(2, location)
    weights = field(1, 2) + field(2, 1) + field(13, pair) + field(14, 1) + b"".join(tensor)
    node = field(1, "x") + field(4, operator) + field(7, domain)
    graph = field(1, node) + field(2, "g") + field(5, weights)
    if inside:
        graph = field(1, field(4, "If") + field(5, field(1, "then") + field(6, graph)))
    opset = field(8, field(1, domain) + field(2, 17))
    return field(1, 8) + field(2, "test") + field(7, graph) + opset + function
