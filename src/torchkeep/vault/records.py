"""Data sets of which each record is decrypted by itself, when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from torchkeep.core.errors import UsageError
from torchkeep.vault import later, opening
from torchkeep.vault.given import Openers, Trusted
from torchkeep.vault.header import LONGEST_NAME
from torchkeep.vault.index import Layout
from torchkeep.vault.index import Records as Part
from torchkeep.vault.manifest import Policy
from torchkeep.vault.reading import Level, Sealed
from torchkeep.vault.recipients import Recipient
from torchkeep.vault.signing import Signer
from torchkeep.vault.writing import Identification, Receipt, Writer

_CHUNK: Final = 16  # log2: whoever wants one record reads no more than it takes to check it


class Records:
    """A sealed data set, as :class:`torch.utils.data.Dataset` has it: a length, and an item each.

    Workers that are forked read on with the keys that the data set has; each opens the file for
    itself. A handle that is pickled, as it is for workers that are spawned, takes no key along:
    ``identity`` must then be the path or name of a key file, or a function that such a worker can
    call.

    Args:
        location: The sealed file, a path or a URL.
        identity: What may open it, as :func:`torchkeep.vault.opening.open` takes it, or a function
            of a module that returns it.
        path: Which part of the file; None where it has only one.
        decode: Makes a sample from the bytes of a record.
        trust: Who must have signed it.
        level: How much is checked of what is read.

    Raises:
        Refused: It must not be used; the subclasses in :mod:`torchkeep.vault.errors` say why.
        UsageError: It holds no such part.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        identity: Openers | Callable[[], Openers],
        *,
        path: str | None = None,
        decode: Callable[[bytes], Any] = bytes,
        trust: Trusted = None,
        level: Level = Level.FULL,
    ) -> None:
        self._location, self._identity, self._path = location, identity, path
        self._decode, self._trust, self._level = decode, trust, level
        self._process = -1
        self._sealed: Sealed | None = None
        self._layout = self._open()

    def __len__(self) -> int:
        return len(self._layout.part)

    def __getitem__(self, number: int) -> Any:
        """Decrypt one record, and nothing else.

        Raises:
            IndexError: There is none of that number.
            Damaged: It is not what was sealed.
        """
        place = range(len(self))[number]
        if self._process != os.getpid():  # a fork: threads and positions are those of the parent
            self._layout = self._open()
        assert self._sealed is not None
        return self._decode(bytes(self._sealed.bytes_of(self._layout, place)))

    def __getstate__(self) -> dict[str, Any]:
        if not callable(self._identity) and not isinstance(self._identity, str | os.PathLike):
            raise UsageError(
                "a data set with open keys cannot be sent to another process",
                next="name a key file as identity, or give a function, or fork the workers",
            )
        return self.__dict__ | {"_sealed": None, "_layout": None, "_process": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._layout = self._open()

    def close(self) -> None:
        """Let go of the file and of its keys."""
        if self._sealed is not None:
            self._sealed.close()
            self._sealed = None

    def _open(self) -> Layout:
        given = self._identity() if callable(self._identity) else self._identity
        sealed = opening.open(self._location, given, trust=self._trust, level=self._level)
        found = [
            layout
            for layout in sealed.layouts
            if isinstance(layout.part, Part) and self._path in (None, layout.part.path)
        ]
        if len(found) != 1:
            sealed.close()
            raise UsageError(
                f"{sealed.frame.name} holds {len(found)} tables of records of that name",
                next="name one of its parts with path=",
            )
        self._sealed, self._process = sealed, os.getpid()
        return found[0]


def seal_records(
    target: str | os.PathLike[str],
    data: Iterable[bytes],
    recipients: Sequence[Recipient],
    *,
    path: str = "records",
    signers: Sequence[Signer] = (),
    of: Identification | None = None,
    policy: Policy | None = None,
    overwrite: bool = False,
    mixed: bool = False,
) -> Receipt:
    """Seal records one by one; none is kept in memory.

    Args:
        target: The sealed file.
        data: The records, in order.
        recipients: Who will be able to open it.
        path: What to call the table.
        signers: Who signs it.
        of: Name and version; ``path`` and 1 where None.
        policy: How it may be used.
        overwrite: Whether an existing target may be replaced.
        mixed: Whether recipients of unequal strength may stand together.

    Raises:
        UsageError: The recipients do not go together, or the target is there.
    """
    named = of or Identification(model=path[:LONGEST_NAME])
    with (
        later.replacing(target, exclusive=not overwrite) as file,
        Writer(file, recipients, named, signers=signers, chunk=_CHUNK, mixed=mixed) as writer,
    ):
        writer.records(path, data)
        return writer.finish(policy=policy)
