"""What can be checked of a sealed file without a key."""

from __future__ import annotations

from torchkeep.core import progress
from torchkeep.vault import manifest, tree
from torchkeep.vault.errors import Damaged
from torchkeep.vault.frame import Frame


def signatures(frame: Frame) -> None:
    """See that every signature is over this header and manifest.

    Raises:
        Damaged: One is not.
    """
    message = manifest.signed(frame.header_hash, frame.section)
    for signature in frame.signatures:
        if not signature.verifies(message):
            raise Damaged(frame.name, "a signature is not over its header and manifest")


def digests(frame: Frame) -> None:
    """See that every segment is the one in the digest tree; no key is needed.

    Raises:
        Damaged: One is not.
    """
    base, size = frame.places.data, frame.manifest.data + frame.manifest.index
    with progress.task(f"verifying {frame.name}", size) as advance:
        try:
            for segment in frame.tree().covering(0, size):
                data = frame.source.read(base + segment.offset, segment.length)
                if tree.leaf(frame.suite, data) != segment.digest:
                    raise Damaged(frame.name, "a segment is not what its digest says")
                advance(segment.length)
        except ValueError as error:
            raise Damaged(frame.name, str(error)) from error
