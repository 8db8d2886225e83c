"""Runs every rule over a project."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import UTC, date, datetime
from typing import Final

from torchkeep.audit import waivers
from torchkeep.audit.report import Report
from torchkeep.audit.rules import found_elsewhere
from torchkeep.audit.rulesets import installed
from torchkeep.core import progress
from torchkeep.core.finding import Finding, State
from torchkeep.core.items import BY_KEY, ITEMS
from torchkeep.core.messages import LANGUAGES, Message, message
from torchkeep.core.project import Project
from torchkeep.core.rule import Rule, Ruleset
from torchkeep.core.text import visible

_OTHER: Final = "practice.project"  # where rows stand that belong to no item

BASELINE: Final = frozenset(
    {"TK-AUDIT-001", "TK-AUDIT-002", "TK-AUDIT-005", "TK-MODELS-001", "TK-SCAN-001"}
    | {"TK-SCAN-002"}
)
# What must have been measured before a verdict can be `pass`; None: every row.
PROFILES: Final[dict[str, frozenset[str] | None]] = {"baseline": BASELINE, "strict": None}


def run(
    project: Project, *, rulesets: Iterable[Ruleset] | None = None, today: date | None = None
) -> Report:
    """Audit a project. Nothing of the project is executed.

    Args:
        project: What to audit.
        rulesets: Rules to run; those of every installed room and plug-in where None.
        today: The day on which waivers are judged.

    Returns:
        The scorecard. A rule that crashes is a finding in it, not an exception; so is one that
        says nothing, or that had to be there and is not installed.

    Raises:
        ProjectError: The policy of the project is wrong.
    """
    broken: list[Finding] = []
    if rulesets is None:
        rulesets, broken = installed()
    rulesets = tuple(rulesets)
    _check_policy(project, rulesets)
    rules = [rule for ruleset in rulesets for rule in ruleset.rules]
    findings = broken + [
        finding
        for rule in progress.track(rules, "auditing", len(rules))
        for finding in _apply(rule, project)
    ]
    findings += _silent(project, rules, {finding.rule for finding in findings})
    findings += _unmeasured({finding.item for finding in findings})
    findings = waivers.apply(project, findings, today or date.today())
    return Report(
        project=project.name,
        models=len(project.models),
        tables=len(project.data),
        files=len(project.tree.files),
        skipped=project.tree.skipped,
        profile=project.profile,
        required=PROFILES[project.profile],
        findings=tuple(sorted(findings, key=_place)),
        rules={rule.id: rule for rule in rules},
        finished=datetime.now(UTC),
    )


def _check_policy(project: Project, rulesets: Iterable[Ruleset]) -> None:
    policies = {ruleset.room: ruleset.policy for ruleset in rulesets if ruleset.policy}
    project.check_policies(policies)
    for room, model in policies.items():
        project.policy(room, model)


def _apply(rule: Rule, project: Project) -> list[Finding]:
    """What a rule saw, and where it ended before it was done, a finding that says so."""
    found: list[Finding] = []
    try:
        if rule.item not in tuple(BY_KEY):  # a tuple: what it holds may not even be a key
            raise LookupError
        for finding in rule.check(project):
            found.append(_sound(finding, rule))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: one rule must not hide what the others saw
        found.append(_crashed(rule, project, error))
    return found


def _crashed(rule: Rule, project: Project, error: BaseException) -> Finding:
    # The text of a foreign exception may hold data of the project; its type does not.
    return Finding(
        rule=rule.id,
        item=_item(rule),
        subject=project.name,
        state=State.ERROR,
        reason=message("audit.crashed", error=type(error).__name__),
        fix=_explain(rule.id),
    )


def _sound(finding: Finding, rule: Rule) -> Finding:
    """``finding`` in its item, once it is sure that every report can show it.

    Raises:
        Exception: It is no finding of this rule, or it cannot be written out.
    """
    if not isinstance(finding, Finding) or finding.rule != rule.id:
        raise TypeError
    if not isinstance(finding.subject, str) or not isinstance(finding.fix, list | tuple):
        raise TypeError
    if finding.state is State.WAIVED or finding.waiver:  # a waiver is the owner's, not a rule's
        raise ValueError
    finding = finding.with_(item=rule.item, fix=tuple(finding.fix))
    for language in LANGUAGES:
        visible(finding.reason.text(language))
        visible(finding.required.text(language) if finding.required else "")
    visible(f"{finding.subject}{finding.location}{finding.measured}")
    json.dumps(finding.to_json())
    return finding


def _silent(project: Project, rules: Sequence[Rule], said: Set[str]) -> Iterator[Finding]:
    """One row for every rule that said nothing, or that must run and is not installed."""
    for rule in rules:
        if rule.id not in said and rule.check is not found_elsewhere:
            reason = message("audit.silent")
            yield _unknown(project.name, rule.id, _item(rule), reason, _explain(rule.id))
    for name in sorted(BASELINE - said - {rule.id for rule in rules}):
        room = name.split("-")[1].lower()
        item = next((item.key for item in ITEMS if item.room == room), _OTHER)
        yield _unknown(project.name, name, item, message("audit.not-installed"))


def _unmeasured(seen: Set[str]) -> Iterator[Finding]:
    """One row for every item about which no rule said anything."""
    for item in ITEMS:
        if item.key not in seen:
            reason = message("audit.unmeasured", title=item.title, command=item.command)
            # The item is the subject, so that a waiver can speak about one of a room's items.
            yield _unknown(item.key, item.rule, item.key, reason, _explain(item.rule))


def _unknown(
    subject: str, rule: str, item: str, reason: Message, fix: tuple[str, ...] = ()
) -> Finding:
    return Finding(
        rule=rule,
        item=item,
        subject=subject,
        state=State.NOT_MEASURED,
        reason=reason,
        fix=fix,
    )


def _item(rule: Rule) -> str:
    return rule.item if rule.item in tuple(BY_KEY) else _OTHER


def _explain(rule: str) -> tuple[str, ...]:
    return ("torchkeep", "explain", rule) if rule[:1].isalnum() else ()


def _place(finding: Finding) -> tuple[int, int, str, str]:
    order = list(BY_KEY).index(finding.item)
    return order, finding.state.rank, finding.rule, visible(finding.subject)
