"""Reads a sealed file: in whole or in part, on all cores, into memory that is there."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn, Self

from torchkeep.core import progress
from torchkeep.vault import index
from torchkeep.vault.decrypting import Decrypter, Piece
from torchkeep.vault.errors import Damaged, NoIdentity
from torchkeep.vault.frame import Frame
from torchkeep.vault.index import Index, Layout, Tensors
from torchkeep.vault.recipients import Identity, unwrap
from torchkeep.vault.schedule import Schedule, commitment
from torchkeep.vault.suite import TAG

if TYPE_CHECKING:  # whoever wants no tensors needs no torch
    from torch import Tensor, nn

    from torchkeep.vault.tensors import Slice

_WINDOW: Final = 16 << 20  # bytes that are decrypted at once on the way to somewhere else


class Level(StrEnum):
    """How much is checked.

    Attributes:
        PUBLIC: Form, digests and signatures; no identity is needed.
        TAGS: Form, codes and tags: whoever holds a key could have changed it.
        FULL: All of it.
    """

    PUBLIC = "public"
    TAGS = "tags"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An item, or some chunks of it, and where its bytes are to go.

    Attributes:
        layout: The part that it belongs to.
        number: Its number there.
        into: Memory for all bytes from the first chunk to the last.
        first: The first chunk.
        last: The last chunk; None for the last one that it has.
    """

    layout: Layout
    number: int
    into: memoryview
    first: int = 0
    last: int | None = None

    @property
    def length(self) -> int:
        """Bytes that are wanted."""
        return len(self.into)


class Sealed:
    """A sealed file that is open.

    Attributes:
        frame: What stands around its data.
        index: What is in it.
        level: How much is checked of what is read.
        identity: The one that opened it.
    """

    def __init__(self, frame: Frame, identities: Sequence[Identity], level: Level) -> None:
        """Open a file.

        Raises:
            NoIdentity: None of the identities opens it.
            Damaged: It is not what was sealed.
        """
        self.frame, self.level = frame, level
        found = unwrap(frame.block.stanzas, identities, frame.header_hash)
        if found is None:
            raise NoIdentity(
                f"{frame.name} is sealed for others: none of the identities opens it",
                next="name the identity of one of its recipients with --identity",
            )
        self.file_key, self.identity = found
        self._schedule = _schedule(frame, self.file_key)
        self._decrypter = Decrypter(frame, hashed=level is Level.FULL)
        self.index = self._index()
        self.layouts = index.layouts(self.index, frame.chunk)
        self._check_layout()

    @property
    def schedule(self) -> Schedule:
        """The keys of the file."""
        return self._schedule

    def names(self) -> list[str]:
        """Names of all tensors, in the order of the file."""
        return [
            slot.name
            for layout in self.layouts
            if isinstance(layout.part, Tensors)
            for slot in layout.part.slots
        ]

    def get_tensor(self, name: str) -> Tensor:
        """One tensor; nothing else is decrypted. See :func:`torchkeep.vault.tensors.get_tensor`."""
        from torchkeep.vault import tensors

        return tensors.get_tensor(self, name)

    def get_slice(self, name: str) -> Slice:
        """Rows of a tensor: ``get_slice(name)[:10]``. See :mod:`torchkeep.vault.tensors`."""
        from torchkeep.vault import tensors

        return tensors.get_slice(self, name)

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors by name. See :func:`torchkeep.vault.tensors.state_dict`."""
        from torchkeep.vault import tensors

        return tensors.state_dict(self)

    def load_into(self, module: nn.Module, *, strict: bool = True) -> None:
        """Decrypt straight into a module. See :func:`torchkeep.vault.tensors.load_into`."""
        from torchkeep.vault import tensors

        tensors.load_into(self, module, strict=strict)

    def unseal(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the files that were sealed. See :func:`torchkeep.vault.unsealing.unseal`."""
        from torchkeep.vault import unsealing

        unsealing.unseal(self, target, overwrite=overwrite)

    def layout(self, path: str | None = None) -> Layout:
        """A part, by its path; the only one where no path is given.

        Raises:
            KeyError: There is no such part, or there are several.
        """
        if path is None and len(self.layouts) == 1:
            return self.layouts[0]
        for layout in self.layouts:
            if layout.part.path == path:
                return layout
        raise KeyError(path)

    def bytes_of(self, layout: Layout, number: int) -> bytearray:
        """An item, in memory of its own."""
        out = bytearray(layout.part.size(number))
        self.read([Wanted(layout, number, memoryview(out))])
        return out

    def read(self, wanted: Iterable[Wanted]) -> None:
        """Decrypt items into the memory that is named for each.

        Raises:
            Damaged: A chunk is not what was sealed.
        """
        self._decrypter.run(self._pieces(wanted))

    def windows(self, layouts: Iterable[Layout]) -> Iterator[tuple[Layout, int, memoryview]]:
        """All items of some parts in order, decrypted window by window into memory that is reused.

        Yields:
            The part, the number of the item, and its next bytes: an item may come in several
            pieces, and an empty one comes as one empty piece. They are gone with the next one.
        """
        memory = memoryview(bytearray(_WINDOW))
        held: list[Wanted] = []
        filled = 0
        for wanted in self._runs(layouts, memory):
            if held and wanted.length > _WINDOW - filled:
                yield from self._window(held)
                held, filled = [], 0
            held.append(replace(wanted, into=memory[filled : filled + wanted.length]))
            filled += wanted.length
        yield from self._window(held)

    def check_all(self) -> None:
        """Read everything and keep nothing.

        Raises:
            Damaged: A chunk is not what was sealed.
        """
        with progress.task(f"verifying {self.frame.name}", self.frame.manifest.data) as advance:
            for _, _, piece in self.windows(self.layouts):
                advance(len(piece))

    def close(self) -> None:
        """Let go of threads and of the file."""
        self._decrypter.close()
        self.frame.source.close()

    def __repr__(self) -> str:
        return f"<Sealed {self.frame.name}, {self.level} of {len(self.layouts)} parts>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sealed file that is open holds keys: open it where it is needed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _window(self, held: list[Wanted]) -> Iterator[tuple[Layout, int, memoryview]]:
        self.read(held)
        yield from ((one.layout, one.number, one.into) for one in held)

    def _runs(self, layouts: Iterable[Layout], memory: memoryview) -> Iterator[Wanted]:
        """Runs of chunks that fit into a window, for every item."""
        chunk = self.frame.chunk
        step = _WINDOW // chunk
        for layout in layouts:
            for number in range(len(layout.part)):
                length = layout.part.size(number)
                final = index.count(length, chunk) - 1
                for first in range(0, final + 1, step):
                    last = min(first + step - 1, final)
                    size = min(length, (last + 1) * chunk) - first * chunk
                    yield Wanted(layout, number, memory[:size], first, last)

    def _index(self) -> Index:
        frame = self.frame
        out = bytearray(max(0, frame.manifest.index - TAG * frame.index_chunks))
        cipher = frame.suite.cipher(self._schedule.index())
        if index.sealed(len(out), frame.chunk) != frame.manifest.index:
            raise Damaged(frame.name, "its index has an impossible length")
        place = frame.places.index
        self._decrypter.run(self._decrypter.chunks(cipher, place, len(out), memoryview(out)))
        try:
            return index.decode(bytes(out))
        except ValueError as error:
            raise Damaged(frame.name, f"its index is none: {error}") from error

    def _check_layout(self) -> None:
        if sum(layout.offsets[-1] for layout in self.layouts) != self.frame.manifest.data:
            raise Damaged(self.frame.name, "its index does not fit its data")

    def _pieces(self, wanted: Iterable[Wanted]) -> Iterator[Piece]:
        for one in wanted:
            item = one.layout.item(one.number)
            cipher = self.frame.suite.cipher(self._schedule.item(item.ordinal, item.descriptor))
            start = self.frame.places.data + item.offset
            yield from self._decrypter.chunks(
                cipher, start, item.length, one.into, one.first, one.last
            )


def _schedule(frame: Frame, file_key: bytes) -> Schedule:
    """The keys of a file, when the file is one that was sealed with its file key."""
    said = commitment(file_key, frame.header.file)
    if not hmac.compare_digest(said, frame.header.commitment):
        raise Damaged(frame.name, "its header belongs to another key")
    schedule = Schedule(file_key, frame.raw_header)
    if not hmac.compare_digest(schedule.close(frame.section), frame.closing):
        raise Damaged(frame.name, "its manifest is not the one that it was closed with")
    if not hmac.compare_digest(schedule.authenticate(frame.block_body), frame.block_code):
        raise Damaged(frame.name, "its key block was not written by anybody who can open it")
    return schedule
