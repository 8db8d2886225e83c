"""DSSE envelopes: a payload, its type, and signatures over both.

Follows https://github.com/secure-systems-lab/dsse, version 1.0.2. Signing and verifying need keys
and live in the vault; this module knows only the bytes.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from torchkeep.core import strict
from torchkeep.core.errors import Foreign


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature.

    Attributes:
        keyid: Hint at the key; it is not authenticated and decides nothing.
        sig: The signature's bytes, over :func:`pae`.
    """

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with its signatures; none means that it is unsigned."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def signed_bytes(self) -> bytes:
        """What each signature is over."""
        return pae(self.payload_type, self.payload)

    def to_bytes(self) -> bytes:
        """The envelope as JSON."""
        return json.dumps(
            {
                "payloadType": self.payload_type,
                "payload": base64.b64encode(self.payload).decode(),
                "signatures": [
                    {"keyid": s.keyid, "sig": base64.b64encode(s.sig).decode()}
                    for s in self.signatures
                ],
            },
            indent=1,
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read an envelope.

        Raises:
            Foreign: ``data`` is not one.
        """
        try:
            document = strict.loads(data)
            signatures = document["signatures"]
            if not isinstance(signatures, list):
                raise TypeError(signatures)
            return cls(
                _string(document["payloadType"]),
                _decode(document["payload"]),
                tuple(
                    Signature(_string(entry.get("keyid", "")), _decode(entry["sig"]))
                    for entry in signatures
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Foreign(
                "not a DSSE envelope: expected JSON with payloadType, payload and signatures"
            ) from error


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what a DSSE signature is computed over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # JSON can spell half of a character, which no signature could be over
    return value


def _decode(value: Any) -> bytes:
    # The specification has readers accept both alphabets.
    return base64.b64decode(_string(value).translate({45: "+", 95: "/"}), validate=True)
