"""The top of the page: what the verdict is, what it rests on, and the counts of every chapter."""

from __future__ import annotations

from datetime import UTC

from torchkeep import __version__
from torchkeep.audit.render.html.markup import Html, icon, tag
from torchkeep.audit.render.html.words import Words, count, place
from torchkeep.audit.report import Report
from torchkeep.core.finding import Finding, State, worst


def header(words: Words, report: Report) -> Html:
    """Project, verdict and the facts of the audit."""
    return tag(
        "header",
        tag("p", words.say("title"), class_="kind"),
        tag("h1", report.project),
        _banner(words, report),
        _facts(words, report),
    )


def _banner(words: Words, report: Report) -> Html:
    finding = report.worst
    return tag(
        "div",
        tag(
            "p",
            icon(finding.state if finding else State.PASS),
            words.say(f"verdicts.{report.verdict.value}"),
            class_="verdict",
        ),
        tag("p", words.say(f"meanings.{report.verdict.value}")),
        _worst(words, report, finding) if finding else Html(),
        class_=f"banner {finding.state.value if finding else State.PASS.value}",
    )


def _worst(words: Words, report: Report, finding: Finding) -> Html:
    return tag(
        "p",
        tag("span", words.say("labels.worst"), class_="label"),
        " ",
        words.rule(report, finding.rule),
        " ",
        tag("b", place(finding)),
        " ",
        finding.reason.text(words.language),
        class_="worst",
    )


def _facts(words: Words, report: Report) -> Html:
    finished = report.finished.astimezone(UTC)
    moment = f"{finished:%Y-%m-%d %H:%M} UTC"
    facts = {
        "profile": report.profile,
        "models": str(report.models),
        "tables": str(report.tables),
        "files": f"{report.files:,}",
        "finished": tag("time", moment, datetime=finished.isoformat(timespec="seconds")),
        "tool": f"torchkeep {__version__}",
    }
    entries = (
        tag("div", tag("dt", words.say(f"labels.{name}")), tag("dd", value))
        for name, value in facts.items()
    )
    return tag("dl", *entries, class_="facts")


def overview(words: Words, report: Report) -> Html:
    """The counts of the whole and of every chapter."""
    counts = count(report.findings)
    legend = (
        tag("li", icon(state), words.count(state, number), class_=state.value)
        for state, number in counts.items()
    )
    rows = (_chapter(words, *entry) for entry in report.chapters().items())
    return words.section(
        "overview",
        words.bar(counts),
        tag("ul", *legend, class_="legend"),
        words.table(
            words.say("headings.overview"),
            ("chapter", "worst", "findings"),
            tag("tbody", *rows),
            kind="chapters",
        ),
    )


def _chapter(words: Words, chapter: str, findings: list[Finding]) -> Html:
    counts = count(findings)
    link = tag("a", words.say(f"chapters.{chapter}"), href=f"#{chapter}")
    return tag(
        "tr",
        tag("th", link, scope="row"),
        tag("td", words.state(worst(counts))),
        tag("td", words.bar(counts), tag("span", words.counts(counts))),
    )
