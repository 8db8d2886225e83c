"""Files of torch before 1.6: pickles and storages in a row, and the tar files before those.

Five pickles (a magic number, the protocol, facts about the machine, the object, the keys of its
storages) are followed by the storages: eight bytes with the number of elements, then the data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.formats import pickles
from torchkeep.scan.job import Job
from torchkeep.scan.pickle.machine import Machine, Outcome
from torchkeep.scan.pickle.values import Global, Made, Persistent
from torchkeep.scan.tensors import ITEM_SIZES, Recorder, Storage, Tensor, tensor_of
from torchkeep.scan.verdict import Verdict

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001


def is_magic(value: Any) -> bool:
    """Whether the first pickle of a file says that it is one of torch's old files."""
    return isinstance(value, int) and value == _MAGIC


def is_storage_id(id: Any) -> bool:
    """Whether a persistent id is one that torch's files have.

    That is ``("storage", type, key, location, elements)``, in old files with a view behind it, and
    there ``("module", class, file, source)``.
    """
    if not isinstance(id, tuple) or not id:
        return False
    if id[0] in ("storage", b"storage"):
        return (
            len(id) in (5, 6)
            and isinstance(id[1], Global)
            and isinstance(id[2], str | int)
            and isinstance(id[3], str | bytes)
            and isinstance(id[4], int)
            and (len(id) == 5 or id[5] is None or _is_view(id[5]))
        )
    return len(id) == 4 and id[0] == "module" and isinstance(id[1], Global)


def _is_view(view: Any) -> bool:
    return (
        isinstance(view, tuple)
        and len(view) == 3
        and isinstance(view[0], str | int)
        and all(isinstance(number, int) and number >= 0 for number in view[1:])
    )


def look(job: Job, source: Readable, member: str, depth: int, offset: int) -> None:
    """Scan what follows the magic number of one of torch's old files.

    Args:
        job: Where issues are noted.
        source: The bytes.
        member: Where they lie inside the file.
        depth: Containers around them.
        offset: Where the magic number ends.
    """
    job.report.is_checkpoint |= not member
    protocol = _follow(job, Machine(source, offset, job.policy), member, depth)
    if protocol.broken:
        return
    if protocol.value != _PROTOCOL:
        refuse(job, member, protocol.end, f"{protocol.value!r:.40} is no protocol of torch")
        return
    facts = _follow(job, Machine(source, protocol.end, job.policy), member, depth)
    if facts.broken:
        return
    content = Recorder(source, facts.end, job.policy, persistent=is_storage_id)
    found = _follow(job, content, member, depth)
    if found.broken:
        return
    keys = _follow(job, Machine(source, found.end, job.policy), member, depth)
    if keys.broken:
        return
    end = _walk(job, source, member, keys, content)
    if end is not None and end < source.size:
        text, rest = "trailing-bytes", source.size - end
        job.issue(20, Verdict.NEEDS_REVIEW, text, member=member, offset=end, count=rest)
    check_tensors(job, member, content)


def _follow(job: Job, machine: Machine, member: str, depth: int) -> Outcome:
    outcome = machine.run()
    pickles.judge(job, machine.source, outcome, member, depth)
    return outcome


def _walk(job: Job, source: Readable, member: str, keys: Outcome, content: Recorder) -> int | None:
    """Pass by the storages; returns where they end, None where they cannot be told."""
    claims: dict[str, Storage] = {}
    for storage in content.storages.values():
        if claims.setdefault(storage.key, storage).size != storage.size:
            refuse(job, member, keys.end, f"storage {storage.key:.40} has two sizes")
            return None
    if not isinstance(keys.value, list) or not all(type(key) is str for key in keys.value):
        refuse(job, member, keys.end, "the keys of its storages are missing")
        return None
    if len(set(keys.value)) != len(keys.value) or set(keys.value) != set(claims):
        refuse(job, member, keys.end, "its storages are not those of its tensors")
        return None
    offset = keys.end
    for key in keys.value:
        width = ITEM_SIZES[claims[key].dtype]
        if offset + 8 > source.size:
            refuse(job, member, offset, f"storage {key:.40} is missing")
            return None
        found = int.from_bytes(source.read(offset, 8), "little", signed=True) * width
        if found != claims[key].size:
            args = {"key": key[:40], "claimed": claims[key].size, "found": found}
            job.issue(40, Verdict.MALFORMED, "storage-size", member=member, offset=offset, **args)
            return None
        offset += 8 + found
        if offset > source.size:
            refuse(job, member, source.size, f"storage {key:.40} runs past the end")
            return None
    return offset


def check_tensors(job: Job, member: str, content: Recorder) -> None:
    """Note a tensor that does not lie within its storage."""
    for made in content.made:
        tensor = tensor_of(made)
        if tensor is None:
            job.issue(41, Verdict.MALFORMED, "odd-tensor", member=member, offset=made.offset)
            return
        if not _within_view(made, tensor).fits():
            job.issue(41, Verdict.MALFORMED, "tensor-outside", member=member, offset=made.offset)
            return


def _within_view(made: Made, tensor: Tensor) -> Tensor:
    """The tensor, on the part of the storage that its id names: very old files have such views."""
    persistent = made.args[0]
    view = (
        persistent.id[5] if isinstance(persistent, Persistent) and len(persistent.id) > 5 else None
    )
    if view is None:
        return tensor
    start, count = view[1:] if _is_view(view) else (0, 0)
    inside = start + count <= tensor.storage.count
    return replace(tensor, storage=replace(tensor.storage, count=count if inside else 0))


def refuse(job: Job, member: str, offset: int, why: str) -> None:
    """Note that a file is damaged, and why."""
    job.issue(32, Verdict.MALFORMED, "damaged", member=member, offset=offset, why=why)
