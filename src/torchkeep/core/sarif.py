"""SARIF 2.1.0, which code hosts and editors show beside the code: what all our documents share.

Follows https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/, section numbers in brackets.
English, and the same for the same facts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from torchkeep import __version__
from torchkeep.core.finding import Location, encodable
from torchkeep.core.messages import Message, message
from torchkeep.core.statement import REPOSITORY
from torchkeep.core.text import visible

_SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_ROOT: Final = "ROOT"


def document(
    rules: Iterable[Mapping[str, Any]],
    results: Iterable[Mapping[str, Any]],
    *,
    invocation: Mapping[str, Any],
    root: str,
    properties: Mapping[str, Any],
) -> str:
    """SARIF text; characters outside ASCII are escaped, so it is harmless wherever it is shown.

    Args:
        rules: What :func:`descriptor` made, in the order that ``ruleIndex`` counts in.
        results: One for each thing that was found.
        invocation: How the run ended [3.20].
        root: Which folder relative names start from, in a sentence.
        properties: What else is known of the run, and SARIF has no word for.
    """
    driver = {"name": "torchkeep", "version": __version__, "informationUri": REPOSITORY}
    run = {
        "tool": {"driver": driver | {"rules": list(rules)}},
        "invocations": [invocation],
        "originalUriBaseIds": {_ROOT: {"description": {"text": root}}},
        "columnKind": "unicodeCodePoints",
        "results": list(results),
        "properties": properties,
    }
    whole = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(whole, indent=2, allow_nan=False)


def descriptor(id: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """A rule [3.49].

    Args:
        id: Its id.
        texts: What is written about it, by section (:data:`torchkeep.core.rule.SECTIONS`).
    """
    title = texts.get("title") or id
    out: dict[str, Any] = {
        "id": id,
        "shortDescription": {"text": plain(title)},
        "fullDescription": {"text": plain(texts.get("threat", title))},
    }
    more = {name: text for name, text in texts.items() if name != "title"}
    return out | ({"help": _help(more)} if more else {})


def location(place: Location) -> dict[str, Any]:
    """Where something lies [3.28]."""
    physical: dict[str, Any] = {"artifactLocation": artifact(place.path)}
    out: dict[str, Any] = {"physicalLocation": physical}
    if place.member:  # line and offset count inside the member, which SARIF viewers cannot open
        name = encodable(place.member)
        out["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "member"}]
    elif place.line:
        physical["region"] = {"startLine": place.line}
    elif place.offset is not None:
        physical["region"] = {"byteOffset": place.offset}
    return out


def artifact(path: str) -> dict[str, str]:
    """A file by its path below the root [3.4]."""
    return {"uri": uri(path), "uriBaseId": _ROOT}


def uri(path: str) -> str:
    """A relative reference: it names no scheme and no host whatever the file is called."""
    try:
        name = path.encode("utf-8", "surrogateescape")  # stray bytes of a file name, as they are
    except UnicodeEncodeError:
        name = visible(path).encode()
    return quote(name.lstrip(b"/"), safe="/")


def fingerprint(*parts: object) -> dict[str, str]:
    """``partialFingerprints`` [3.27.17] of a result that is told by ``parts``, JSON data."""
    text = json.dumps(parts)
    return {"torchkeepFinding/v1": hashlib.sha256(text.encode()).hexdigest()}


def identity(reason: Message) -> list[Any]:
    """Which sentence it is, without numbers and lines that change from run to run."""
    kinds = [identity(value) for value in reason.args.values() if isinstance(value, Message)]
    return [reason.id or reason.text(), *kinds]


def plain(text: str) -> str:
    """Text in which nothing is a placeholder [3.11.5] or a link [3.11.6]."""
    lines = "\n".join(map(visible, text.split("\n")))
    return lines.replace("{", "{{").replace("}", "}}").replace("](", "] (")


def _help(texts: Mapping[str, str]) -> dict[str, str]:
    parts = [
        (message(f"report.sections.{name}").text(), plain(text)) for name, text in texts.items()
    ]
    return {
        "text": "\n\n".join(f"{label}: {text}" for label, text in parts),
        "markdown": "\n\n".join(f"**{label}.** {_markdown(text)}" for label, text in parts),
    }


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>#|~&!])", r"\\\1", text)
