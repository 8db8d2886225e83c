"""Why a sealed file is refused.

::

    Refused              1
    ├── Damaged             it is not what was sealed: changed, cut short, put together anew
    ├── NoIdentity          none of the identities opens it
    ├── Untrusted           nobody who is trusted has signed it
    └── Withheld            its policy, or a newer version, forbids to use it

What is wrong is said by name of the section, never by a value from within: cryptographic failures
say nothing more than that they failed.
"""

from __future__ import annotations

from torchkeep.core.errors import Refused


class Damaged(Refused):
    """The file is not what was sealed."""

    code = "damaged"

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name} is refused: {what}", next="fetch it again from whoever sealed it")


class NoIdentity(Refused):
    """None of the identities opens the file."""

    code = "no-identity"


class Untrusted(Refused):
    """Nobody who is trusted has signed the file."""

    code = "untrusted"


class Withheld(Refused):
    """The file's policy, or what is known of newer versions, forbids to use it."""

    code = "withheld"
