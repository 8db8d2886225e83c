"""Every rule, and every row that no rule stands behind, can be looked up in both languages."""

from __future__ import annotations

import re

import pytest

from torchkeep.audit import explain, index, rulesets
from torchkeep.core.errors import UsageError
from torchkeep.core.items import ITEMS
from torchkeep.core.messages import LANGUAGES
from torchkeep.core.rule import SECTIONS

RULES = sorted(rulesets.rules())
ISSUES = sorted(rulesets.issues())
UNMEASURED = sorted({item.rule for item in ITEMS})


def test_nothing_of_ours_is_broken():
    assert rulesets.installed()[1] == []


@pytest.mark.parametrize("rule", RULES + UNMEASURED)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_has_every_section(rule, language):
    page = explain(rule)
    assert tuple(page.sections) == SECTIONS
    texts = [text.text(language) for text in page.sections.values()]
    assert all(texts)
    assert not any(re.search(r"[{}\n]", text) for text in texts)
    chinese = sum("\u4e00" <= char <= "\u9fff" for char in "".join(texts))
    assert (chinese > 20) == (language == "zh")
    assert page.items
    shown = page.to_json(language)
    assert shown["rule"] == rule
    assert [shown[name] for name in SECTIONS] == texts
    assert all(set(control) == {"supports"} for control in shown["controls"])


@pytest.mark.parametrize("rule", RULES)
def test_the_case_of_an_id_does_not_matter(rule):
    assert explain(rule.lower()).rule == rule


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("TK-AUDIT-01", "TK-AUDIT-001"),
        ("tk_scan_001", "TK-SCAN-001"),
        ("TK-AUDIT-0002", "TK-AUDIT-002"),
        ("TK-ROBUST", "TK-ROBUST-000"),
    ],
)
def test_an_unknown_rule_names_near_ones(wrong, near):
    with pytest.raises(UsageError, match=f"there is no rule {wrong}; near it: .*{near}") as caught:
        explain(wrong)
    assert (caught.value.exit_code, caught.value.next) == (2, "run: torchkeep explain")


@pytest.mark.parametrize("wrong", ["", "?", "xyzzy", "\x1b[2J", "a" * 100_000, "\udcff"])
def test_a_rule_that_is_like_none_names_none(wrong):
    with pytest.raises(UsageError) as caught:
        explain(wrong)
    assert "near it" not in caught.value.message
    assert caught.value.message.isprintable()


def test_the_index_lists_every_rule_and_every_unmeasured_item():
    listed = index()
    names = [name for name, _ in listed]
    assert names == sorted(names)
    measured = {rule.item for rule in rulesets.rules().values()}
    unmeasured = [item.rule for item in ITEMS if item.key not in measured]
    assert names == sorted([*RULES, *ISSUES, *unmeasured])
    assert all(title.text(language) for _, title in listed for language in LANGUAGES)


def test_of_ids_that_are_as_near_the_first_are_named():
    with pytest.raises(UsageError, match=r"near it: TK-SCAN-001, TK-SCAN-010, TK-SCAN-011"):
        explain("TK-SCAN-01")
