"""The forms that a tensor can have in a pickle, and why some have none in safetensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from torchkeep.scan.pickle.values import Dict, Global, Made, Persistent
from torchkeep.scan.tensors import Tensor, tensor_of

DTYPES: Final = {
    "bool": "BOOL",
    "float4_e2m1fn_x2": "F4",
    "uint8": "U8",
    "int8": "I8",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "complex64": "C64",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
"""Names of element types in safetensors, by those of torch, in the order in which its library
compares them."""

_ALIASES: Final = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "cfloat": "complex64",
}

# Calls of torch._utils that rebuild a tensor from its storage, by how many arguments they take.
_PLAIN: Final = {
    "_rebuild_tensor": (4,),
    "_rebuild_tensor_v2": (6, 7),
    "_rebuild_tensor_v3": (7, 8),
}
_NO_DATA: Final = "has no data (it lay on the meta device)"
_REFUSED: Final = {
    "_rebuild_sparse_tensor": "is sparse",
    "_rebuild_qtensor": "is quantised",
    "_rebuild_nested_tensor": "is nested",
    "_rebuild_meta_tensor_no_storage": _NO_DATA,
    "_rebuild_wrapper_subclass": "is a wrapper around other tensors",
    "_rebuild_device_tensor_from_numpy": "was saved as an array of numpy",
    "_rebuild_device_tensor_from_cpu_tensor": "is to be changed while it is loaded",
}
_TYPES: Final = frozenset(
    {("torch", "Tensor"), ("torch.nn.parameter", "Parameter"), ("torch.nn.parameter", "Buffer")}
)
# Attributes that write into a tensor when they are set.
_WRITING: Final = frozenset({"data", "real", "imag"})


class Unfit(Exception):
    """A tensor that safetensors has no form for; its text says why, behind the tensor's name."""


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of some form, one that is refused too."""
    maker = value.maker if isinstance(value, Made) else None
    if not isinstance(maker, Global):
        return False
    named = maker.module == "torch._utils" and maker.name.startswith("_rebuild_")
    return named or (maker.module, maker.name) == ("torch._tensor", "_rebuild_from_type_v2")


def tensor(value: Made, name: str) -> Tensor:
    """The tensor that a call of torch rebuilds.

    Args:
        value: A call for which :func:`is_tensor` holds.
        name: What to call the tensor.

    Raises:
        Unfit: safetensors has no form for it, or it cannot be told what it would be.
    """
    made = _unwrapped(value)
    rebuilds = made.maker.name if is_tensor(made) else ""
    if rebuilds in _REFUSED:
        raise Unfit(_REFUSED[rebuilds])
    count = len(made.args) if isinstance(made.args, tuple) else 0
    if count not in _PLAIN.get(rebuilds, ()):
        raise Unfit("is rebuilt by a call that torch does not write")
    _require_plain_bits(rebuilds, made.args)
    found = tensor_of(made, name)
    if found is None or not found.fits():
        raise Unfit("does not lie in its storage")
    if _is_view(made.args[0]):
        raise Unfit("lies on a view of a storage, as files of torch before 0.4 have them")
    if found.storage.location == "meta":
        raise Unfit(_NO_DATA)
    found = replace(found, dtype=_ALIASES.get(found.dtype, found.dtype))
    if found.dtype not in DTYPES:
        raise Unfit(f"has elements of {found.dtype}, which safetensors does not have")
    if found.dtype == "float4_e2m1fn_x2" and not found.shape:
        raise Unfit("has pairs of numbers for elements, and no dimension to count them in")
    return found


def _unwrapped(value: Made) -> Made:
    """The call that puts the tensor on a storage, out of those that make it a parameter."""
    while True:
        if value.state is not None or value.pairs or value.items or value.kwargs is not None:
            raise Unfit("is changed after it was made")
        args = value.args if isinstance(value.args, tuple) else ()
        inner: Any
        if value.is_made_by("torch._utils", "_rebuild_parameter") and len(args) == 3:
            inner, state = args[0], None
        elif value.is_made_by("torch._utils", "_rebuild_parameter_with_state") and len(args) == 4:
            inner, state = args[0], args[3]
        elif value.is_made_by("torch._tensor", "_rebuild_from_type_v2") and len(args) == 4:
            inner, state = Made(args[0], args[2], value.offset), args[3]
            _require_type(args[1])
        else:
            return value
        _require_harmless(state)
        if not is_tensor(inner):
            raise Unfit("is made of something that is no tensor")
        value = inner


def _require_type(kind: Any) -> None:
    if not isinstance(kind, Global) or (kind.module, kind.name) not in _TYPES:
        shown = f"{kind!r:.200}" if isinstance(kind, Global) else "of no name"
        raise Unfit(f"is of the type {shown}, whose numbers may mean something else")


def _require_harmless(state: Any) -> None:
    """Attributes that are set on the tensor must be none that change its numbers."""
    for part in state if isinstance(state, tuple) else (state,):
        if part is None or part is False:
            continue
        keys = [key for key, _ in part.pairs] if isinstance(part, Dict) else [None]
        if not all(type(key) is str and key not in _WRITING for key in keys):
            raise Unfit("has attributes that may change its numbers")


def _require_plain_bits(rebuilds: str, args: tuple[Any, ...]) -> None:
    """Numbers that are conjugated or negated when they are read lie otherwise in the storage."""
    last = _PLAIN[rebuilds][-1]
    metadata = args[last - 1] if rebuilds != "_rebuild_tensor" and len(args) == last else None
    if metadata is None or (isinstance(metadata, Dict) and not metadata.pairs):
        return
    keys = [key for key, _ in metadata.pairs] if isinstance(metadata, Dict) else []
    mark = keys[0] if keys and type(keys[0]) is str else "odd"
    raise Unfit(f"is stored with the mark {mark!r:.80}: its numbers are changed when it is read")


def _is_view(persistent: Any) -> bool:
    return (
        isinstance(persistent, Persistent)
        and len(persistent.id) > 5
        and persistent.id[5] is not None
    )
