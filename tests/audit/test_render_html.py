"""The HTML report shows every finding, runs nothing, loads nothing, and can be read by everyone."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest
from doubles import reports
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.audit import run
from torchkeep.audit.render import render
from torchkeep.audit.render.html import chapters, markup
from torchkeep.core.finding import Location, State
from torchkeep.core.messages import catalogue
from torchkeep.core.project import Project
from torchkeep.core.rule import Ruleset
from torchkeep.core.text import is_plain, visible

LANGUAGES = ("en", "zh")
VOID = {"meta"}
TAGS = re.findall(
    r"\w+",
    """html head meta title style body header main section footer h1 h2 p div a b i span small
    code time ul li dl dt dd table caption thead tbody tr th td details summary svg symbol
    path use rect""",
)
ATTRIBUTES = re.findall(
    r"[\w-]+",
    """lang charset name content http-equiv class id href scope colspan datetime tabindex role
    aria-hidden aria-label data-rule data-state data-subject d x width height viewbox
    preserveaspectratio""",
)


class Page(HTMLParser):
    """Reads a page and insists that its tags are balanced and harmless."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[dict[str, str]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.style = ""
        self.policy = ""
        self.title = ""
        self.open: list[str] = []
        assert text.startswith("<!DOCTYPE html>\n<html lang=")
        assert all(is_plain(line) for line in text.split("\n"))
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        table = dict(attrs)
        assert tag in TAGS, tag
        assert len(table) == len(attrs)
        assert set(table) <= set(ATTRIBUTES), table
        if tag not in VOID:
            self.open.append(tag)
        if "href" in table:
            self.links.append(table["href"])
        if "id" in table:
            self.ids.append(table["id"])
        if "data-rule" in table:
            self.rows.append(table)
        if table.get("http-equiv") == "Content-Security-Policy":
            self.policy = table["content"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/>")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.style += data
        else:
            self.title += data if self.open[-1:] == ["title"] else ""
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)


def read(report, language="en"):
    return Page(render(report, "html", language))


def shown(report):
    """What every form must show, as often as it occurs."""
    return Counter(
        (f["rule"], visible(f["subject"]), f["state"]) for f in report.to_json()["findings"]
    )


def rows(page):
    return Counter((r["data-rule"], r["data-subject"], r["data-state"]) for r in page.rows)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_finding_has_a_row(language):
    report = reports.everything()
    assert rows(read(report, language)) == shown(report)


@given(st.lists(st.tuples(reports.names, st.sampled_from(State)), max_size=6), reports.names)
def test_names_can_be_anything(found, project):
    made = [
        reports.finding(name, state, location=Location(path=name, member=name), fix=("run", name))
        for name, state in found
    ]
    report = reports.report(made, project=project, skipped=tuple(name for name, _ in found))
    page = read(report)
    assert rows(page) == shown(report)
    assert page.title == f"{visible(project)}: {report.verdict.value.upper()} - torchkeep"


def test_a_finding_that_is_lost_is_noticed(monkeypatch):
    whole = chapters.chapter
    monkeypatch.setattr(chapters, "chapter", lambda w, r, n, found: whole(w, r, n, found[:-1]))
    report = reports.everything()
    assert rows(read(report)) != shown(report)


@pytest.mark.parametrize("guard", ["escape", "visible"])
def test_a_guard_that_is_gone_is_noticed(monkeypatch, guard):
    monkeypatch.setattr(markup, guard, lambda text: text)
    with pytest.raises(AssertionError):
        read(reports.everything())


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_loaded_and_nothing_runs(language):
    page = read(reports.everything(), language)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert page.policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert not re.search(r"url\(|@import|expression|</", page.style)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_link_leads_to_a_place_on_the_page(language):
    page = read(reports.everything(), language)
    assert len(set(page.ids)) == len(page.ids)
    assert not [name for name in page.ids if re.search(r"\s", name)]
    assert {link[:1] for link in page.links} == {"#"}
    assert {link[1:] for link in page.links} <= set(page.ids)


VERDICTS = [
    (["pass"], "PASS", "通过", "pass"),
    (["pass", "warn", "fail"], "FAIL", "不通过", "fail"),
    (["pass", "not-measured"], "INCOMPLETE", "未完成", "not-measured"),
    (["warn", "error"], "INCOMPLETE", "未完成", "error"),
]


@pytest.mark.parametrize(("states", "en", "zh", "sign"), VERDICTS)
def test_the_verdict_comes_first(states, en, zh, sign):
    report = reports.report([reports.finding(f"{state}.pt", state) for state in states])
    for language, word in zip(LANGUAGES, (en, zh), strict=True):
        page = read(report, language)
        body = page.words[page.words.index(reports.PROJECT) :]
        assert body[1] == word
        icon = f'<svg class="icon" aria-hidden="true"><use href="#i-{sign}"></use></svg>{word}'
        assert f'<div class="banner {sign}"><p class="verdict">{icon}' in render(
            report, "html", language
        )


def test_the_time_is_utc():
    there = timezone(timedelta(hours=8))
    report = reports.report([], finished=datetime(2026, 8, 15, 1, 30, tzinfo=there))
    assert "2026-08-14 17:30 UTC" in read(report).words


def test_what_a_row_says():
    report = reports.everything()
    page = read(report)
    for words in (
        "0.413 (95% CI 0.391 to 0.435, n = 2,000)",
        "torchkeep convert -- '模型/权重.pt'",
        "torchkeep convert -- '$(id)`id`'",
        "line.py",
        ":7",
        "Waived until 2027-03-01 by security@example.org: never leaves <the site>",
        "Waiver expired on 2027-03-01, owner security@example.org: never leaves <the site>",
        "needed for a verdict",
        "OWASP AISVS 1.0 C6.1.1",
        "Second line.",
        "2026-08-14 09:31 UTC",
        "1,234",
        "data/<link>\\u202e",
    ):
        assert words in page.words, words


def test_a_name_with_hidden_characters_gets_no_command():
    hidden = [name for name in reports.NASTY if not is_plain(name)]
    fix = ("torchkeep", "convert", "--")
    page = read(reports.report([reports.finding(name, fix=(*fix, name)) for name in hidden]))
    said = [word for word in page.words if word.startswith("No command is printed")]
    assert len(said) == len(hidden)
    assert "torchkeep convert" not in page.text


def test_what_scrolls_can_be_reached_with_the_keyboard():
    page = render(reports.report([reports.finding("x" * 5000), reports.finding("short")]), "html")
    assert re.findall(r'<b tabindex="0">(x+)</b>', page) == ["x" * 5000]
    assert page.count("tabindex") == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_it_cannot_say_is_said(language):
    page = read(reports.report([]), language)
    for text in catalogue("report")["honesty"].values():
        assert text[language] in page.words


def test_a_chinese_page_is_chinese():
    rich = replace(reports.everything(), findings=(*map(chinese, State), *reports.unmeasured()))
    page = read(rich, "zh")
    english = [
        text for text in texts(catalogue("report"), "en") if "{" not in text and len(text) > 2
    ]
    assert [text for text in english if text in page.words] == []
    for state in State:
        assert catalogue("report")["states"][state.value]["zh"] in page.words


def chinese(state):
    return reports.finding(f"{state.value}.pt", state, waiver=reports.WAIVER)


def texts(node, language):
    if language in node:
        return [node[language]]
    return [text for entry in node.values() for text in texts(entry, language)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_five_hundred_findings_are_less_than_400_kb(language):
    many = [
        entry.with_(subject=f"models/checkpoints/run-{n:03}/{entry.rule}.pt")
        for n in range(20)
        for entry in [*map(chinese, State), *reports.unmeasured()]
    ][:500]
    report = reports.report(
        [finding.with_(fix=("torchkeep", "convert", "--", "a")) for finding in many]
    )
    page = render(report, "html", language)
    assert len(many) == 500
    assert rows(Page(page)) == shown(report)
    assert len(page.encode()) < 400_000


def test_a_rule_that_crashes_is_an_error_on_the_page(tmp_path):
    def crash(project):
        raise RuntimeError("hunter2")

    rule = reports.rule("TK-TEST-001", check=crash)
    report = run(Project.open(tmp_path), rulesets=[Ruleset(room="test", rules=(rule,))])
    page = read(report)
    assert [r["data-state"] for r in page.rows if r["data-rule"] == "TK-TEST-001"] == ["error"]
    assert "hunter2" not in page.text


def test_states_are_told_by_sign_and_word():
    page = render(reports.everything(), "html")
    signs = dict(re.findall(r'<symbol id="i-([a-z-]+)"[^>]*><path d="([^"]+)"', page))
    assert signs.keys() == {state.value for state in State}
    assert len(set(signs.values())) == len(signs)
    for state in signs:
        word = catalogue("report")["states"][state]["en"].capitalize()
        assert f'<use href="#i-{state}"></use></svg>{word}</span>' in page
