"""What a rule is about, for a reader: threat, measurement, limits, fix, controls."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from torchkeep.audit import rulesets
from torchkeep.core.errors import UsageError
from torchkeep.core.items import BY_KEY, ITEMS, Item
from torchkeep.core.messages import Message, message, plain
from torchkeep.core.rule import SECTIONS, Control, words
from torchkeep.core.text import visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The page of one rule.

    Attributes:
        rule: Its id.
        items: The items that it measures.
        sections: What is written, by section, in reading order.
        controls: Published controls that it supports.
    """

    rule: str
    items: tuple[Item, ...]
    sections: dict[str, Message]
    controls: tuple[Control, ...] = ()

    def to_json(self, language: str) -> dict[str, Any]:
        """The page as JSON data."""
        return {
            "schema_version": 1,
            "rule": self.rule,
            "items": [item.key for item in self.items],
            **{name: text.text(language) for name, text in self.sections.items()},
            "controls": [{"supports": str(control)} for control in self.controls],
        }


def explain(rule: str) -> Explanation:
    """The page of a rule.

    Raises:
        UsageError: There is no such rule; the message names near ones.
    """
    known = rulesets.rules()
    wanted = rule.upper()
    if found := known.get(wanted) or known.get(rule):
        sections = {name: text for name in SECTIONS if (text := found.text(name)) is not None}
        items = tuple(filter(None, (BY_KEY.get(found.item),)))
        return Explanation(rule=found.id, items=items, sections=sections, controls=found.controls)
    if items := tuple(item for item in ITEMS if item.rule == wanted):
        return _unmeasured(wanted, items)
    issues = rulesets.issues()
    if wanted in issues:
        sections = {name: text for name in SECTIONS if (text := words(wanted, name)) is not None}
        return Explanation(rule=wanted, items=(), sections=sections)
    ids = [*known, *issues, *{item.rule for item in ITEMS}]
    near = ", ".join(_nearest(wanted, ids))
    raise UsageError(
        f"there is no rule {visible(rule)}" + (f"; near it: {near}" if near else ""),
        next="run: torchkeep explain",
    )


def _nearest(wanted: str, ids: list[str]) -> list[str]:
    """The three ids most like ``wanted``; of equal ones the first."""
    likeness = {name: SequenceMatcher(None, wanted, name).ratio() for name in ids}
    near = sorted(
        (name for name in likeness if likeness[name] >= 0.5), key=lambda n: (-likeness[n], n)
    )
    return near[:3]


def index() -> list[tuple[str, Message]]:
    """Id and title of every installed rule, and of every item that none measures."""
    known = rulesets.rules()
    titles = [(rule.id, rule.text("title") or plain(rule.id)) for rule in known.values()]
    measured = {rule.item for rule in known.values()}
    titles += [(item.rule, item.title) for item in ITEMS if item.key not in measured]
    titles += [(name, words(name, "title") or plain(name)) for name in rulesets.issues()]
    return sorted(titles, key=lambda entry: entry[0])


def _unmeasured(rule: str, items: tuple[Item, ...]) -> Explanation:
    args = {
        "room": items[0].room,
        "titles": tuple(item.title for item in items),
        "commands": tuple(dict.fromkeys(item.command for item in items)),
    }
    sections = {name: message(f"audit.unmeasured-rule.{name}", **args) for name in SECTIONS}
    return Explanation(rule=rule, items=items, sections=sections)
