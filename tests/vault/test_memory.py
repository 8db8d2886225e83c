"""The highest version that was seen: an older one is never taken again."""

from __future__ import annotations

import json
import os
import stat
import threading

import pytest
from makers.sealed import KEY, PUBLIC

from torchkeep import vault
from torchkeep.core.errors import Internal
from torchkeep.vault import memory, opening
from torchkeep.vault.manifest import Policy
from torchkeep.vault.signing import Signer
from torchkeep.vault.trust import Entry, Trust
from torchkeep.vault.writing import Identification, Writer

ANNA, _ = Signer.generate()
TRUST = Trust((Entry(public=ANNA.public),))


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHKEEP_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def make(tmp_path):
    """Seals a version of a model."""

    def sealed(version, model="income", lowest=None, signers=(ANNA,)):
        path = tmp_path / f"{model}-{version}"
        of = Identification(model=model, version=version)
        policy = Policy(versions=(lowest, version)) if lowest else None
        with path.open("wb") as file, Writer(file, [PUBLIC], of, signers=signers) as writer:
            writer.finish(policy=policy)
        return path

    return sealed


def test_an_older_version_is_refused_wherever_it_is_opened(make):
    old, new = make(1), make(2)
    assert opening.verify(old, trust=TRUST).is_verified
    opening.open(new, KEY, trust=TRUST).close()
    with pytest.raises(vault.Withheld, match="version 1 of income, and version 2 was seen"):
        opening.open(old, KEY, trust=TRUST)
    assert opening.verify(old, trust=TRUST).code == "withheld"
    opening.open(new, KEY, trust=TRUST).close()  # the same once more is no older one
    opening.open(old, KEY).close()  # without trust nobody is asked
    assert opening.verify(make(1, "other"), trust=TRUST).is_verified


def test_looking_need_not_count(make):
    assert opening.verify(make(2), trust=TRUST, remember=False).is_verified
    assert opening.verify(make(1), trust=TRUST).is_verified


def test_what_is_refused_is_not_remembered(make, state):
    boris, _ = Signer.generate()
    assert not opening.verify(make(9, signers=[boris]), trust=TRUST).is_verified
    assert not state.exists()


def test_a_newer_version_says_which_is_the_lowest(make):
    opening.open(make(5, lowest=4), KEY, trust=TRUST).close()
    seen = json.loads((memory.folder() / "versions.json").read_text())["seen"]
    assert list(seen.values()) == [{"version": 5, "lowest": 4}]


def test_each_signer_has_a_count_of_its_own():
    memory.remember(b"a" * 32, "m", 7, 1)
    memory.check("x", b"b" * 32, "m", 1)
    memory.check("x", b"a" * 32, "n", 1)
    for version in (7, 8):
        memory.check("x", b"a" * 32, "m", version)
    with pytest.raises(vault.Withheld):
        memory.check("x", b"a" * 32, "m", 6)
    memory.remember(b"a" * 32, "m", 3, 1)  # it never goes back
    with pytest.raises(vault.Withheld):
        memory.check("x", b"a" * 32, "m", 6)


def test_the_lowest_counts_though_it_is_above_what_was_seen():
    memory.remember(b"a" * 32, "m", 3, 5)
    with pytest.raises(vault.Withheld, match="version 5 was seen"):
        memory.check("x", b"a" * 32, "m", 4)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"seen": 1}', b'{"seen": {"a": 1}}', b'{"seen": {}, "seen": {}}', b"\xff",
     b'{"seen": {"a": {"version": true, "lowest": 1}}}', b'{"seen": {"a": {"version": 1}}}',
     b'{"seen": {"a": {"version": "1", "lowest": 1}}}'],
)  # fmt: skip
def test_what_cannot_be_read_is_never_taken_for_nothing(make, state, content):
    state.mkdir()
    (state / "versions.json").write_bytes(content)
    with pytest.raises(Internal, match="nobody can say which versions were seen"):
        opening.open(make(1), KEY, trust=TRUST)
    assert (state / "versions.json").read_bytes() == content


def test_a_link_to_nowhere_is_not_taken_for_nothing(make, state):
    state.mkdir()
    (state / "versions.json").symlink_to("nowhere")
    with pytest.raises(Internal):
        opening.open(make(1), KEY, trust=TRUST)


def test_nobody_else_reads_it(make, state):
    opening.open(make(1), KEY, trust=TRUST).close()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "versions.json").stat().st_mode) == 0o600


def test_it_lies_where_the_system_keeps_state(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHKEEP_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert memory.folder() == tmp_path / "torchkeep"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert memory.folder() == tmp_path / ".local" / "state" / "torchkeep"


def test_many_at_once_forget_nothing():
    names = [f"m{number}" for number in range(24)]
    threads = [
        threading.Thread(target=lambda part=names[at::4]: [
            memory.remember(b"a" * 32, name, 2, 1) for name in part
        ])
        for at in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        with pytest.raises(vault.Withheld):
            memory.check("x", b"a" * 32, name, 1)
