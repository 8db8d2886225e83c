"""What a sealed file says of itself."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, Final

from torchkeep.core.finding import encodable
from torchkeep.vault import opening
from torchkeep.vault.given import Openers, identities
from torchkeep.vault.index import Layout, Tensors
from torchkeep.vault.reading import Level, Sealed

SCHEMA_VERSION: Final = 1

_MOST_ITEMS: Final = 10_000


def describe(location: str | os.PathLike[str], identity: Openers = ()) -> dict[str, Any]:
    """What a sealed file says of itself, as JSON data.

    Nothing but its form has been verified, and with an identity what that identity needs.

    Args:
        location: A path or a URL.
        identity: What may open it, as :func:`torchkeep.vault.opening.open` takes it; without any,
            names and shapes stay secret.

    Raises:
        Foreign: It is no sealed file.
        Refused: Its form is damaged, or none of the identities opens it.
    """
    keys = identities(identity)
    with opening.framed(location) as found:
        header, manifest = found.header, found.manifest
        out: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "name": found.name,
            "size": found.source.size,
            "model": header.model,
            "version": header.version,
            "suite": found.suite.name,
            "chunk": found.chunk,
            "signers": [signer.hex() for signer in header.signers],
            "recipients": dict(Counter(stanza.type for stanza in found.block.stanzas)),
            "generation": found.block.generation,
            "sealed": manifest.sealed,
            "policy": manifest.policy.to_json(),
        }
        if keys:
            sealed = Sealed(found, keys, Level.TAGS)
            out |= {
                "content": sealed.index.content,
                "metadata": dict(sealed.index.metadata),
                "parts": [_part(layout) for layout in sealed.layouts],
            }
        described: dict[str, Any] = encodable(out)
        return described


def _part(layout: Layout) -> dict[str, Any]:
    part = layout.part
    out: dict[str, Any] = {"kind": part.kind, "path": part.path, "items": len(part)}
    if isinstance(part, Tensors):
        out["tensors"] = [
            {"name": slot.name, "dtype": slot.dtype, "shape": list(slot.shape)}
            for slot in part.slots[:_MOST_ITEMS]
        ]
    return out
