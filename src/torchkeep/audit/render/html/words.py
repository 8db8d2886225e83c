"""The words of the page in one language, and the small parts that are made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from torchkeep.audit.render.html.markup import Html, bar, icon, table, tag, together
from torchkeep.audit.report import Report
from torchkeep.core.finding import Finding, State
from torchkeep.core.items import BY_KEY
from torchkeep.core.messages import message
from torchkeep.core.text import visible

NO_RULE = "no-rule"
"""Anchor of what is said about ids that no rule stands behind."""


@dataclass(frozen=True, slots=True)
class Words:
    """Speaks ``en`` or ``zh``."""

    language: str

    def say(self, name: str, **args: object) -> str:
        """A message of the report's catalogue."""
        return message(f"report.{name}", **args).text(self.language)

    def item(self, item: str) -> str:
        """The name of a security item."""
        return BY_KEY[item].title.text(self.language)

    def state(self, state: State) -> Html:
        """A state: its sign and its name."""
        word = self.say(f"states.{state.value}")
        return tag("span", icon(state), word[:1].upper() + word[1:], class_=state.value)

    def counts(self, counts: Mapping[State, int]) -> str:
        """How many findings are in each state, in words."""
        return self.say("counts.between").join(
            self.count(state, number) for state, number in counts.items()
        )

    def count(self, state: State, number: int) -> str:
        """How many findings are in one state, in words."""
        return self.say(f"counts.{state.value}", count=number)

    def bar(self, counts: Mapping[State, int]) -> Html:
        """How many findings are in each state, as a picture."""
        return bar(counts, self.say("labels.bar", counts=self.counts(counts)))

    def table(self, caption: str, columns: Iterable[str], *bodies: Html, kind: str) -> Html:
        """A table whose columns are named by the catalogue."""
        return table(caption, [self.say(f"columns.{name}") for name in columns], bodies, kind)

    def rule(self, report: Report, id: str) -> Html:
        """The id of a rule, as a link to what is said about it."""
        return tag("a", id, href=f"#{anchor(id) if id in report.rules else NO_RULE}")

    def section(self, name: str, *children: str) -> Html:
        """A section with its heading and anchor."""
        heading = tag("h2", self.say(f"headings.{name}"))
        return tag("section", heading, *children, id=name)


def place(finding: Finding) -> Html:
    """The subject of a finding, and where it lies as far as the subject does not say so."""
    location = str(finding.location) if finding.location else ""
    if finding.location and finding.location.path == finding.subject:
        location = location[len(finding.subject) :]
    elif location:
        location = f" {location}"
    return together(finding.subject, tag("i", location) if location else Html())


def count(findings: Iterable[Finding]) -> dict[State, int]:
    """How many findings are in each state that occurs, worst first."""
    counter = Counter(finding.state for finding in findings)
    return {state: counter[state] for state in sorted(counter, key=lambda state: state.rank)}


def by_item(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings of each item, in the order in which the items occur."""
    items: dict[str, list[Finding]] = {}
    for finding in findings:
        items.setdefault(finding.item, []).append(finding)
    return items


def anchor(rule: str) -> str:
    """The id of the element that explains a rule; it holds no space whatever the rule is called."""
    return quote(visible(rule), safe="")
