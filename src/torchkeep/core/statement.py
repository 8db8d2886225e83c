"""Statements: what was done or measured, about which bytes, in a form that others can check.

A statement is an in-toto Statement v1 (https://in-toto.io/Statement/v1) in a DSSE envelope. Its
subjects are named by digest, so it says nothing about bytes that have changed since.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from torchkeep import __version__
from torchkeep.core import actor, strict
from torchkeep.core.dsse import Envelope
from torchkeep.core.errors import Foreign
from torchkeep.core.finding import encodable

REPOSITORY: Final = "https://github.com/torchkeep/torchkeep"
TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
SCHEMA_VERSION: Final = 1

KINDS: Final = (
    "scan",
    "deid",
    "dp-training",
    "dp-release",
    "robustness",
    "leakage",
    "watermark",
    "obfuscation",
    "sealing",
    "backup",
    "training-record",
    "derivation",
)

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Subject:
    """Bytes that a statement is about.

    Attributes:
        name: What the file was called; for people, never matched.
        sha256: Digest of the file's bytes.
        content: Digest of the weights in it (:mod:`torchkeep.core.digest`), for weights.

    Raises:
        ValueError: A digest is not 64 lower-case hexadecimal digits.
    """

    name: str
    sha256: str
    content: str | None = None

    def __post_init__(self) -> None:
        if not all(map(_SHA256.fullmatch, self.digests)):
            raise ValueError("expected a SHA-256 in lower-case hexadecimal digits")

    @property
    def digests(self) -> frozenset[str]:
        """Every digest that names it."""
        return frozenset({self.sha256} if self.content is None else {self.sha256, self.content})

    def to_json(self) -> dict[str, Any]:
        """An in-toto ResourceDescriptor."""
        digest = {"sha256": self.sha256} | ({"content": self.content} if self.content else {})
        return {"name": encodable(self.name), "digest": digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Something said about subjects.

    Attributes:
        kind: One of :data:`KINDS`.
        subjects: What it is about; at least one.
        predicate: What is said; :func:`state` fills in the common fields.

    Raises:
        ValueError: The kind is unknown, there is no subject, or the predicate lacks a result or a
            time with its zone.
    """

    kind: str
    subjects: tuple[Subject, ...]
    predicate: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not self.subjects:
            raise ValueError("expected a known kind and a subject")
        if not isinstance(self.predicate.get("result"), Mapping) or not self.finished:
            raise ValueError("expected a predicate with a result")

    @property
    def finished(self) -> datetime:
        """When the work that it speaks of ended, in UTC."""
        moment = datetime.fromisoformat(str(self.predicate.get("finished")))
        if moment.tzinfo is None:
            raise ValueError("expected a time with its zone")
        return moment.astimezone(UTC)

    @property
    def result(self) -> Mapping[str, Any]:
        """The ``--json`` object of the command that left it."""
        result: Mapping[str, Any] = self.predicate["result"]
        return result

    def envelope(self) -> Envelope:
        """The statement in an envelope without signatures."""
        document = {
            "_type": TYPE,
            "subject": [subject.to_json() for subject in self.subjects],
            "predicateType": _predicate_type(self.kind),
            "predicate": self.predicate,
        }
        payload = json.dumps(document, sort_keys=True, allow_nan=False)
        return Envelope(PAYLOAD_TYPE, payload.encode())

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Statement:
        """Read the statement in ``envelope``; its signatures are not looked at.

        Raises:
            Foreign: The payload is not a statement of torchkeep.
        """
        try:
            document = strict.loads(envelope.payload)
            if envelope.payload_type != PAYLOAD_TYPE or document["_type"] != TYPE:
                raise ValueError("type")
            return cls(
                kind=_kind(document["predicateType"]),
                subjects=tuple(_subject(entry) for entry in document["subject"]),
                predicate=document["predicate"],
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise Foreign(
                "not a torchkeep statement: expected an in-toto Statement v1 with a predicate"
                f" type below {REPOSITORY}"
            ) from error


def state(
    kind: str,
    subjects: Sequence[Subject],
    result: Mapping[str, Any],
    *,
    started: datetime,
    argv: Sequence[str] = (),
    seed: int | None = None,
    inputs: Mapping[str, str] | None = None,
    not_measured: Sequence[str] = (),
) -> Statement:
    """Make a statement about work that has just ended.

    Args:
        kind: One of :data:`KINDS`.
        subjects: What the work was about.
        result: The ``--json`` object of the work.
        started: When the work began, with a time zone.
        argv: The command line, without secrets.
        seed: The seed that reproduces it.
        inputs: SHA-256 of policy, data and code that went in, by name.
        not_measured: What a reader might expect and was not measured.
    """
    predicate = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "torchkeep", "version": __version__},
        "argv": argv,
        "actor": str(actor.current()),
        "seed": seed,
        "environment": environment(),
        "inputs": inputs or {},
        "result": result,
        "not_measured": not_measured,
        "started": started.astimezone(UTC).isoformat(),
        "finished": datetime.now(UTC).isoformat(),
    }
    return Statement(kind=kind, subjects=tuple(subjects), predicate=encodable(predicate))


def derivation(
    source: Subject, target: Subject, verb: str, settings: Mapping[str, Any]
) -> Statement:
    """State that ``verb`` made ``target`` out of ``source``."""
    now = datetime.now(UTC)
    result = {"from": source.to_json(), "to": target.to_json(), "verb": verb}
    return state("derivation", [target], {**result, "settings": dict(settings)}, started=now)


def environment() -> dict[str, str]:
    """What the result may depend on: interpreter, platform, and torch where it is loaded."""
    out = {"python": platform.python_version(), "platform": platform.platform()}
    if torch := sys.modules.get("torch"):
        out["torch"] = str(torch.__version__)
    return out


def _kind(predicate_type: str) -> str:
    kind = predicate_type.removeprefix(f"{REPOSITORY}/").removesuffix(f"/v{SCHEMA_VERSION}")
    if predicate_type != _predicate_type(kind):
        raise ValueError(predicate_type)
    return kind


def _predicate_type(kind: str) -> str:
    return f"{REPOSITORY}/{kind}/v{SCHEMA_VERSION}"


def _subject(entry: Mapping[str, Any]) -> Subject:
    name, digest = entry.get("name", ""), entry["digest"]
    if not isinstance(name, str):
        raise TypeError(name)
    return Subject(name, digest["sha256"], digest.get("content"))
