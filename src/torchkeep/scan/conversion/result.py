"""What a conversion did."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from torchkeep.core import digest
from torchkeep.core.errors import SourceError
from torchkeep.core.finding import encodable
from torchkeep.core.source import Source
from torchkeep.core.source import open as open_source
from torchkeep.core.statement import Statement, Subject, derivation
from torchkeep.scan.verdict import Verdict

SCHEMA_VERSION: Final = 1
_MOST_LISTED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was taken out of a file, and what was not.

    Attributes:
        source: What to call the file.
        target: The safetensors file.
        format: ``torch-zip`` or ``torch-legacy``.
        verdict: What the scan said about the source.
        key: Keys that led to the tensors; empty where they were the whole file.
        salvage: Whether tensors were taken from among other things.
        tensors: How many there are.
        bytes: Bytes of their data.
        shared: Names of tensors that lay on one storage; each of them was written in full.
        left_behind: Names of what was not taken.
        module: The class of the pickled module whose tensors these are: it takes its code to build
            one again. Empty where there was none.
        location: Where the source lies.
        versions: What source and target were when the target was complete.
    """

    source: str
    target: str
    format: str
    verdict: Verdict
    key: str
    salvage: bool
    tensors: int
    bytes: int
    shared: tuple[tuple[str, ...], ...]
    left_behind: tuple[str, ...]
    module: str
    location: str | os.PathLike[str] = field(repr=False)
    versions: tuple[str, str] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The conversion as JSON data; of what was left behind, the first names."""
        out = {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "target": self.target,
            "format": self.format,
            "verdict": self.verdict.value,
            **self.settings,
            "tensors": self.tensors,
            "bytes": self.bytes,
            "shared": self.shared,
            "left_behind": self.left_behind[:_MOST_LISTED],
            "left_behind_count": len(self.left_behind),
            "module": self.module,
        }
        found: dict[str, Any] = encodable(out)
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """What the choice of tensors depended on."""
        return {"key": self.key, "salvage": self.salvage}

    def statement(self) -> Statement:
        """State that the target was derived from the source, both named by their digests.

        The files are hashed as they lie there now, and must still be those of the conversion. Both
        carry the same content digest: that of the tensors that were taken.

        Raises:
            SourceError: One of them cannot be read, or has changed.
        """
        with open_source(self.location) as before, open_source(os.fspath(self.target)) as after:
            for opened, version in zip((before, after), self.versions, strict=True):
                if stamp(opened) != version:
                    raise SourceError(
                        f"{opened.name} has changed since it was converted", next="convert it again"
                    )
            works: list[Callable[[], str]] = [
                lambda: digest.sha256(before),
                lambda: digest.safetensors_content(after),
                lambda: digest.sha256(after),
            ]
            with ThreadPoolExecutor(2) as pool:
                source, content, target = (one.result() for one in map(pool.submit, works))
        return derivation(
            Subject(self.source, source, content),
            Subject(self.target, target, content),
            "convert",
            self.settings,
        )


def stamp(opened: Source) -> str:
    """What tells this version of a file from any other."""
    return f"{opened.version}:{opened.size}"
