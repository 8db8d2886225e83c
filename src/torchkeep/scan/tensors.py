"""The tensors of a pickle that was followed: where each lies in its storage, and whether it fits.

Both forms of torch files name a storage by a persistent id and put a tensor on it with a call such
as ``_rebuild_tensor_v2(storage, offset, size, stride, ...)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.pickle.machine import Machine
from torchkeep.scan.pickle.policy import Policy
from torchkeep.scan.pickle.values import Dict, Global, Made, Persistent

_STORAGES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QInt32Storage": "qint32",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}
_HOMES: Final = ("torch", "torch.cuda", "torch.storage")

_SIZES: Final = {
    16: "complex128 cdouble",
    8: "float64 double int64 long uint64 complex64 cfloat",
    4: "float32 float int32 int uint32 complex32 chalf qint32",
    2: "float16 half bfloat16 int16 short uint16 bits16",
    1: "int8 uint8 bool float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
    "float4_e2m1fn_x2 qint8 quint8 quint4x2 quint2x4 bits8 bits1x8 bits2x4 bits4x2 "
    "int1 int2 int3 int4 int5 int6 int7 uint1 uint2 uint3 uint4 uint5 uint6 uint7",
}
ITEM_SIZES: Final = {name: size for size, names in _SIZES.items() for name in names.split()}
"""Bytes of one element, by the name of its dtype."""

_MOST: Final = 1 << 62  # elements; what is above overflows somewhere


# Files have tens of thousands of both: to make a frozen one takes three times as long.
@dataclass(slots=True)
class Storage:
    """A storage as a persistent id names it.

    Attributes:
        key: Its name among the storages of the file.
        dtype: Name of its element type; ``uint8`` for an untyped one.
        location: The device it lay on.
        count: Elements it has.
    """

    key: str
    dtype: str
    location: str
    count: int

    @property
    def size(self) -> int:
        """Bytes it has."""
        return self.count * ITEM_SIZES[self.dtype]


@dataclass(slots=True)
class Tensor:
    """A tensor as a call of torch rebuilds it.

    Attributes:
        name: Keys that lead to it, joined by dots; empty where it is the whole pickle, or unknown.
        storage: What it lies on.
        dtype: Name of its element type.
        offset: Elements of the storage before its first one.
        shape: Its size in each dimension.
        stride: Elements from one to the next in each dimension.
    """

    name: str
    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def fits(self) -> bool:
        """Whether every element lies in the storage."""
        numbers = (self.offset, *self.shape, *self.stride)
        if len(self.shape) != len(self.stride) or min(numbers) < 0 or max(numbers) >= _MOST:
            return False
        if 0 in self.shape:
            return True
        last = self.offset + sum(
            (size - 1) * step for size, step in zip(self.shape, self.stride, strict=True)
        )
        return (last + 1) * ITEM_SIZES[self.dtype] <= self.storage.size


class Recorder(Machine):
    """Follows a pickle and keeps what it says about storages and tensors, used or not.

    Args:
        settings: As of :class:`~torchkeep.scan.pickle.machine.Machine`.

    Attributes:
        storages: Storages that it fetches, by key, size and element type.
        made: Calls that put a tensor on a storage, in order.
    """

    def __init__(self, source: Readable, start: int, policy: Policy, **settings: Any) -> None:
        super().__init__(source, start, policy, **settings)
        self.storages: dict[tuple[str, int, str], Storage] = {}
        self.made: list[Made] = []

    def call(self, maker: Any, args: Any) -> Made:
        """Keep calls that rebuild a tensor."""
        made = super().call(maker, args)
        if is_rebuild(made):
            self.made.append(made)
        return made

    def persist(self, id: Any) -> Any:
        """Keep ids of storages."""
        found = storage_of(id)
        if found is None:
            return super().persist(id)
        self.storages[found.key, found.size, found.dtype] = found
        # Of five parts it is what every format of torch has, so nobody need look at it again.
        fetched = super().persist(id) if len(id) > 5 else Persistent(id, self.at)
        if isinstance(fetched, Persistent):
            fetched.found = found
        return fetched


_REBUILDS: Final = frozenset(
    {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"}
)


def is_rebuild(made: Any) -> bool:
    """Whether a call puts a tensor on a storage."""
    return isinstance(made, Made) and _rebuild(made) is not None


def storage_of(id: Any) -> Storage | None:
    """The storage that a persistent id names; None where it names none that torch has."""
    if not isinstance(id, tuple) or len(id) not in (5, 6) or id[0] != "storage":
        return None
    kind, key, location, count = id[1:5]
    if not isinstance(kind, Global) or kind.module not in _HOMES or kind.name not in _STORAGES:
        return None
    if type(key) is not str or type(location) is not str or type(count) is not int:
        return None
    if not 0 <= count < _MOST:
        return None
    return Storage(key, _STORAGES[kind.name], location, count)


def tensor_of(made: Made, name: str = "") -> Tensor | None:
    """The tensor that a call rebuilds; None where its arguments are none that torch writes."""
    function, args = _rebuild(made) or ("", ())
    if len(args) < 4 or not isinstance(args[0], Persistent):
        return None
    storage = args[0].found or storage_of(args[0].id)
    dtype = storage.dtype if storage else ""
    if function == "_rebuild_tensor_v3":
        dtype = args[6].name if len(args) > 6 and isinstance(args[6], Global) else ""
    offset, shape, stride = args[1:4]
    if storage is None or dtype not in ITEM_SIZES or type(offset) is not int:
        return None
    if not _are_numbers(shape) or not _are_numbers(stride):
        return None
    return Tensor(name, storage, dtype, offset, shape, stride)


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in what a pickle builds, by the keys that lead to it, in order.

    Dictionaries, lists, tuples and the state of objects are entered; a shared one once.
    """
    return [found for name, made in _walk(value) if (found := tensor_of(made, name)) is not None]


def _rebuild(made: Made) -> tuple[str, tuple[Any, ...]] | None:
    maker, args = made.maker, made.args
    if not isinstance(maker, Global) or not isinstance(args, tuple):
        return None
    if maker.module == "torch._tensor" and maker.name == "_rebuild_from_type_v2" and len(args) == 4:
        maker, args = args[0], args[2]
        if not isinstance(maker, Global) or not isinstance(args, tuple):
            return None
    if maker.module != "torch._utils" or maker.name not in _REBUILDS:
        return None
    return maker.name, args


def _are_numbers(value: Any) -> bool:
    return isinstance(value, tuple) and {int}.issuperset(map(type, value))


def _walk(value: Any) -> Iterator[tuple[str, Made]]:
    todo: list[tuple[str, Any]] = [("", value)]
    seen: set[int] = set()
    while todo:
        name, node = todo.pop()
        if isinstance(node, Made) and is_rebuild(node):
            yield name, node
        elif isinstance(node, (Made, Dict, list, tuple)) and id(node) not in seen:
            seen.add(id(node))
            todo += reversed([(_join(name, key), part) for key, part in _parts(node)])


def _parts(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, Dict):
        yield from node.pairs
    elif isinstance(node, (list, tuple)):
        yield from enumerate(node)
    elif node.is_made_by("torch._utils", "_rebuild_parameter") or node.is_made_by(
        "torch._utils", "_rebuild_parameter_with_state"
    ):
        yield "", node.args[0] if node.args else None
    else:
        yield from node.pairs
        yield from enumerate(node.items)
        if isinstance(node.args, tuple):
            yield from (("", arg) for arg in node.args)
        if node.state is not None:
            yield "", node.state


def _join(name: str, key: Any) -> str:
    part = key if isinstance(key, str) else str(key) if type(key) is int else ""
    return f"{name}.{part}" if name and part else name or part
