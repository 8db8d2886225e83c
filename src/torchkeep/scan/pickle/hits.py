"""What a pickle does that the policy does not allow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class What(StrEnum):
    """Kinds of hits."""

    GLOBAL = "global"  # a name that the policy does not know
    DOTTED = "dotted"  # a name that walks from attribute to attribute
    CALL = "call"  # a call that the policy does not allow
    KEPT = "kept"  # a function that is kept to be called later
    STATE = "state"  # state set on something that should take none
    FILL = "fill"  # items put into something that should hold none
    EXTENSION = "extension"  # a name hidden in the extension registry
    PERSISTENT = "persistent"  # an object from outside of the stream
    FRAME = "frame"  # frames that unpicklers would read differently
    BOMB = "bomb"  # more memory or time than any model needs


@dataclass(frozen=True, slots=True)
class Hit:
    """Something in a pickle that the policy does not allow.

    Attributes:
        what: Its kind.
        about: The name, or what else it is about.
        offset: Byte offset in the source.
        opcode: The opcode there.
    """

    what: What
    about: str
    offset: int
    opcode: str
