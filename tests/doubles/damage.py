"""Sealed files with something wrong: what anybody can do to one without any key."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate

from vault import reader

_EXTREMES = (0, 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**53, 2**63, 2**64 - 1)


class Container:
    """A sealed file, and where everything in it stands.

    Args:
        data: Its bytes.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        keys = reader.blocks(data)
        found = reader.of(data, (), "public", 1_800_000_000)
        said, header = found.manifest, 12 + int.from_bytes(data[8:12], "little")
        entries = header + said["data"] + said["index"]
        listed = entries + 36 * said["segments"]
        lengths = [int.from_bytes(data[at : at + 4], "little") for at in range(entries, listed, 36)]
        manifest, immutable = keys[0]["manifest"], keys[0]["immutable"]
        closing = manifest + 4 + int.from_bytes(data[manifest : manifest + 4], "little")
        self.segments = list(accumulate(lengths, initial=header))
        self.signatures = list(range(closing + 34, immutable + 1, 5359))
        self.blocks = [*(key["start"] for key in keys), len(data)]
        self.marks = sorted(
            {8, 12, header, entries, listed, manifest, manifest + 4, closing, closing + 32}
            | {*self.segments, *self.signatures, *self.blocks, len(data) - 8, len(data) - 16}
        )
        self.kept = [*range(header), *range(entries, len(data))]
        self.stored = range(header, entries)
        # A wrong cost of a passphrase is another test's: trying each would take gigabytes.
        if any(kind == "argon2id" for kind, _ in found.stanzas):
            cost = keys[-1]["start"] + 76 + 13
            self.kept = [at for at in self.kept if not cost <= at < cost + 12]

    def flips(self, rng: random.Random) -> Iterator[bytes]:
        """One random bit of every byte around the data, and every bit of some."""
        for at in self.kept:
            yield self._flipped(at, 1 << rng.randrange(8))
        for at in rng.sample(self.kept, min(len(self.kept), 200)):
            yield from (self._flipped(at, 1 << bit) for bit in range(8))

    def random_flips(self, rng: random.Random, count: int) -> Iterator[bytes]:
        """Some bits of the data and of the index, one or several at once."""
        for _ in range(count):
            data = bytearray(self.data)
            for _ in range(rng.choice([1, 1, 2, 8])):
                data[rng.choice(self.stored)] ^= 1 << rng.randrange(8)
            yield bytes(data)

    def cuts(self) -> Iterator[bytes]:
        """The file cut short at every boundary and beside it, and continued."""
        for mark in self.marks:
            for at in (mark - 1, mark, mark + 1):
                if at < len(self.data):
                    yield self.data[:at]
        for more in (b"\0", b"TKSFOOT1", self.data[self.blocks[-2] :], self.data):
            yield self.data + more

    def moved(self) -> Iterator[bytes]:
        """Everything between two boundaries left out, doubled, or put behind its neighbour."""
        data = self.data
        for a, b in zip(self.marks, self.marks[1:], strict=False):
            yield data[:a] + data[b:]
            yield data[:b] + data[a:]
            yield data[:a] + b"\0" + data[a:]
        for a, b, c in zip(self.marks, self.marks[1:], self.marks[2:], strict=False):
            yield data[:a] + data[b:c] + data[a:b] + data[c:]

    def numbers(self) -> Iterator[bytes]:
        """Every number at a boundary, and those of the key block, far too large or too small."""
        places = {at + n for at in self.marks for n in (0, 8, 16, 24, 32, 72)} | set(self.marks)
        for at in sorted(places):
            for width in (2, 4, 8):
                for value in _EXTREMES:
                    if value < 1 << 8 * width and at + width <= len(self.data):
                        number = value.to_bytes(width, "little")
                        yield self.data[:at] + number + self.data[at + width :]

    def spliced(self, other: Container) -> Iterator[bytes]:
        """Sections of another file in the place of those of this one."""
        places, strange = self._sections(), other._sections()
        for (a, b), (c, d) in zip(places, strange, strict=False):
            yield self.data[:a] + other.data[c:d] + self.data[b:]
            if a:  # from the first byte on it would be the other file as it is
                yield self.data[:a] + other.data[c:]
                yield other.data[:c] + self.data[a:]

    def _sections(self) -> list[tuple[int, int]]:
        first, entries = self.segments[0], self.segments[-1]
        last = self.blocks[0]
        ends = [0, first, entries, self.signatures[0] - 34, self.signatures[0], last]
        return list(zip(ends, [*ends[1:], len(self.data)], strict=True))

    def _flipped(self, at: int, mask: int) -> bytes:
        data = bytearray(self.data)
        data[at] ^= mask
        return bytes(data)
