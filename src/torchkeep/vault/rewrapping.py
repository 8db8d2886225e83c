"""Seals for other recipients, or under another key.

``rewrap`` writes one more key block: kilobytes, whatever the size of the file. Whoever could open
the file before has had its file key and keeps it; only ``rekey`` shuts them out, of what they have
not copied.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from torchkeep.core import files
from torchkeep.core.errors import UsageError
from torchkeep.vault import blocks, opening
from torchkeep.vault.errors import Withheld
from torchkeep.vault.reading import Level
from torchkeep.vault.recipients import Identity, Recipient, check


def rewrap(
    location: str | os.PathLike[str],
    identities: Sequence[Identity],
    recipients: Sequence[Recipient],
    *,
    mixed: bool = False,
) -> int:
    """Seal a file for other recipients.

    Args:
        location: The sealed file.
        identities: What opens it now.
        recipients: Who shall be able to open it from now on, all of them.
        mixed: Whether recipients of unequal strength may stand together.

    Returns:
        Bytes that were added.

    Raises:
        Refused: It cannot be opened, or its policy does not allow one of the recipients.
        UsageError: The recipients do not go together.
    """
    check(recipients, mixed=mixed)
    with files.locked(location), opening.open(location, identities, level=Level.TAGS) as sealed:
        frame = sealed.frame
        allowed = frame.manifest.policy.recipients
        if allowed is not None and any(one.id not in allowed for one in recipients):
            raise Withheld(
                f"{frame.name} may not be sealed for everybody named: its policy lists who may",
                next="seal it anew, or name recipients that its policy lists",
            )
        source, start = frame.source, frame.block.immutable
        before = source.read(start, source.size - start)
        stanzas = [one.wrap(sealed.file_key, frame.header_hash) for one in recipients]
        block = blocks.following(frame.block, before, stanzas).encode(sealed.schedule)
        if len(before) + len(block) > blocks.MOST_BYTES:
            raise UsageError(
                f"{frame.name} was sealed for others too often: its key blocks are full",
                next="write it anew with torchkeep rekey",
            )
        files.append(location, block)
        return len(block)
