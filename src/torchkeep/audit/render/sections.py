"""What is written about a rule, for the renderers that explain it."""

from __future__ import annotations

from torchkeep.core.rule import SECTIONS, Rule


def written(rule: Rule, language: str) -> dict[str, str]:
    """The sections of :data:`SECTIONS` that somebody wrote, in their order."""
    texts = {name: _text(rule, name, language) for name in SECTIONS}
    return {name: text for name, text in texts.items() if text}


def _text(rule: Rule, section: str, language: str) -> str:
    try:
        found = rule.text(section)
        return found.text(language) if found else ""
    except KeyError:  # an id like ours that the catalogue does not know
        return ""
