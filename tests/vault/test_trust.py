"""Who may sign what: by exact key, verb, model, version and day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from torchkeep import vault
from torchkeep.core.errors import ProjectError, SourceError, UsageError
from torchkeep.vault import trust
from torchkeep.vault.signing import Signer
from torchkeep.vault.trust import Entry, Trust

ANNA, BORIS = (Signer.generate()[0] for _ in range(2))
TODAY = datetime.now(UTC).date()


def ask(*entries: Entry, signers=(ANNA.id,), verb="seal", model="income", version=3) -> Entry:
    return Trust(entries).require("x.tks", verb, signers, model, version)


def entry(**more) -> Entry:
    return Entry(public=ANNA.public, **more)


@pytest.mark.parametrize(
    "more",
    [
        {}, {"may": frozenset(["seal"])}, {"models": ("income",)}, {"models": ("eu-*", "inc*")},
        {"min_version": 3}, {"until": TODAY}, {"until": TODAY + timedelta(1)},
    ],
)  # fmt: skip
def test_whoever_may(more):
    assert ask(entry(**more)) == entry(**more)


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"may": frozenset(["statement"])}, vault.Untrusted, "its signer may not sign this"),
        ({"may": frozenset()}, vault.Untrusted, "may not sign this"),
        ({"models": ("other", "INCOME", "inc")}, vault.Untrusted, "may not sign this"),
        ({"models": ()}, vault.Untrusted, "may not sign this"),
        ({"min_version": 4}, vault.Withheld, "version 3, and the lowest that counts is 4"),
        ({"until": TODAY - timedelta(1)}, vault.Withheld, "ended on"),
    ],
)
def test_whoever_may_not(more, error, said):
    with pytest.raises(error, match=said):
        ask(entry(**more))


def test_strangers_and_nobody():
    with pytest.raises(vault.Untrusted, match="whoever signed it is not trusted"):
        ask(entry(), signers=(BORIS.id,))
    with pytest.raises(vault.Untrusted, match="nobody has signed it"):
        ask(entry(), signers=())
    with pytest.raises(vault.Untrusted):
        ask()
    assert ask(entry(), signers=(BORIS.id, ANNA.id))


def test_one_entry_that_fits_is_enough():
    old = entry(until=date(2020, 1, 1))
    high = entry(min_version=9)
    assert ask(old, high, entry()) == entry()
    with pytest.raises(vault.Withheld):
        ask(old, high)


# Files.


def test_a_public_key_is_a_trust(tmp_path):
    (tmp_path / "a.pub").write_text(trust.spell(ANNA.public) + "\n")
    assert trust.load(tmp_path / "a.pub") == Trust((entry(),))


def test_a_trust_file(tmp_path):
    (tmp_path / "a.pub").write_text(trust.spell(ANNA.public))
    (tmp_path / "trust.toml").write_text(
        f"""
        [[signer]]
        key = "a.pub"
        may = ["seal"]
        models = ["income", "eu-*"]
        min_version = 3
        until = 2027-03-01

        [[signer]]
        key = "{trust.spell(BORIS.public)}"
        """
    )
    first, second = trust.load(tmp_path / "trust.toml").entries
    assert first == entry(
        may=frozenset(["seal"]), models=("income", "eu-*"), min_version=3, until=date(2027, 3, 1)
    )
    assert second == Entry(public=BORIS.public)


KEY = f'key = "{trust.spell(ANNA.public)}"\n'


@pytest.mark.parametrize(
    "text",
    [
        "", "signer = 1", "[[signer]]", "[[signer]]\nkey = 1", "[[signer]]\n" + KEY + "may = []",
        "[[signer]]\n" + KEY + 'may = ["steal"]', "[[signer]]\n" + KEY + "models = []",
        "[[signer]]\n" + KEY + "min_version = 0", "[[signer]]\n" + KEY + 'until = "soon"',
        "[[signer]]\n" + KEY + "untill = 2027-01-01", "x = 1\n[[signer]]\n" + KEY, "[[signer]",
    ],
)  # fmt: skip
def test_a_trust_file_with_something_wrong_trusts_nobody(tmp_path, text):
    (tmp_path / "trust.toml").write_text(text)
    with pytest.raises(ProjectError):
        trust.load(tmp_path / "trust.toml")


@pytest.mark.parametrize(
    "key", ["missing.pub", "AGE-SECRET-KEY-1X", "torchkeep-signer-1qqqq", "../other/x.pub"]
)
def test_a_key_that_is_none(tmp_path, key):
    (tmp_path / "trust.toml").write_text(f'[[signer]]\nkey = "{key}"')
    with pytest.raises((UsageError, SourceError)):
        trust.load(tmp_path / "trust.toml")


def test_a_changed_character_is_seen(tmp_path):
    text = trust.spell(ANNA.public)
    at = len(text) // 2
    wrong = text[:at] + ("q" if text[at] != "q" else "p") + text[at + 1 :]
    (tmp_path / "a.pub").write_text(wrong)
    with pytest.raises(UsageError, match="no public signing key"):
        trust.load(tmp_path / "a.pub")
