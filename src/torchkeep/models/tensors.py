"""Tensors by their bytes: read from a safetensors file, and named by the content digest."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Final

import safetensors
import torch
from torch import Tensor

from torchkeep.core import digest
from torchkeep.core import safetensors as layout
from torchkeep.core.digest import TensorDigest
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.source import BytesSource
from torchkeep.core.text import visible

# C32 and C128 are ours: safetensors has no name for half and double complex numbers, and a state
# dict of another format may hold them.
_SPELLED: Final = {**layout.TORCH, "C32": "complex32", "C128": "complex128"}
DTYPES: Final[Mapping[str, torch.dtype]] = {
    name: getattr(torch, spelled) for name, spelled in _SPELLED.items() if hasattr(torch, spelled)
}
"""The dtypes of this torch, by the name that safetensors has for them."""

_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


def name_of(dtype: torch.dtype) -> str:
    """What safetensors calls ``dtype``; torch's own word where it has none."""
    return _NAMES.get(dtype) or str(dtype).removeprefix("torch.")


def content_of(state_dict: Mapping[str, Tensor]) -> str:
    """The content digest (:mod:`torchkeep.core.digest`) of tensors in memory.

    It is that of a safetensors file with the same tensors. Strides, device, sharing of memory and
    ``requires_grad`` do not count; a torch dtype that packs two 4-bit numbers into a byte counts as
    twice as many numbers, as safetensors has it.

        >>> content_of({"weight": torch.zeros(2, 3)})[:16]
        '15db090926408b78'

    Args:
        state_dict: Tensors by name, of any device.

    Returns:
        SHA-256 in lower-case hex.

    Raises:
        UsageError: An entry is no tensor, or one that has no plain bytes (sparse, quantised, on the
            meta device).
    """
    return digest.content(_digest(name, tensor) for name, tensor in state_dict.items())


def from_safetensors(data: bytes, name: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a safetensors file and their content digest, from the same bytes.

    Args:
        data: The file.
        name: What to call it in a message.

    Raises:
        Foreign: It is not a well-formed safetensors file, or holds a dtype that torch lacks.
    """
    content = digest.safetensors_content(BytesSource(data, name))
    try:
        views = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise Foreign(
            f"{name} is not a well-formed safetensors file: {visible(str(error))}",
            next="fetch it again: it may be cut short or damaged",
        ) from error
    return {key: _tensor(view, f"{visible(key)} in {name}") for key, view in views}, content


def _tensor(view: Mapping[str, object], name: str) -> Tensor:
    dtype = DTYPES.get(str(view["dtype"]))
    if dtype is None:
        raise Foreign(
            f"{name} has the dtype {view['dtype']}, which torch {torch.__version__} lacks",
            next="convert it to one that torch has",
        )
    shape = list(view["shape"])  # type: ignore[call-overload]
    if view["dtype"] == "F4":
        shape[-1] //= 2
    data = view["data"]
    if not data:  # torch.frombuffer takes no empty buffer
        return torch.empty(shape, dtype=dtype)
    raw = torch.frombuffer(data, dtype=torch.uint8)
    return _little_endian(raw, dtype).view(dtype).reshape(shape)


def _digest(name: str, tensor: Tensor) -> TensorDigest:
    dtype = _NAMES.get(tensor.dtype) if isinstance(tensor, Tensor) else None
    if dtype is None or tensor.layout is not torch.strided or tensor.is_meta:
        kind = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise UsageError(
            f"{visible(name)} is no plain tensor ({visible(kind)}), so its content has no digest",
            next="keep it out of the state dict, or turn it into a dense tensor",
        )
    shape = tuple(tensor.shape)
    if dtype == "F4":
        shape = (*shape[:-1], *(2 * size for size in shape[-1:]))
    return TensorDigest(name, dtype, shape, _sha256(tensor))


def _sha256(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().flatten()
    data = _little_endian(plain.view(torch.uint8), tensor.dtype)
    return hashlib.sha256(data.numpy().data).digest()


def _little_endian(data: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes of numbers from this machine's order to little-endian, or back."""
    if sys.byteorder == "little":
        return data
    width = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
    return data.reshape(-1, width).flip(1).flatten()
