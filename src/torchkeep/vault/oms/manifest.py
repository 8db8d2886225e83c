"""What is signed: the names and digests of a model's files, as an in-toto statement."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torchkeep.core import statement, strict
from torchkeep.core.errors import Foreign
from torchkeep.vault.oms import folder

_PREDICATE: Final = "https://model_signing/signature/v1.0"
_ALGORITHM: Final = "sha256"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Files with their digests.

    Attributes:
        model: What the signer calls the model; for people.
        digests: SHA-256 of each file in hex, by its name.
    """

    model: str
    digests: Mapping[str, str]

    def payload(self, ignored: Iterable[str]) -> bytes:
        """The manifest as the JSON of a statement.

        Args:
            ignored: What was left out of it.
        """
        resources = [
            {"name": name, "algorithm": _ALGORITHM, "digest": value}
            for name, value in self.digests.items()
        ]
        document = {
            "_type": statement.TYPE,
            "subject": [{"name": self.model, "digest": {_ALGORITHM: _root(self.digests.values())}}],
            "predicateType": _PREDICATE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": _ALGORITHM,
                    "allow_symlinks": False,
                    "ignore_paths": sorted(ignored),
                },
                "resources": resources,
            },
        }
        return json.dumps(document).encode()


def read(payload: bytes) -> Manifest:
    """The manifest in a statement.

    What the signer left out is not read: what a folder may hold besides is for its reader to say.

    Raises:
        Foreign: It is none, or one of a kind that is not known here.
    """
    try:
        return _read(strict.loads(payload))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f": {error}" if type(error) is ValueError else ""
        raise Foreign(
            f"what was signed is no manifest of a model's files{reason}",
            next="sign the folder file by file, with SHA-256",
        ) from error


def _read(document: Mapping[str, Any]) -> Manifest:
    if (document["_type"], document["predicateType"]) != (statement.TYPE, _PREDICATE):
        raise ValueError("it is a statement of another type")
    predicate, (subject,) = document["predicate"], document["subject"]
    how = predicate["serialization"]
    if (how["method"], how["hash_type"]) != ("files", _ALGORITHM):
        raise ValueError("it was made in another way than by SHA-256 of whole files")
    digests: dict[str, str] = {}
    for resource in predicate["resources"]:
        name, value = resource["name"], resource["digest"]
        if not folder.is_name(name):
            raise ValueError("it names a file outside of the folder")
        if resource["algorithm"] != _ALGORITHM or not _SHA256.fullmatch(value):
            raise ValueError("it has a digest that is no SHA-256")
        if name in digests:
            raise ValueError("it names a file twice")
        digests[name] = value
    if subject["digest"] != {_ALGORITHM: _root(digests.values())}:
        raise ValueError("its digest is not that of its files")
    return Manifest(str(subject["name"]), digests)


def _root(digests: Iterable[str]) -> str:
    """The digest that names a model: over those of its files, in their order."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
