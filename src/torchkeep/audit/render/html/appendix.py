"""What stands after the findings: waivers, what is not known, and what each rule is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from torchkeep.audit.render.html.markup import Html, tag
from torchkeep.audit.render.html.words import NO_RULE, Words, anchor, by_item, count
from torchkeep.audit.report import Report
from torchkeep.core.finding import State, Waiver
from torchkeep.core.rule import SECTIONS, Rule

_UNKNOWN: Final = frozenset({State.NOT_MEASURED, State.ERROR})
_HONESTY: Final = (
    "robustness",
    "obfuscation",
    "anonymity",
    "leakage",
    "encryption",
    "controls",
    "moment",
)


def sections(words: Words, report: Report) -> Iterator[Html]:
    """Every section that has something to say."""
    if any(finding.waiver for finding in report.findings):
        yield _waivers(words, report)
    yield _unmeasured(words, report)
    if report.skipped:
        yield _skipped(words, report)
    points = (tag("li", words.say(f"honesty.{name}")) for name in _HONESTY)
    yield words.section("honesty", tag("ul", *points))
    yield _rules(words, report)


def _waivers(words: Words, report: Report) -> Html:
    counts = Counter(
        (finding.waiver, finding.state is State.WAIVED)
        for finding in report.findings
        if finding.waiver
    )
    rows = (_waiver(words, report, *key, number) for key, number in counts.items())
    columns = ("rule", "subject", "reason", "owner", "expires", "state", "count")
    return words.section(
        "waivers",
        tag("p", words.say("notes.waivers")),
        words.table(words.say("headings.waivers"), columns, tag("tbody", *rows), kind="waivers"),
    )


def _waiver(words: Words, report: Report, waiver: Waiver, holds: bool, number: int) -> Html:
    cells = (
        waiver.subject or words.say("labels.every-subject"),
        waiver.reason,
        waiver.owner,
        waiver.expires.isoformat(),
        words.say("labels.in-force" if holds else "labels.expired"),
        str(number),
    )
    head = tag("th", words.rule(report, waiver.rule), scope="row")
    return tag("tr", head, *(tag("td", cell) for cell in cells))


def _unmeasured(words: Words, report: Report) -> Html:
    unknown = [finding for finding in report.findings if finding.state in _UNKNOWN]
    if not unknown:
        return words.section("unmeasured", tag("p", words.say("notes.all-measured")))
    entries = (
        tag(
            "li",
            tag("a", words.item(item), href=f"#{item}"),
            " ",
            tag("small", words.counts(count(findings))),
        )
        for item, findings in by_item(unknown).items()
    )
    note = tag("p", words.say("notes.unmeasured"))
    return words.section("unmeasured", note, tag("ul", *entries, class_="columns"))


def _skipped(words: Words, report: Report) -> Html:
    entries = (tag("li", tag("code", path)) for path in report.skipped)
    note = tag("p", words.say("notes.skipped"))
    return words.section("skipped", note, tag("ul", *entries, class_="columns"))


def _rules(words: Words, report: Report) -> Html:
    explained = [_rule(words, rule) for _, rule in sorted(report.rules.items())]
    if any(finding.rule not in report.rules for finding in report.findings):
        text = tag("p", words.say("unmeasured.text"), id=NO_RULE)
        explained.append(tag("details", tag("summary", words.say("unmeasured.title")), text))
    return words.section("rules", tag("p", words.say("notes.rules")), *explained)


def _rule(words: Words, rule: Rule) -> Html:
    texts = {name: found.text(words.language) for name in SECTIONS if (found := rule.text(name))}
    title = texts.pop("title", "")
    if rule.controls:
        texts["controls"] = "\n".join(map(str, rule.controls))
    entries = (
        tag(
            "div",
            tag("dt", words.say(f"sections.{name}")),
            *(tag("dd", line) for line in text.splitlines()),
        )
        for name, text in texts.items()
    )
    # The anchor stands inside, so that a browser that follows a link to it opens the details.
    return tag(
        "details",
        tag("summary", tag("b", rule.id), " ", title),
        tag("dl", *entries, id=anchor(rule.id)),
    )
