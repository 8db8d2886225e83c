"""Tensors of a sealed file, one by one, in part, or straight into a module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from torchkeep.core import safetensors
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.safetensors import Slot
from torchkeep.core.text import visible
from torchkeep.vault import huge
from torchkeep.vault.index import Layout, Tensors
from torchkeep.vault.reading import Sealed, Wanted

_DTYPES: Final = {
    name: getattr(torch, spelled)
    for name, spelled in safetensors.TORCH.items()
    if hasattr(torch, spelled)
}


def get_tensor(sealed: Sealed, name: str) -> Tensor:
    """One tensor; nothing else is decrypted.

    Raises:
        UsageError: There is no tensor of that name, or several.
        Foreign: This torch lacks its dtype.
        Damaged: It is not what was sealed.
    """
    layout, number = find(sealed, name)
    out = _empty(_tensors(layout).slots[number])
    sealed.read([Wanted(layout, number, memory(out))])
    return _native(out)


def get_slice(sealed: Sealed, name: str) -> Slice:
    """A tensor of which only some rows are to be decrypted: ``get_slice(name)[10:20]``.

    Raises:
        UsageError: There is no tensor of that name, or several.
    """
    return Slice(sealed, *find(sealed, name))


def state_dict(sealed: Sealed) -> dict[str, Tensor]:
    """All tensors by name, decrypted on all cores.

    Raises:
        UsageError: Two parts have a tensor of the same name.
        Foreign: This torch lacks a dtype.
        Damaged: Something is not what was sealed.
    """
    out: dict[str, Tensor] = {}
    wanted = []
    for layout in _parts(sealed):
        for number, slot in enumerate(_tensors(layout).slots):
            if slot.name in out:
                raise _ambiguous(sealed, slot.name)
            out[slot.name] = _empty(slot)
            wanted.append(Wanted(layout, number, memory(out[slot.name])))
    sealed.read(wanted)
    return {name: _native(tensor) for name, tensor in out.items()}


def load_into(sealed: Sealed, module: nn.Module, *, strict: bool = True) -> None:
    """Decrypt straight into the parameters and buffers of a module, without a second copy.

    Where the memory of one does not fit (another dtype or device, not contiguous), its tensor is
    decrypted beside it and copied. When this raises Damaged, some of the module has been replaced:
    do not use it.

    Args:
        sealed: The sealed file.
        module: Where the tensors go, by the names of its ``state_dict()``.
        strict: Whether both must have the same names.

    Raises:
        UsageError: Names or shapes differ; nothing has been touched then.
        Foreign: This torch lacks a dtype.
        Damaged: Something is not what was sealed.
    """
    targets = module.state_dict(keep_vars=True)
    places = {name: find(sealed, name) for name in sealed.names()}
    _compare(sealed, targets, places, strict)
    direct, beside = [], []
    for name, (layout, number) in places.items():
        target = targets.get(name)
        if target is None:
            continue
        slot = _tensors(layout).slots[number]
        if _fits(target, slot):
            direct.append(Wanted(layout, number, memory(target.detach())))
        else:
            beside.append((name, target))
    sealed.read(direct)
    with torch.no_grad():
        for name, target in beside:
            target.copy_(get_tensor(sealed, name))


def find(sealed: Sealed, name: str) -> tuple[Layout, int]:
    """The part that a tensor is in, and its number there.

    Raises:
        UsageError: There is no tensor of that name, or several.
    """
    found = []
    for layout in _parts(sealed):
        number = _tensors(layout).number(name)
        if number is not None:
            found.append((layout, number))
    if len(found) > 1:
        raise _ambiguous(sealed, name)
    if not found:
        raise UsageError(
            f"{sealed.frame.name} holds no tensor {visible(name)}", next="see its names()"
        )
    return found[0]


class Slice:
    """Rows of a tensor; each access decrypts the chunks that they lie in."""

    def __init__(self, sealed: Sealed, layout: Layout, number: int) -> None:
        self._sealed, self._layout, self._number = sealed, layout, number
        self._slot = _tensors(layout).slots[number]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole tensor."""
        return _shape(self._slot)

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return _dtype(self._slot)

    def __getitem__(self, key: Any) -> Tensor:
        """What indexing the tensor with ``key`` would give, for numbers and slices.

        Raises:
            UsageError: ``key`` is something else, or the tensor has no dimensions.
            IndexError: A number is out of range.
        """
        first, *rest = key if isinstance(key, tuple) else (key,)
        if not self.shape or not isinstance(first, int | slice):
            raise UsageError(
                "a slice is taken by rows: a number or a slice in the first dimension",
                next="decrypt the whole tensor with get_tensor()",
            )
        if isinstance(first, int):
            row = range(self.shape[0])[first]
            return self._rows(row, row + 1)[(0, *rest)]
        start, stop, step = first.indices(self.shape[0])
        if step < 0:
            raise UsageError("rows cannot be taken backwards", next="turn them with flip()")
        rows = self._rows(start, max(start, stop))
        return rows[(slice(None, None, step), *rest)]

    def _rows(self, start: int, stop: int) -> Tensor:
        length = self._slot.end - self._slot.begin
        row = length // self.shape[0] if self.shape[0] else 0
        chunk = self._sealed.frame.chunk
        first, last = start * row // chunk, max(0, stop * row - 1) // chunk
        shape = (stop - start, *self.shape[1:])
        if stop == start or not row:
            return torch.empty(shape, dtype=self.dtype)
        base = first * chunk
        raw = torch.empty(min(length, (last + 1) * chunk) - base, dtype=torch.uint8)
        wanted = Wanted(self._layout, self._number, memory(raw), first, last)
        self._sealed.read([wanted])
        # Its own memory: views of other types must start at a multiple of their size.
        rows = raw[start * row - base : stop * row - base].clone()
        return _native(rows.view(self.dtype).reshape(shape))


def _parts(sealed: Sealed) -> Iterator[Layout]:
    return (layout for layout in sealed.layouts if isinstance(layout.part, Tensors))


def _tensors(layout: Layout) -> Tensors:
    assert isinstance(layout.part, Tensors)
    return layout.part


def _compare(
    sealed: Sealed,
    targets: dict[str, Any],
    places: dict[str, tuple[Layout, int]],
    strict: bool,
) -> None:
    missing = sorted(targets.keys() - places.keys())
    unexpected = sorted(places.keys() - targets.keys())
    for what, found in (("lacks", missing), ("has no place for", unexpected)):
        if strict and found:
            who = sealed.frame.name if what == "lacks" else "the module"
            raise UsageError(
                f"{who} {what} {visible(found[0])}, and {len(found) - 1} more",
                next="build the module that was sealed, or pass strict=False",
            )
    for name in targets.keys() & places.keys():
        layout, number = places[name]
        shape = _shape(_tensors(layout).slots[number])
        if tuple(targets[name].shape) != shape:
            raise UsageError(
                f"{visible(name)} has the shape {shape}, and in the module"
                f" {tuple(targets[name].shape)}",
                next="build the module that was sealed",
            )


def _fits(target: Tensor, slot: Slot) -> bool:
    return (
        target.device.type == "cpu"
        and target.dtype == _dtype(slot)
        and target.is_contiguous()
        and sys.byteorder == "little"
    )


def _empty(slot: Slot) -> Tensor:
    out = torch.empty(_shape(slot), dtype=_dtype(slot))
    huge.advise(out.data_ptr(), slot.end - slot.begin)
    return out


def _shape(slot: Slot) -> tuple[int, ...]:
    if slot.dtype == "F4" and slot.shape:  # torch counts pairs of them
        return (*slot.shape[:-1], slot.shape[-1] // 2)
    return slot.shape


def _dtype(slot: Slot) -> torch.dtype:
    found: torch.dtype | None = _DTYPES.get(slot.dtype)
    if found is None:
        raise Foreign(
            f"{visible(slot.name)} has the dtype {slot.dtype}, which this torch lacks",
            next="use a newer torch",
        )
    return found


def memory(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor."""
    if not tensor.numel():
        return memoryview(bytearray())
    return tensor.reshape(-1).view(torch.uint8).numpy().data.cast("B")


def _native(tensor: Tensor) -> Tensor:
    """From little-endian to the order of this machine."""
    if sys.byteorder == "little" or tensor.dtype.itemsize == 1:
        return tensor
    width = tensor.dtype.itemsize // (2 if tensor.dtype.is_complex else 1)
    raw = tensor.reshape(-1).view(torch.uint8).reshape(-1, width).flip(1)
    return raw.flatten().view(tensor.dtype).reshape(tensor.shape)


def _ambiguous(sealed: Sealed, name: str) -> UsageError:
    return UsageError(
        f"{sealed.frame.name} holds several tensors {visible(name)}",
        next="open its parts one by one, with unseal()",
    )
