"""Sealed files, made in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

from torchkeep.core import safetensors as layout
from torchkeep.vault import bech32
from torchkeep.vault.reading import Sealed
from torchkeep.vault.recipients import PublicKey, Recipient, SecretKey
from torchkeep.vault.writing import Identification, Receipt, Writer, split

SECRET = bytes(range(32))
"""What the key below is made of."""
KEY = SecretKey(bech32.encode("AGE-SECRET-KEY-", SECRET))
PUBLIC = PublicKey(KEY.public)
SMALL = 1 << 16
"""Bytes of the smallest chunk."""


def stranger(*, post_quantum: bool = False) -> tuple[SecretKey, PublicKey]:
    """Somebody else."""
    key, _ = SecretKey.generate(post_quantum=post_quantum)
    return key, PublicKey(key.public)


def write(
    path: Path,
    *parts: tuple[str, bytes | list[bytes]],
    to: Sequence[Recipient] = (PUBLIC,),
    chunk: int = 16,
    **options,
) -> Receipt:
    """Seal files, which are bytes, and records, which are lists of them."""
    with (
        path.open("wb") as file,
        Writer(file, to, Identification(model="m"), chunk=chunk, **options) as writer,
    ):
        for name, content in parts:
            if isinstance(content, list):
                writer.records(name, content)
            else:
                writer.file(name, split(content, 1 << chunk))
        return writer.finish()


def tensors(
    path: Path, state: dict[str, torch.Tensor], *, chunk: int = 16, **options
) -> dict[str, torch.Tensor]:
    """Seal a state dict from a safetensors file; returns the state."""
    data = safetensors.torch.save(state)
    start = 8 + int.from_bytes(data[:8], "little")
    with (
        path.open("wb") as file,
        Writer(file, [PUBLIC], Identification(model="m"), chunk=chunk, **options) as writer,
    ):
        header = data[8:start]
        slots = layout.slots(header)
        items = (split(data[start + s.begin : start + s.end], 1 << chunk) for s in slots)
        writer.tensors("m.safetensors", header, items)
        writer.finish()
    return state


def contents(sealed: Sealed) -> list[tuple[str, list[bytes]]]:
    """The items of all parts, by path."""
    return [
        (
            layout.part.path,
            [bytes(sealed.bytes_of(layout, number)) for number in range(len(layout.part))],
        )
        for layout in sealed.layouts
    ]


def flip(path: Path, at: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
