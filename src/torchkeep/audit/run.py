"""Runs every rule over a project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Final

from torchkeep.audit import waivers
from torchkeep.audit.report import Report
from torchkeep.audit.rulesets import installed
from torchkeep.core import progress
from torchkeep.core.errors import ProjectError
from torchkeep.core.finding import Finding, State
from torchkeep.core.items import BY_KEY, ITEMS
from torchkeep.core.messages import message
from torchkeep.core.project import Project
from torchkeep.core.rule import Rule, Ruleset
from torchkeep.core.text import visible

# What must have been measured before a verdict can be `pass`; None: every row.
PROFILES: Final[dict[str, frozenset[str] | None]] = {
    "baseline": frozenset(
        {"TK-AUDIT-001", "TK-AUDIT-002", "TK-AUDIT-005", "TK-MODELS-001", "TK-SCAN-001"}
    ),
    "strict": None,
}


def run(
    project: Project, *, rulesets: Iterable[Ruleset] | None = None, today: date | None = None
) -> Report:
    """Audit a project. Nothing of the project is executed.

    Args:
        project: What to audit.
        rulesets: Rules to run; those of every installed room and plug-in where None.
        today: The day on which waivers are judged.

    Returns:
        The scorecard. A rule that crashes is a finding in it, not an exception.

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
    findings += _unmeasured(project, findings)
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


def crashed(rule: str, item: str, subject: str, error: BaseException) -> Finding:
    """The finding that stands for what a rule could not say."""
    # The text of a foreign exception may hold data of the project; its type does not.
    return Finding(
        rule=rule,
        item=item,
        subject=subject,
        state=State.ERROR,
        reason=message("audit.crashed", error=type(error).__name__),
        fix=("torchkeep", "explain", rule) if rule.startswith("TK-") else (),
    )


def _check_policy(project: Project, rulesets: Iterable[Ruleset]) -> None:
    policies = {ruleset.room: ruleset.policy for ruleset in rulesets if ruleset.policy}
    project.check_policies(policies)
    for room, model in policies.items():
        project.policy(room, model)


def _apply(rule: Rule, project: Project) -> Iterator[Finding]:
    item = rule.item if rule.item in BY_KEY else "practice.project"
    try:
        found = [finding.with_(item=item) for finding in rule.check(project)]
        if item != rule.item:
            raise LookupError(rule.item)
    except ProjectError:
        raise
    except Exception as error:  # one broken rule must not hide what the others saw
        yield crashed(rule.id, item, project.name, error)
    else:
        yield from found


def _unmeasured(project: Project, findings: Iterable[Finding]) -> Iterator[Finding]:
    """One row for every item about which no rule said anything."""
    seen = {finding.item for finding in findings}
    for item in ITEMS:
        if item.key not in seen:
            yield Finding(
                rule=item.rule,
                item=item.key,
                subject=project.name,
                state=State.NOT_MEASURED,
                reason=message("audit.unmeasured", title=item.title, command=item.command),
                fix=("torchkeep", "explain", item.rule),
            )


def _place(finding: Finding) -> tuple[int, int, str, str]:
    order = list(BY_KEY).index(finding.item)
    return order, finding.state.rank, finding.rule, visible(finding.subject)
