"""Reports that no project has, and what each form of a report shows of them."""

from __future__ import annotations

import importlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from html.parser import HTMLParser

from hypothesis import strategies as st

from torchkeep.audit import Report
from torchkeep.audit.render import FORMS, render, terminal
from torchkeep.core.finding import Finding, Location, Measured, State, Waiver
from torchkeep.core.items import BY_KEY
from torchkeep.core.messages import message, plain
from torchkeep.core.text import visible

Row = tuple[str, str, str]
"""Rule, subject and state, with hidden characters as escapes."""

NASTY = (
    "\x1b[2Jgone",
    "\x1b]0;title\x07",
    "a\nb\r\nc",
    "\x9b31mC1",
    "del\x7f",
    "<script>alert(1)</script>",
    "\" onload='x",
    "--><!--",
    "]]>",
    "\u202egpj.exe",
    "zero\u200bwidth",
    "\u2028line",
    "stray\udcff",
    "half\ud800",
    "$(touch pwned)",
    "`touch pwned`",
    "-x",
    "a'b",
    "{not} {0} %s",
    "模型",
    "\U0001f600",
    " ",
    "",
)

texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=()), max_size=20),
)
_messages = st.builds(plain, texts, texts)
_measured = st.builds(
    Measured,
    value=st.one_of(texts, st.floats(), st.integers(), st.booleans()),
    unit=texts,
    interval=st.none() | st.tuples(st.floats(), st.floats()),
    n=st.none() | st.integers(0),
)
_locations = st.builds(
    Location,
    path=texts,
    line=st.none() | st.integers(1, 9999),
    member=st.none() | texts,
    offset=st.none() | st.integers(0, 9999),
)
_waivers = st.builds(
    Waiver, rule=texts, reason=texts, owner=texts, expires=st.dates(), subject=st.none() | texts
)
findings = st.builds(
    Finding,
    rule=st.sampled_from(["TK-SCAN-001", "TK-MARK-000", "ACME-1", *NASTY[:6]]),
    subject=texts,
    state=st.sampled_from(State),
    reason=_messages,
    measured=st.none() | _measured,
    required=st.none() | _messages,
    fix=st.lists(texts, max_size=3).map(tuple),
    location=st.none() | _locations,
    item=st.sampled_from(list(BY_KEY)),
    waiver=st.none() | _waivers,
)


def report(*findings: Finding, project: str = "project", **changes: object) -> Report:
    """A report that says ``findings`` and nothing else."""
    settings = {
        "models": 1,
        "tables": 1,
        "files": 1,
        "skipped": (),
        "profile": "baseline",
        "required": frozenset({"TK-SCAN-001"}),
        "rules": {},
        "finished": datetime(2026, 11, 23, 12, tzinfo=UTC),
    }
    return Report(project=project, findings=findings, **(settings | changes))


def finding(state: State, rule: str = "TK-SCAN-001", subject: str = "m.pt", **more) -> Finding:
    """One finding, without anything that does not matter."""
    waiver = Waiver(rule=rule, reason="r", owner="o", expires=date(2027, 1, 1))
    given = {"reason": plain("because"), "item": "models.loading"}
    given |= {"waiver": waiver} if state is State.WAIVED else {}
    return Finding(rule=rule, subject=subject, state=state, **(given | more))


reports = st.builds(
    lambda found, project, skipped: report(*found, project=project, skipped=tuple(skipped)),
    st.lists(findings, max_size=8),
    texts,
    st.lists(texts, max_size=3),
)


def expected(report: Report) -> Counter[Row]:
    """The rows that every form of ``report`` must show."""
    return Counter((visible(f.rule), visible(f.subject), f.state.value) for f in report.findings)


def installed(form: str) -> bool:
    """Whether the renderer of a form is there."""
    return importlib.util.find_spec(f"torchkeep.audit.render.{form}") is not None


def forms() -> list[str]:
    """The forms whose renderers are there."""
    return [form for form in FORMS if installed(form)]


def shown(report: Report, form: str, language: str = "en") -> Counter[Row]:
    """The rows that one form of ``report`` shows, read back from its text."""
    if form == "terminal":
        # Wide enough for every row to stand on one line.
        text = terminal.render(report, language, columns=1_000_000)
        return Counter(_of_terminal(text, report, language))
    text = render(report, form, language)
    return Counter({"json": _of_json, "sarif": _of_sarif, "html": _of_html}[form](text))


def _of_json(text: str) -> Iterator[Row]:
    for entry in json.loads(text)["findings"]:
        yield visible(entry["rule"]), visible(entry["subject"]), entry["state"]


def _of_sarif(text: str) -> Iterator[Row]:
    (run,) = json.loads(text)["runs"]
    rows = [{"rule": result["ruleId"], **result["properties"]} for result in run["results"]]
    for facts in rows + run["properties"]["settled"]:
        yield visible(facts["rule"]), visible(facts["subject"]), facts["state"]


def _of_html(text: str) -> Iterator[Row]:
    page = _Page()
    page.feed(text)
    yield from page.rows


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "data-rule" in found:
            names = ("data-rule", "data-subject", "data-state")
            self.rows.append(tuple(found[name] or "" for name in names))


def _of_terminal(text: str, report: Report, language: str) -> Iterator[Row]:
    """Rows start at the third column; a row about the project itself does not name it again."""
    rows = [line[2:] for line in text.splitlines() if re.match(r"  \S", line)]
    # The longest subject first, so that no subject is taken for one that it starts with.
    for found in sorted(report.findings, key=lambda f: len(visible(f.subject)), reverse=True):
        named = found.subject != report.project or found.location is not None
        state = message(f"report.states.{found.state.value}").text(language)
        rule, subject = visible(found.rule), visible(found.subject)
        pattern = rf"{re.escape(state)} +{re.escape(rule)} +{re.escape(subject.lstrip()) * named}"
        match = next((row for row in rows if re.match(pattern, row)), None)
        if match is not None:
            rows.remove(match)
            yield rule, subject, found.state.value
    assert not rows, rows
