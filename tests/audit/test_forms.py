"""Every form shows the same rows, and none of them acts on what it shows."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from datetime import date
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from makers.projects import project, safetensors
from makers.reports import NASTY, expected, finding, forms, report, reports, shown

from torchkeep.audit import run
from torchkeep.audit.render import FORMS, render, terminal
from torchkeep.core import strict
from torchkeep.core.finding import Location, State, Waiver
from torchkeep.core.messages import LANGUAGES, plain
from torchkeep.core.text import width

thorough = settings(max_examples=60, deadline=None)
ALL_NASTY = report(*(finding(State.FAIL, subject=text, reason=plain(text)) for text in NASTY))


def is_inert(text: str) -> bool:
    """Whether no character but a line's end is a control, a mark of direction, or half of one."""
    kinds = {unicodedata.category(char) for char in set(text) - {"\n"}}
    return not any(kind[0] == "C" or kind in ("Zl", "Zp") for kind in kinds)


def elements(page: str) -> set[str]:
    """Every element and attribute of a page: ``table``, ``table class``."""
    found = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.update(
        {tag, *(f"{tag} {k}" for k, _ in attrs)}
    )
    parser.feed(page)
    return found


def test_every_renderer_is_there():
    assert forms() == list(FORMS)


@thorough
@given(reports)
@example(ALL_NASTY)
@example(report())
@example(report(finding(State.FAIL, subject="a"), finding(State.FAIL, subject="a: b")))
@example(report(finding(State.PASS, subject="project", location=Location(path="project"))))
def test_every_form_shows_the_same_rows(found):
    for form in forms():
        for language in LANGUAGES:
            assert shown(found, form, language) == expected(found), form


@pytest.mark.parametrize("form", forms())
def test_a_row_that_is_lost_is_noticed(form):
    """The planted fault: a renderer that drops what passed."""
    whole = report(finding(State.FAIL), finding(State.PASS, subject="b"))
    cut = report(whole.findings[0])
    assert shown(cut, form) != expected(whole)
    assert expected(whole) - shown(cut, form) == Counter([("TK-SCAN-001", "b", "pass")])


@thorough
@given(reports)
@example(ALL_NASTY)
def test_a_terminal_shows_no_character_that_acts(found):
    for language in LANGUAGES:
        plainly = terminal.render(found, language)
        assert is_inert(plainly)
        coloured = terminal.render(found, language, colour=True)
        assert re.sub(r"\x1b\[(?:0|2|3[1-6]|1;3[125]|1)m", "", coloured) == plainly


@thorough
@given(reports)
@example(ALL_NASTY)
def test_json_is_ascii_for_the_strictest_reader(found):
    for form in set(forms()) & {"json", "sarif"}:
        text = render(found, form)
        assert text.isascii()
        assert is_inert(text)
        # No key twice, no NaN, and no half of a character that UTF-8 could not carry.
        json.dumps(strict.loads(text.encode()), ensure_ascii=False).encode()


@thorough
@given(reports)
@example(ALL_NASTY)
def test_a_page_has_no_markup_of_strangers(found):
    if "html" in forms():
        text = render(found, "html")
        names = elements(text)
        assert not {"script", "img", "iframe"} & names
        assert not {name for name in names if " on" in name}
        assert is_inert(text)
        text.encode()


HOSTILE = {
    b"stray\xff.pt": b"\x80\x02}.",
    "esc\x1b[2J.pt": b"\x80\x02}.",
    "bidi\u202egpj.pt": b"\x80\x02}.",
    "<script>alert(1)<.safetensors": safetensors(a=b"1234"),
    "new\nline.pt": b"\x80\x02}.",
    "tab\t\u200bzero.bin": b"?",
    "$(touch pwned).pkl": b"\x80\x04}.",
    "-x.pt": b"\x80\x02}.",
}
NAMED = r"""
[project]
name = "\u001b[2J<script>\u202e模型"

[models."\u001b]0;x\u0007<b>"]
weights = "esc\u001b[2J.pt"
build = "model:build"

[[waivers]]
rule = "TK-SCAN-001"
subject = "-x.pt"
owner = "<script>\u001b[31m"
reason = "\u202e\u0000\n'\"$(touch pwned)"
expires = 2026-11-30
"""


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A project in which every name that a stranger can choose is hostile."""
    found = run(project(tmp_path, HOSTILE | {"torchkeep.toml": NAMED}), today=date(2026, 11, 23))
    assert any(row.state is State.WAIVED for row in found.findings)
    return found


@pytest.mark.parametrize("form", forms())
@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_names_of_a_real_project_are_harmless(hostile, form, language):
    assert shown(hostile, form, language) == expected(hostile)
    text = render(hostile, form, language)
    assert is_inert(text)
    assert "<script" not in text or form != "html"


@pytest.mark.parametrize("columns", [1, 60, 72, 80, 100, 200])
@pytest.mark.parametrize("language", LANGUAGES)
def test_lines_fit_the_terminal(hostile, columns, language):
    text = terminal.render(hostile, language, columns=columns)
    for line in text.splitlines():
        # A command is never folded, and a word that is longer than a line stands alone on one.
        if "torchkeep " not in line and max(map(width, line.split()), default=0) < 20:
            assert width(line) <= max(columns, 60) + 2, line  # a Chinese comma may hang over


def test_words_are_folded_and_none_is_lost():
    reason = plain("one two three " * 40, "一二三，四五六。" * 40)
    found = report(finding(State.FAIL, reason=reason, required=reason))
    for language in LANGUAGES:
        narrow = terminal.render(found, language, columns=60)
        wide = terminal.render(found, language, columns=100_000)
        assert "".join(narrow.split()) == "".join(wide.split())
        assert not re.search(r"^\s*[，。]", narrow, re.MULTILINE)


def test_a_waiver_and_its_day_are_told_in_every_form():
    waiver = Waiver(rule="TK-SCAN-001", reason="known", owner="me", expires=date(2026, 12, 24))
    found = report(
        finding(State.WAIVED, waiver=waiver), finding(State.FAIL, subject="b", waiver=waiver)
    )
    for form in forms():
        for language in LANGUAGES:
            text = render(found, form, language)
            assert "2026-12-24" in text
            assert "known" in text


def test_the_terminal_says_what_was_left_out_and_what_is_unknown():
    skipped = tuple(f"folder-{n}" for n in range(7))
    text = terminal.render(report(finding(State.NOT_MEASURED), skipped=skipped))
    assert "folder-4 (+2)" in text
    assert "never counts as passed" in text
