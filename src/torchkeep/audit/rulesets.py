"""The rules of every installed room and plug-in."""

from __future__ import annotations

from torchkeep.core import plugins
from torchkeep.core.finding import Finding, State
from torchkeep.core.messages import Message, message
from torchkeep.core.rule import GROUP, Rule, Ruleset


def installed() -> tuple[list[Ruleset], list[Finding]]:
    """Every ruleset that loads, and a finding for each that does not."""
    rulesets: list[Ruleset] = []
    broken: list[Finding] = []
    taken: set[str] = set()
    for plugin in plugins.load(GROUP):
        if problem := _problem(plugin, taken):
            broken.append(_broken(plugin, problem))
        else:
            rulesets.append(plugin.value)
            taken.update(rule.id for rule in plugin.value.rules)
    return rulesets, broken


def rules() -> dict[str, Rule]:
    """Every installed rule, by id."""
    return {rule.id: rule for ruleset in installed()[0] for rule in ruleset.rules}


def _problem(plugin: plugins.Plugin, taken: set[str]) -> Message | None:
    if plugin.error is not None:
        return message("audit.plugin-failed", error=type(plugin.error).__name__)
    if not isinstance(plugin.value, Ruleset):
        return message("audit.plugin-foreign", kind=type(plugin.value).__name__)
    if clash := taken.intersection(rule.id for rule in plugin.value.rules):
        return message("audit.plugin-clash", rules=", ".join(sorted(clash)))
    return None


def _broken(plugin: plugins.Plugin, reason: Message) -> Finding:
    return Finding(
        rule="TK-AUDIT-006",
        item="practice.project",
        subject=f"{plugin.package}:{plugin.name}",
        state=State.ERROR,
        reason=reason,
        fix=("pip", "show", "--", plugin.package) if plugin.package else (),
    )
