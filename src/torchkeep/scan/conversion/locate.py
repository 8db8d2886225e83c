"""What a torch file holds, by following its pickle, and where the bytes of its storages lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torchkeep.core.errors import Refused
from torchkeep.core.source import Readable, Source
from torchkeep.core.text import visible
from torchkeep.scan import zip as archives
from torchkeep.scan.formats import legacy
from torchkeep.scan.formats.torch_zip import fold
from torchkeep.scan.pickle.machine import Machine
from torchkeep.scan.pickle.policy import Tier, of
from torchkeep.scan.pickle.values import Dict, Made, Unknown
from torchkeep.scan.sniff import Kind
from torchkeep.scan.tensors import Recorder, Storage
from torchkeep.scan.zip import Member

AGAIN: Final = "load it with torch.load(path, weights_only=True) and save it with torch.save"
_EXPORT: Final = "save the module's state_dict() with torch.save and convert that"
_EXPORTED: Final = ("archive_format", "serialized_exported_program.json")


class Place(NamedTuple):
    """Where the bytes of a storage lie.

    Attributes:
        offset: Offset of the first one in the file.
        size: How many there are.
        crc: Their CRC-32; None where the file has none.
    """

    offset: int
    size: int
    crc: int | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """What a torch file holds.

    Attributes:
        source: The file.
        format: ``torch-zip`` or ``torch-legacy``.
        value: What its pickle would build.
        places: Where each storage lies, by its key.
        dtypes: The element types that the pickle gives each storage, by its key.
    """

    source: Source
    format: str
    value: Any
    places: dict[str, Place]
    dtypes: dict[str, set[str]]


class _Follower(Recorder):
    """Tells apart what a scan need not: whether a class was called, and state that is set twice."""

    def new(self, maker: Any, args: Any, kwargs: Any = None) -> Made:
        """An instance that was not initialised is known by its keyword arguments, none mostly."""
        return super().new(maker, args, Dict() if kwargs is None else kwargs)

    def build(self, target: Any, state: Any) -> None:
        """What the second state leaves of the first is for its class to decide."""
        if isinstance(target, Made) and target.state is not None:
            state = Unknown("state that is set twice")
        super().build(target, state)


def locate(source: Source, kinds: str) -> Located:
    """Follow the pickle of a file that was scanned, and in which nothing is malformed.

    Args:
        source: The file.
        kinds: What it is, as the scan says.

    Raises:
        Refused: The file is of a kind that is not converted, or its numbers are big-endian.
    """
    if kinds == Kind.ZIP.value:
        return _zip(source)
    if kinds == Kind.PICKLE.value:
        return _legacy(source)
    packed = kinds == Kind.COMPRESSED.value
    raise Refused(
        f"{source.name} is no file of torch.save ({kinds})",
        next="unpack it and convert what comes out" if packed else AGAIN,
    )


def _zip(source: Source) -> Located:
    if len(archives.series(source)) > 1:
        raise Refused(
            f"{source.name} is several archives in a row, as distributed checkpoints have them",
            next="gather them with torch.distributed.checkpoint.format_utils.dcp_to_torch_save",
        )
    members = {fold(member.name): member for member in archives.read(source).members}
    root = _root(source, members)
    records = {name.removeprefix(root): found for name, found in members.items()}
    if order := records.get("byteorder"):
        _require_little(source, source.read(order.data, order.packed) == b"little")
    with archives.opened(source, records["data.pkl"], _complainer(source)) as content:
        machine = _followed(source, content, 0)
    storages = machine.storages.values()
    places = {}
    for storage in storages:
        if found := records.get(fold(f"data/{storage.key}")):
            places[storage.key] = _place(source, storage, found)
    return Located(source, "torch-zip", machine.outcome.value, places, _dtypes(storages))


def _root(source: Source, members: Iterable[str]) -> str:
    """The folder of the one object that torch saved in an archive."""
    names = list(members)
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    roots = [root for root in roots if root.count("/") == 1]
    if any(name.endswith(_EXPORTED) for name in names):
        raise Refused(f"{source.name} is an exported program (.pt2)", next=_EXPORT)
    if len(roots) != 1:
        raise Refused(
            f"{source.name} is an archive with {len(roots)} saved objects, expected one", next=AGAIN
        )
    if any(name.startswith((f"{roots[0]}constants.pkl", f"{roots[0]}code/")) for name in names):
        raise Refused(f"{source.name} is a TorchScript program", next=_EXPORT)
    return roots[0]


def _place(source: Source, storage: Storage, found: Member) -> Place:
    if found.method:
        raise Refused(
            f"{source.name}: storage {visible(storage.key)} is compressed, and torch.save never"
            " compresses",
            next="unpack the archive, pack it anew with zip -0 -r, and convert that",
        )
    return Place(found.data, found.packed, found.crc)


def _legacy(source: Source) -> Located:
    first = _quietly(source, 0)
    if not legacy.is_magic(first.outcome.value):
        raise Refused(f"{source.name} is a pickle that torch.save did not write", next=AGAIN)
    protocol = _quietly(source, first.outcome.end)
    facts = _quietly(source, protocol.outcome.end)
    if isinstance(facts.outcome.value, Dict):
        _require_little(source, facts.outcome.value.get("little_endian") is not False)
    machine = _followed(source, source, facts.outcome.end)
    keys = _quietly(source, machine.outcome.end)
    storages = machine.storages.values()
    places = _row(keys.outcome.value, keys.outcome.end, storages)
    return Located(source, "torch-legacy", machine.outcome.value, places, _dtypes(storages))


def _row(keys: list[str], offset: int, storages: Iterable[Storage]) -> dict[str, Place]:
    """Where the storages of an old file lie: in a row, each behind eight bytes with its length."""
    sizes = {storage.key: storage.size for storage in storages}
    places = {}
    for key in keys:
        places[key] = Place(offset + 8, sizes[key])
        offset += 8 + sizes[key]
    return places


def _quietly(source: Readable, start: int) -> Machine:
    machine = Machine(source, start, of(Tier.MODULE))
    machine.run()
    return machine


def _followed(source: Source, content: Readable, start: int) -> Recorder:
    machine = _Follower(content, start, of(Tier.MODULE), persistent=legacy.is_storage_id)
    if why := machine.run().broken:
        raise Refused(f"{source.name} holds a broken pickle: {why}", next="fetch the file again")
    return machine


def _dtypes(storages: Iterable[Storage]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for storage in storages:
        found.setdefault(storage.key, set()).add(storage.dtype)
    return found


def _require_little(source: Source, is_little: bool) -> None:
    if not is_little:
        raise Refused(
            f"{source.name} was saved on a big-endian machine; safetensors is little-endian",
            next=AGAIN,
        )


def _complainer(source: Source) -> Callable[[str], None]:
    def complain(problem: str) -> None:
        raise Refused(f"{source.name} is damaged ({problem})", next="fetch the file again")

    return complain
