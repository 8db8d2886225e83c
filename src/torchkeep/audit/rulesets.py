"""The rules of every installed room and plug-in."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

from torchkeep.core import plugins
from torchkeep.core.finding import Finding, State
from torchkeep.core.messages import LANGUAGES, Message, message
from torchkeep.core.rule import GROUP, SECTIONS, Control, Rule, Ruleset
from torchkeep.core.schema import Table

_OURS: Final = "torchkeep"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def installed() -> tuple[list[Ruleset], list[Finding]]:
    """Every ruleset that loads, and a finding for each that does not."""
    rulesets: list[Ruleset] = []
    broken: list[Finding] = []
    taken: set[str] = set()
    # Ours first: whoever brings the same names later is the one to answer for it.
    for plugin in sorted(plugins.load(GROUP), key=lambda plugin: plugin.package != _OURS):
        if problem := _problem(plugin, taken):
            broken.append(_broken(plugin, problem))
        else:
            rulesets.append(plugin.value)
            taken.update(_names(plugin.value))
    return rulesets, broken


def rules() -> dict[str, Rule]:
    """Every installed rule, by id."""
    return {rule.id: rule for ruleset in installed()[0] for rule in ruleset.rules}


def issues() -> tuple[str, ...]:
    """Ids of what the rooms' own commands report in more detail."""
    return tuple(issue for ruleset in installed()[0] for issue in ruleset.issues)


def _problem(plugin: plugins.Plugin, taken: Set[str]) -> Message | None:
    if plugin.error is not None:
        return message("audit.plugin-failed", error=type(plugin.error).__name__)
    if not isinstance(plugin.value, Ruleset):
        return message("audit.plugin-foreign", kind=type(plugin.value).__name__)
    try:
        names = _names(plugin.value)
        _write_out(plugin.value)
    except Exception as error:  # a stranger's objects may hold anything
        return message("audit.plugin-failed", error=type(error).__name__)
    if odd := [name for name in names[1:] if not _may_bring(plugin, name)]:
        return message("audit.plugin-names", rules=tuple(odd))
    if clash := {name for name in names if name in taken or names.count(name) > 1}:
        return message("audit.plugin-clash", rules=tuple(sorted(clash)))
    return None


def _names(ruleset: Ruleset) -> list[str]:
    """What no two rulesets may have in common: the room, and the ids of the rules."""
    return [str(ruleset.room), *(str(rule.id) for rule in ruleset.rules)]


def _write_out(ruleset: Ruleset) -> None:
    """Raise something unless every report can show what the ruleset says of itself."""
    if ruleset.policy is not None and not issubclass(ruleset.policy, Table):
        raise TypeError
    for rule in ruleset.rules:
        texts = filter(None, map(rule.text, SECTIONS))
        shown = [text.text(language) for text in texts for language in LANGUAGES]
        if not all(isinstance(part, str) for part in (rule.id, rule.item, *shown)):
            raise TypeError
        if not all(isinstance(control, Control) for control in rule.controls):
            raise TypeError


def _may_bring(plugin: plugins.Plugin, rule: str) -> bool:
    """Whether an id is well formed, and not one of ours in the hands of another package."""
    return _ID.fullmatch(rule) is not None and (
        plugin.package == _OURS or not rule.upper().startswith("TK-")
    )


def _broken(plugin: plugins.Plugin, reason: Message) -> Finding:
    return Finding(
        rule="TK-AUDIT-006",
        item="practice.project",
        subject=f"{plugin.package}:{plugin.name}",
        state=State.ERROR,
        reason=reason,
        fix=("pip", "show", "--", plugin.package) if plugin.package else (),
    )
