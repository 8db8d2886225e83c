"""Secrets that lie in a project's files, found by their form. They are named and never shown."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

# What may stand between a key's first line and its bytes: line ends, as such or as JSON and source
# code spell them. The head of a key under a passphrase ("Proc-Type: ...") is none of these.
_GAP: Final = rb"(?:[\s\"',+]|\\[nr]){0,64}"

# Formats as their issuers publish them. Each starts with a literal, which the search finds at the
# speed of memory, and looks at what stands before it afterwards; every repeat is bounded or
# followed by nothing. So time grows with the length of a text and not with what is in it.
_FORMS: Final = {
    "private-key": (rb"-----BEGIN (?:RSA |EC |DSA )?PRIVATE KEY-----%b[A-Za-z0-9+/]{20}" % _GAP,),
    # In base64: "openssh-key-v1", NUL, and as the name of the cipher "none".
    "openssh-key": (
        rb"-----BEGIN OPENSSH PRIVATE KEY-----%bb3BlbnNzaC1rZXktdjEAAAAABG5vbmU" % _GAP,
    ),
    "age-key": (rb"AGE-SECRET-KEY-(?:PQ-)?1[02-9AC-HJ-NP-Z]{58}",),
    "aws-key": (
        rb"AKIA(?<!\wAKIA)(?![A-Z2-7]{0,9}EXAMPLE)[A-Z2-7]{16}(?!\w)",
        rb"ASIA(?<!\wASIA)(?![A-Z2-7]{0,9}EXAMPLE)[A-Z2-7]{16}(?!\w)",
    ),
    "github-token": (
        rb"gh[pousr]_(?<!\wgh._)[A-Za-z0-9]{36}",
        rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    ),
    "gitlab-token": (rb"glpat-(?<!\wglpat-)[A-Za-z0-9_-]{20}",),
    "hugging-face-token": (rb"hf_(?<!\whf_)[A-Za-z0-9]{34}",),
    # Every one has "OpenAI" in base64 in its middle; _has_prefix looks at what stands before it.
    "openai-key": (rb"T3BlbkFJ[A-Za-z0-9_-]{20}",),
    "anthropic-key": (rb"sk-ant-[a-z]{3,8}\d\d-[A-Za-z0-9_-]{80}",),
    "google-key": (rb"AIza(?<![\w-]AIza)[A-Za-z0-9_-]{35}(?![\w-])",),
    "slack-token": (rb"xox[abeprs]-(?<!\wxox.-)[A-Za-z0-9-]{20}",),
    "aliyun-key": (rb"LTAI(?<!\wLTAI)[A-Za-z0-9]{12,26}(?!\w)",),
    "tencent-key": (rb"AKID(?<!\wAKID)[A-Za-z0-9]{32}(?!\w)",),
    # Words that stand for a password, and hosts that are set aside for examples, are none.
    "url-password": (
        rb"://(?<=[A-Za-z0-9+.-]{3}://)[^\s:/@'\"<>{}$]{0,64}:"
        rb"(?!(?i:pass(?:word|wd)?|pwd|secret|[*x.]+)@)[^\s:/@'\"<>{}$]{3,256}"
        rb"@(?!(?:[\w-]+\.)*(?:example\.|(?:example|invalid|test)(?![\w.-])))[\w.-]+",
    ),
}
KINDS: Final = tuple(_FORMS)
_LINES: Final = 5  # that a report names; the others are only counted
_TOKEN: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
_ENCODINGS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Secret:
    """Secrets of one kind in one file.

    Attributes:
        kind: What they are, one of :data:`KINDS`.
        lines: 1-based lines on which the first of them start.
        count: How many there are.
    """

    kind: str
    lines: tuple[int, ...]
    count: int


def is_text(data: bytes) -> bool:
    """Whether ``data`` starts like a text file: without a NUL, or marked as UTF-16 or UTF-32."""
    return _encoding(data) is not None or b"\0" not in data[:8192]


def find(data: bytes) -> Iterator[Secret]:
    """The secrets in the bytes of a text file, each kind once."""
    if encoding := _encoding(data):
        data = data.decode(encoding, "replace").encode()
    for kind in KINDS:
        starts = sorted(_starts(kind, data))
        if starts:
            yield Secret(kind, tuple(_lines(data, starts)), len(starts))


def _encoding(data: bytes) -> str | None:
    return next((name for mark, name in _ENCODINGS if data.startswith(mark)), None)


def _starts(kind: str, data: bytes) -> Iterator[int]:
    for form in _FORMS[kind]:
        for match in re.finditer(form, data):
            if kind != "openai-key" or _has_prefix(data, match.start()):
                yield match.start()


def _has_prefix(data: bytes, middle: int) -> bool:
    """Whether what stands before the middle of an OpenAI key starts like one."""
    before = data[max(middle - 200, 0) : middle]
    return b"sk-" in before[len(before.rstrip(_TOKEN)) : -20]


def _lines(data: bytes, starts: Sequence[int]) -> Iterator[int]:
    """The first different lines on which something starts."""
    line, seen, last = 1, 0, 0
    told = 0
    for start in starts:
        line += data.count(b"\n", seen, start)
        seen = start
        if line != last:
            yield line
            last, told = line, told + 1
            if told == _LINES:
                return
