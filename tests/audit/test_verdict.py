"""What adds up to which verdict and exit status."""

from __future__ import annotations

import itertools

import pytest
from makers.reports import finding, forms, report

from torchkeep.audit import PROFILES, Verdict, run
from torchkeep.audit.render import render
from torchkeep.core.finding import Finding, State
from torchkeep.core.messages import plain
from torchkeep.core.project import Project
from torchkeep.core.rule import Rule, Ruleset

CLOSED = [State.PASS, State.WARN, State.NOT_APPLICABLE, State.WAIVED]
EXIT = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCOMPLETE: 3}

# State, whether the profile requires its rule, verdict.
ONE = [
    *((state, required, Verdict.PASS) for state in CLOSED for required in (True, False)),
    (State.FAIL, True, Verdict.FAIL),
    (State.FAIL, False, Verdict.FAIL),
    (State.ERROR, True, Verdict.INCOMPLETE),
    (State.ERROR, False, Verdict.INCOMPLETE),
    (State.NOT_MEASURED, True, Verdict.INCOMPLETE),
    (State.NOT_MEASURED, False, Verdict.PASS),
]


@pytest.mark.parametrize(("state", "required", "verdict"), ONE)
@pytest.mark.parametrize("profile", ["baseline", "strict"])
def test_one_state(state, required, verdict, profile):
    ids = frozenset({"TK-SCAN-001"} if required else {"TK-OTHER-001"})
    found = report(finding(state), profile=profile, required=None if profile == "strict" else ids)
    if profile == "strict" and state is State.NOT_MEASURED:
        verdict = Verdict.INCOMPLETE
    assert found.verdict is verdict
    assert found.verdict.exit_code == EXIT[verdict]
    assert (found.worst is None) == (verdict is Verdict.PASS)


@pytest.mark.parametrize("states", [*itertools.permutations(State, 2)])
def test_one_beats_three_beats_nothing(states):
    found = report(*(finding(state, subject=state.value) for state in states))
    if State.FAIL in states:
        assert (found.verdict, found.worst.state) == (Verdict.FAIL, State.FAIL)
    elif {State.ERROR, State.NOT_MEASURED}.intersection(states):
        assert found.verdict is Verdict.INCOMPLETE
        assert found.worst.state is min(states, key=lambda state: state.rank)
    else:
        assert (found.verdict, found.worst) == (Verdict.PASS, None)


def test_every_state_has_a_row_above():
    assert {state for state, _, _ in ONE} == set(State)


def checking(*states: State, id: str = "TK-SCAN-001", item: str = "models.loading") -> Ruleset:
    def check(_project):
        for state in states:
            yield Finding(rule=id, subject=state.value, state=state, reason=plain("because"))

    return Ruleset(room="sample", rules=(Rule(id=id, item=item, check=check),))


def passing(*ids: str) -> list[Ruleset]:
    """One rule for each id, and every one of them sees that all is well."""
    return [checking(State.PASS, id=name) for name in ids]


def sample(folder, profile: str = "baseline") -> Project:
    return Project(root=folder, name="sample", profile=profile)


def test_all_required_measured_is_a_pass(tmp_path):
    found = run(sample(tmp_path), rulesets=passing(*PROFILES["baseline"]))
    assert found.verdict is Verdict.PASS


@pytest.mark.parametrize("missing", sorted(PROFILES["baseline"]))
@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_required_rule_that_is_not_installed_is_no_pass(tmp_path, missing, profile):
    """Without its metadata an installation has no entry points, hence no rules: still no pass."""
    there = passing(*PROFILES["baseline"] - {missing})
    found = run(sample(tmp_path, profile), rulesets=there)
    assert found.verdict is Verdict.INCOMPLETE
    row = next(f for f in found.findings if f.rule == missing)
    assert (row.state, row.subject) == (State.NOT_MEASURED, "sample")


def test_no_rules_at_all_is_no_pass(tmp_path):
    found = run(sample(tmp_path), rulesets=[])
    assert found.verdict is Verdict.INCOMPLETE
    assert {f.rule for f in found.findings if found.blocks(f)} == PROFILES["baseline"]


@pytest.mark.parametrize(
    ("id", "verdict"), [("TK-SCAN-001", Verdict.INCOMPLETE), ("ACME-1", Verdict.PASS)]
)
def test_a_rule_that_says_nothing_is_not_measured(tmp_path, id, verdict):
    there = [*passing(*PROFILES["baseline"] - {id}), checking(id=id)]
    found = run(sample(tmp_path), rulesets=there)
    row = next(f for f in found.findings if f.rule == id)
    assert row.state is State.NOT_MEASURED
    assert found.verdict is verdict


def test_in_strict_every_unmeasured_item_counts(tmp_path):
    found = run(sample(tmp_path, "strict"), rulesets=passing(*PROFILES["baseline"]))
    assert found.verdict is Verdict.INCOMPLETE
    assert all(row.state is State.NOT_MEASURED for row in found.findings if found.blocks(row))


@pytest.mark.parametrize("state", State)
def test_every_form_names_the_verdict(state):
    found = report(finding(state))
    words = {"terminal": found.verdict.value.upper(), "json": f'"{found.verdict.value}"'}
    words["sarif"] = f'"exitCode": {found.verdict.exit_code}'
    for form in forms():
        assert words.get(form, found.verdict.value.upper()) in render(found, form)
