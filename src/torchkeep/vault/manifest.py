"""The manifest: what is known when the last byte of data has been written, and gets signed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from torchkeep.vault import canonical, tree
from torchkeep.vault.canonical import Fields, from_hex
from torchkeep.vault.schedule import LENGTH, PREFIX

LONGEST: Final = 1 << 20
"""Bytes of the longest manifest."""

_MOST_BYTES: Final = (1 << 53) - 1
_MOST_RECIPIENTS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a file may be used. It deters whoever keeps to the rules; it cannot force anybody.

    Attributes:
        not_before: Seconds since 1970 before which nobody should open it; None for no bound.
        not_after: Seconds since 1970 after which nobody should open it.
        versions: Lowest and highest version of the model that may still be used.
        recipients: Ids of the only ones it may be sealed for; None for anybody.
    """

    not_before: int | None = None
    not_after: int | None = None
    versions: tuple[int, int] | None = None
    recipients: tuple[bytes, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The policy as it stands in a manifest: what is None is absent."""
        recipients = None if self.recipients is None else [one.hex() for one in self.recipients]
        versions = None if self.versions is None else list(self.versions)
        all_of_it = {
            "not_after": self.not_after,
            "not_before": self.not_before,
            "recipients": recipients,
            "versions": versions,
        }
        return {key: value for key, value in all_of_it.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What closes a file.

    Attributes:
        data: Bytes of the data as they stand in the file.
        header: Hash of the header.
        index: Bytes of the index as they stand in the file.
        root: Root of the digest tree over both.
        segments: Segments that both are cut into.
        sealed: When, in seconds since 1970.
        policy: How it may be used.
    """

    data: int
    header: bytes
    index: int
    root: bytes
    segments: int
    sealed: int
    policy: Policy = field(default_factory=Policy)

    def encode(self) -> bytes:
        """The section as it stands in a file."""
        body = canonical.encode(
            {
                "data": self.data,
                "header": self.header.hex(),
                "index": self.index,
                "policy": self.policy.to_json(),
                "root": self.root.hex(),
                "sealed": self.sealed,
                "segments": self.segments,
            }
        )
        return len(body).to_bytes(4, "little") + body


@dataclass(frozen=True, slots=True)
class Places:
    """Where each section of a file starts; all follow from header and manifest."""

    data: int
    index: int
    entries: int
    manifest: int

    @classmethod
    def of(cls, header: int, manifest: Manifest) -> Places:
        """The places behind a header of ``header`` bytes."""
        index = header + manifest.data
        entries = index + manifest.index
        return cls(header, index, entries, entries + sum(tree.sizes(manifest.segments)))


def signed(header_hash: bytes, section: bytes) -> bytes:
    """What signatures are over: the header and the manifest as they stand in the file."""
    return PREFIX + b"signature" + header_hash + hashlib.sha256(section).digest()


def decode(body: bytes) -> Manifest:
    """Read the JSON of a manifest.

    Raises:
        ValueError: It is none.
    """
    fields = Fields(canonical.decode(body))
    manifest = Manifest(
        data=fields.number("data", 0, _MOST_BYTES),
        header=fields.hexadecimal("header", LENGTH),
        index=fields.number("index", 16, _MOST_BYTES),
        policy=_policy(fields.take("policy")),
        root=fields.hexadecimal("root", LENGTH),
        sealed=fields.number("sealed", 0, _MOST_BYTES),
        segments=fields.number("segments", 1, _MOST_BYTES),
    )
    fields.done()
    return manifest


def _policy(value: object) -> Policy:
    fields = Fields(value)

    def moment(key: str) -> int | None:
        return fields.number(key, 0, _MOST_BYTES) if fields.has(key) else None

    versions = recipients = None
    if fields.has("versions"):
        versions = fields.items("versions", 2, _version)
        if len(versions) != 2 or versions[0] > versions[1]:
            raise ValueError("versions are not [lowest, highest]")
    if fields.has("recipients"):
        recipients = fields.items("recipients", _MOST_RECIPIENTS, lambda one: from_hex(one, LENGTH))
        if list(recipients) != sorted(set(recipients)):
            raise ValueError("recipients are not in order")
    policy = Policy(
        not_before=moment("not_before"),
        not_after=moment("not_after"),
        versions=(versions[0], versions[1]) if versions else None,
        recipients=recipients,
    )
    fields.done()
    return policy


def _version(value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MOST_BYTES:
        raise ValueError("a version is no number")
    return value
