"""Secrets that lie in a project's files, found by their form. They are named and never shown."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# Formats as their issuers publish them. A key that is itself encrypted is no finding.
_PATTERNS: Final = (
    ("private-key", rb"-----BEGIN (?:RSA |EC |DSA )?PRIVATE KEY-----"),
    ("openssh-key", rb"-----BEGIN OPENSSH PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]{64})"),
    ("age-key", rb"AGE-SECRET-KEY-(?:PQ-)?1[02-9AC-HJ-NP-Z]{58,}"),
    ("aws-key", rb"\b(?:AKIA|ASIA)(?![A-Z2-7]*EXAMPLE)[A-Z2-7]{16}\b"),
    ("github-token", rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{82})\b"),
    ("gitlab-token", rb"\bglpat-[A-Za-z0-9_-]{20}\b"),
    ("hugging-face-token", rb"\bhf_[A-Za-z]{34}\b"),
    ("openai-key", rb"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}"),
    ("anthropic-key", rb"\bsk-ant-(?:api|admin)\d\d-[A-Za-z0-9_-]{80,}"),
    ("google-key", rb"\bAIza[A-Za-z0-9_-]{35}\b"),
    ("slack-token", rb"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    ("aliyun-key", rb"\bLTAI[A-Za-z0-9]{20}\b"),
    ("tencent-key", rb"\bAKID[A-Za-z0-9]{32}\b"),
    (
        "url-password",
        rb"\b[a-z][a-z0-9+.-]{2,20}://[^\s:/@'\"<>{}$]{1,64}:[^\s:/@'\"<>{}$]{3,64}@[\w.-]+",
    ),
)
_ANY: Final = re.compile(
    b"|".join(b"(?P<k%d>%b)" % (n, pattern) for n, (_, pattern) in enumerate(_PATTERNS))
)
_ENCRYPTED_PEM: Final = re.compile(rb"\s*Proc-Type: 4,ENCRYPTED")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a file.

    Attributes:
        kind: What it is.
        line: 1-based line on which it starts.
    """

    kind: str
    line: int


def is_text(data: bytes) -> bool:
    """Whether ``data`` starts like a text file."""
    return b"\0" not in data[:8192]


def find(data: bytes) -> Iterator[Secret]:
    """Every secret in the bytes of a text file."""
    for match in _ANY.finditer(data):
        kind = _PATTERNS[int((match.lastgroup or "k0")[1:])][0]
        if not _is_encrypted(kind, match, data):
            yield Secret(kind, data.count(b"\n", 0, match.start()) + 1)


def _is_encrypted(kind: str, match: re.Match[bytes], data: bytes) -> bool:
    if kind == "private-key":
        return _ENCRYPTED_PEM.match(data, match.end()) is not None
    if kind == "openssh-key":
        return not _openssh_cipher(match[0]).startswith(b"none")
    return False


def _openssh_cipher(block: bytes) -> bytes:
    """Name of the cipher in ``openssh-key-v1``: magic, then u32 length and name."""
    encoded = b"".join(block.split(b"-----")[-1].split())
    try:
        blob = base64.b64decode(encoded[: len(encoded) // 4 * 4])
    except binascii.Error:
        return b"none"
    return blob.removeprefix(b"openssh-key-v1\0")[4:20]
