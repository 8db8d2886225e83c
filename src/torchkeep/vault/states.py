"""``save`` and ``load`` for training states, as torch has them, but sealed and without a pickle.

A state is nested dicts, lists and tuples of tensors and plain values: what ``state_dict()`` of
models, optimizers and schedulers returns. Its tensors become one part of the sealed file, and what
holds them a text in JSON beside them, so nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, Final

import torch
from torch import Tensor

from torchkeep.core import safetensors, strict
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.text import visible
from torchkeep.vault import later, opening, tensors
from torchkeep.vault.given import Openers, Trusted
from torchkeep.vault.header import LONGEST_NAME
from torchkeep.vault.manifest import Policy
from torchkeep.vault.reading import Level
from torchkeep.vault.recipients import Recipient
from torchkeep.vault.signing import Signer
from torchkeep.vault.writing import CHUNK, Identification, Piece, Receipt, Writer, split

Location = str | os.PathLike[str]

_TENSORS: Final = "state.safetensors"
_TREE: Final = "state.json"
_DEEPEST: Final = 200
_DTYPES: Final = {
    getattr(torch, spelled): name
    for name, spelled in safetensors.TORCH.items()
    if hasattr(torch, spelled) and name != "F4"
}


def save(
    state: Any,
    target: Location,
    recipients: Sequence[Recipient],
    *,
    signers: Sequence[Signer] = (),
    of: Identification | None = None,
    policy: Policy | None = None,
    overwrite: bool = True,
    mixed: bool = False,
) -> Receipt:
    """Seal a training state, in place of ``torch.save``.

    A tensor that stands in several places is written once and is one again when it is loaded.
    Tensors that share memory only in part are written in full each.

    Args:
        state: Nested dicts, lists and tuples of tensors, numbers, texts, bytes and None.
        target: The sealed file.
        recipients: Who will be able to open it.
        signers: Who signs it.
        of: Model and version; the name of the file and 1 where None.
        policy: How it may be used.
        overwrite: Whether an existing target may be replaced, as ``torch.save`` does.
        mixed: Whether recipients of unequal strength may stand together.

    Raises:
        UsageError: Something in it is of another kind; the message says where.
    """
    pack = _Pack()
    tree = pack.pack(state, ("state",))
    name = PurePath(os.fspath(target)).name or "state"
    named = of or Identification(model=name[:LONGEST_NAME])
    with (
        later.replacing(target, exclusive=not overwrite) as file,
        Writer(file, recipients, named, signers=signers, mixed=mixed) as writer,
    ):
        writer.tensors(_TENSORS, pack.header(), pack.data())
        writer.file(_TREE, split(json.dumps(tree).encode(), 1 << CHUNK))
        return writer.finish(policy=policy)


def load(
    location: Location,
    identity: Openers,
    *,
    trust: Trusted = None,
    level: Level = Level.FULL,
) -> Any:
    """Open a training state, in place of ``torch.load``. Tensors come to the CPU.

    Args:
        location: A path or a URL.
        identity: What may open it, as :func:`torchkeep.vault.opening.open` takes it.
        trust: Who must have signed it, as that takes it.
        level: How much is checked.

    Raises:
        Refused: It must not be used; the subclasses in :mod:`torchkeep.vault.errors` say why.
        Foreign: It holds no training state.
    """
    with opening.open(location, identity, trust=trust, level=level) as sealed:
        try:
            tree = strict.loads(bytes(sealed.bytes_of(sealed.layout(_TREE), 0)))
        except (KeyError, ValueError) as error:
            raise Foreign(
                f"{sealed.frame.name} holds no training state", next="open it with vault.open()"
            ) from error
        found = tensors.state_dict(sealed)
        try:
            return _unpack(tree, found)
        # RuntimeError: nesting without end, and what torch says of a device that there is not.
        except (ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
            raise Foreign(
                f"{sealed.frame.name} holds a training state that this version does not know",
                next="update torchkeep",
            ) from error


class _Pack:
    """Takes a state apart."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def pack(self, value: Any, path: tuple[str, ...]) -> Any:
        """What stands for ``value`` in the tree: ``[kind, ...]``, and plain values as they are."""
        if value is None or type(value) in (bool, int, str):
            return value
        if len(path) > _DEEPEST:
            raise _unknown(path, "nesting of more than 200 levels")
        kind = type(value)
        if kind is float:
            return ["float", value.hex()]
        if isinstance(value, Tensor):
            return ["tensor", self._tensor(value, path), isinstance(value, torch.nn.Parameter)]
        if kind in (dict, OrderedDict):
            pairs = [
                [self.pack(key, (*path, "a key")), self.pack(part, (*path, str(key)))]
                for key, part in value.items()
            ]
            return [_KINDS[kind], pairs]
        if kind in (list, tuple, set, torch.Size):
            return [
                _KINDS[kind],
                [self.pack(part, (*path, str(n))) for n, part in enumerate(value)],
            ]
        if kind in (bytes, bytearray):
            return [_KINDS[kind], value.hex()]
        if kind in (torch.dtype, torch.device):
            return [_KINDS[kind], str(value).removeprefix("torch.")]
        raise _unknown(path, kind.__name__)

    def header(self) -> bytes:
        """The header of a safetensors file with the tensors."""
        entries, at = {}, 0
        for number, tensor in enumerate(self._tensors):
            end = at + tensor.numel() * tensor.itemsize
            entries[str(number)] = {
                "dtype": _DTYPES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [at, end],
            }
            at = end
        text = json.dumps(entries).encode()
        return text + b" " * (-len(text) % 8)

    def data(self) -> Iterator[Iterator[Piece]]:
        """The bytes of each tensor, on the CPU one after the other."""
        for tensor in self._tensors:
            plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            yield split(tensors.memory(plain), 1 << CHUNK)

    def _tensor(self, tensor: Tensor, path: tuple[str, ...]) -> int:
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in _DTYPES:
            raise _unknown(path, f"a tensor of {tensor.layout} and {tensor.dtype}")
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        if tensor.numel() and place in self._known:
            return self._known[place]
        self._known[place] = len(self._tensors)
        self._tensors.append(tensor)
        return len(self._tensors) - 1


_KINDS: Final[dict[type, str]] = {
    dict: "dict",
    OrderedDict: "ordered",
    list: "list",
    tuple: "tuple",
    set: "set",
    torch.Size: "size",
    bytes: "bytes",
    bytearray: "bytearray",
    torch.dtype: "dtype",
    torch.device: "device",
}
_MAKE: Final[dict[str, Callable[[Any], Any]]] = {
    "dict": dict,
    "ordered": OrderedDict,
    "list": list,
    "tuple": tuple,
    "set": set,
    "size": torch.Size,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "device": torch.device,
    "float": float.fromhex,
}


def _unpack(node: Any, found: dict[str, Tensor]) -> Any:
    if node is None or type(node) in (bool, int, str):
        return node
    if not isinstance(node, list):
        raise TypeError("a value that is not plain has a kind")
    kind = node[0]
    if kind == "tensor":
        tensor = found[str(node[1])]
        return torch.nn.Parameter(tensor, tensor.is_floating_point()) if node[2] else tensor
    if kind == "dtype":
        return _dtype(node[1])
    make, (_, parts) = _MAKE[kind], node
    if kind in ("dict", "ordered"):
        return make([(_unpack(key, found), _unpack(part, found)) for key, part in parts])
    if kind in ("list", "tuple", "set", "size"):
        return make([_unpack(part, found) for part in parts])
    return make(parts)


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise TypeError(name)
    return found


def _unknown(path: tuple[str, ...], what: str) -> UsageError:
    return UsageError(
        f"{visible('.'.join(path))} is {visible(what)}, which a sealed state cannot hold",
        next="save what its state_dict() returns, or leave it out",
    )
