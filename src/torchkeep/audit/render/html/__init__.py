"""The report as one HTML page that runs nothing, loads nothing and prints.

Names of files, tensors and entries belong to whoever made the file. Every string becomes visible
and escaped in :mod:`torchkeep.audit.render.html.markup`, and a content security policy allows one
style sheet, by its hash, and nothing else.

Every finding has a row of its own, however many there are: a page of 500 stays below 400 kB, and
a thousand more add about 0.5 MB. A long name scrolls in its row and is never cut.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from torchkeep import __version__
from torchkeep.audit.render.html import appendix, chapters, head
from torchkeep.audit.render.html.markup import Html, symbols, tag
from torchkeep.audit.render.html.words import Words
from torchkeep.audit.report import Report

_TAGS: Final = {"en": "en", "zh": "zh-Hans"}


def render(report: Report, language: str = "en") -> str:
    """The report as the text of one HTML file; ``language`` is ``en`` or ``zh``."""
    words = Words(language)
    body = tag(
        "body",
        symbols(),
        head.header(words, report),
        tag(
            "main",
            head.overview(words, report),
            *(
                chapters.chapter(words, report, name, findings)
                for name, findings in report.chapters().items()
            ),
            *appendix.sections(words, report),
        ),
        tag(
            "footer",
            tag("p", f"torchkeep {__version__}"),
            tag("p", words.say("labels.self-contained")),
        ),
    )
    return f"<!DOCTYPE html>\n{tag('html', _head(words, report), body, lang=_TAGS[language])}\n"


def _head(words: Words, report: Report) -> Html:
    style = _style(words)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    verdict = words.say(f"verdicts.{report.verdict.value}")
    return tag(
        "head",
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"{report.project}: {verdict} - torchkeep"),
        tag("style", Html(style)),
    )


def _style(words: Words) -> str:
    """The style sheet, and the words with which it labels cells that stand without their head."""
    labels = "".join(
        f'--{name}:"{words.say(f"columns.{name}")}";' for name in ("measured", "required", "fix")
    )
    return f"{_sheet()}:root{{{labels}}}\n"


@cache
def _sheet() -> str:
    return Path(__file__).with_name("report.css").read_text("utf-8")


__all__ = ["render"]
