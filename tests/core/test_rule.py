"""``core.rule``: what is written about a rule, by us and by others."""

import pytest

from torchkeep.core.messages import plain
from torchkeep.core.rule import SECTIONS, Control, Rule


def rule(id, **texts):
    return Rule(id=id, item="models.loading", check=lambda _project: (), texts=texts)


def test_our_rules_speak_through_the_catalogue():
    for section in SECTIONS:
        text = rule("TK-SCAN-001").text(section)
        assert text.id == f"scan.TK-SCAN-001.{section}"
        assert text.text("en") != text.text("zh")


def test_others_bring_their_own_words():
    foreign = rule("ACME-1", title=plain("a title", "标题"))
    assert foreign.text("title").text("zh") == "标题"
    assert foreign.text("threat") is None
    assert rule("ACME-2").text("title") is None


@pytest.mark.parametrize("id", ["TK-", "TK-X", "TK-NOWHERE-001", "TK-SCAN-999", "TK-../../x-1"])
def test_a_rule_of_others_under_our_prefix_has_no_words_and_breaks_nothing(id):
    assert [rule(id).text(section) for section in SECTIONS] == [None] * len(SECTIONS)


def test_words_of_its_own_hold_under_our_prefix_too():
    assert rule("TK-X-1", title=plain("a")).text("title") == plain("a")


def test_a_control_names_its_edition():
    assert str(Control("OWASP AISVS", "1.0", "C6.1.1")) == "OWASP AISVS 1.0 C6.1.1"
