"""Statements that are signed: whose word counts, and for what."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from makers.projects import project

from torchkeep.cli import keyring
from torchkeep.cli.kept import Shelf
from torchkeep.core import dsse, evidence
from torchkeep.core.dsse import Envelope
from torchkeep.core.errors import Foreign, Internal, ProjectError, UsageError
from torchkeep.core.project import Project
from torchkeep.core.statement import Subject, derivation, state
from torchkeep.vault import keys, memory_lock, statements, trust
from torchkeep.vault.signing import Signer
from torchkeep.vault.trust import Entry, Trust

TRUSTED, UNTRUSTED, UNSIGNED = evidence.Trust
BEFORE, AFTER = Subject("a.pt", "a" * 64), Subject("a.safetensors", "b" * 64)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate()[0]


@pytest.fixture(scope="module")
def other() -> Signer:
    return Signer.generate()[0]


def said(accuracy: float = 0.5):
    return state("robustness", [AFTER], {"accuracy": accuracy}, started=datetime.now(UTC))


def trusting(*signers: Signer, **limits) -> Trust:
    return Trust(tuple(Entry(public=one.public, **limits) for one in signers))


def signed(*signers: Signer) -> Envelope:
    envelope = said().envelope()
    for one in signers:
        envelope = statements.sign(envelope, one)
    return envelope


# One statement.


def test_a_trusted_signature_is_trusted(signer):
    envelope = Envelope.from_bytes(signed(signer).to_bytes())
    assert envelope.signatures[0].keyid == signer.id.hex()
    found = statements.verify(envelope, trusting(signer), "robustness")
    assert (bool(found), found.trust, found.reason) == (True, TRUSTED, "")
    assert found.signers == (signer.id.hex(),)


def test_nobody_has_signed(signer):
    found = statements.verify(signed(), trusting(signer), "robustness")
    assert (bool(found), found.trust, found.reason) == (False, UNSIGNED, "nobody has signed it")


def test_a_stranger_has_signed(signer, other):
    found = statements.verify(signed(other), trusting(signer), "robustness")
    assert (bool(found), found.trust, found.signers) == (False, UNTRUSTED, (other.id.hex(),))
    assert "not trusted" in found.reason


def test_one_of_several_is_enough(signer, other):
    for envelope in (signed(other, signer), signed(signer, other)):
        assert statements.verify(envelope, trusting(signer), "robustness")
    foreign = dsse.Signature("elsewhere", b"of another kind")
    envelope = signed(signer)
    envelope = replace(envelope, signatures=(foreign, *envelope.signatures))
    assert statements.verify(envelope, trusting(signer), "robustness")


def _sig(change):
    def apply(envelope: Envelope) -> Envelope:
        (one,) = envelope.signatures
        return replace(envelope, signatures=(replace(one, sig=change(one.sig)),))

    return apply


def _flipped(at: int):
    return _sig(lambda sig: sig[:at] + bytes([sig[at] ^ 1]) + sig[at + 1 :])


CLASSIC, LATTICE = 2 + 32 + 1952, 2 + 32 + 1952 + 64
FORGED = {
    "classic half": _flipped(CLASSIC + 10),
    "lattice half": _flipped(LATTICE + 10),
    "last bit": _flipped(LATTICE + 3308),
    "algorithm": _flipped(0),
    "key": _flipped(2),
    "cut": _sig(lambda sig: sig[:-1]),
    "longer": _sig(lambda sig: sig + b"\0"),
    "empty": _sig(lambda _: b""),
    "classic half alone": _sig(lambda sig: sig[:LATTICE]),
    "payload": lambda envelope: replace(envelope, payload=envelope.payload.replace(b"0.5", b"0.9")),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_changed_signature_or_statement_is_not_trusted(signer, forgery):
    envelope = FORGED[forgery](signed(signer))
    assert envelope != signed(signer)
    found = statements.verify(envelope, trusting(signer), "robustness")
    assert (found.trust, found.reason) == (UNTRUSTED, "none of its signatures verifies")


def test_a_signature_cannot_be_moved_to_another_key(signer, other):
    """Whoever keeps the signatures and puts the public key of another in has that other's id."""
    envelope = _sig(lambda sig: sig[:2] + other.public + sig[CLASSIC:])(signed(signer))
    assert not statements.verify(envelope, trusting(other), "robustness")


def test_a_signature_of_a_sealed_file_is_none_of_a_statement(signer):
    envelope = said().envelope()
    message = b"torchkeep-sealed-v1 signature" + envelope.payload
    moved = replace(envelope, signatures=(dsse.Signature("", signer.sign(message)),))
    assert not statements.verify(moved, trusting(signer), "robustness")


def test_the_name_of_a_key_decides_nothing(signer, other):
    envelope = signed(other)
    named = replace(envelope.signatures[0], keyid=signer.id.hex())
    assert not statements.verify(
        replace(envelope, signatures=(named,)), trusting(signer), "robustness"
    )


def test_the_kind_is_part_of_what_is_asked(signer):
    with pytest.raises(Foreign, match="of kind robustness, expected scan"):
        statements.verify(signed(signer), trusting(signer), "scan")


def test_only_statements_are_signed(signer):
    for envelope in (Envelope("text/plain", b"{}"), replace(said().envelope(), payload=b"{}")):
        with pytest.raises(Foreign, match="not a torchkeep statement"):
            statements.sign(envelope, signer)


YESTERDAY = date.today() - timedelta(days=2)
LIMITS = [
    ({"may": frozenset({"statement"})}, True),
    ({"may": frozenset({"seal"})}, False),
    ({"until": date.today() + timedelta(days=2)}, True),
    ({"until": YESTERDAY}, False),
    ({"models": ("*",)}, True),
    ({"models": ("income",)}, False),  # a statement names no model, so this may not sign any
    ({"min_version": 7}, True),  # nor a version
]


@pytest.mark.parametrize(("limits", "is_trusted"), LIMITS)
def test_trust_has_its_limits(signer, limits, is_trusted):
    found = statements.verify(signed(signer), trusting(signer, **limits), "robustness")
    assert (bool(found), bool(found.reason)) == (is_trusted, not is_trusted)


# A project.


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """The room's entry point, whether or not this version of torchkeep is the one installed."""
    info = tmp_path / "site" / "sample-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n")
    points = "[torchkeep.verifiers]\nvault = torchkeep.vault.statements:verifier\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return info / "entry_points.txt"


def named(folder: Path, signer: Signer, more: str = "") -> Project:
    text = f'[project]\nname = "sample"\n[vault]\ntrust = "trust.toml"\n{more}'
    entry = f'[[signer]]\nkey = "{trust.spell(signer.public)}"\n'
    return project(folder / "project", {"torchkeep.toml": text, "trust.toml": entry})


def test_a_project_trusts_whom_it_names(tmp_path, signer, other):
    found = named(tmp_path, signer)
    for accuracy, by, expected in ((0.1, None, UNSIGNED), (0.2, other, UNTRUSTED)):
        statement = said(accuracy)
        found.keep(statement, statements.sign(statement.envelope(), by) if by else None)
        best = found.evidence("robustness", AFTER)
        assert (best.trust, best.statement.result) == (expected, {"accuracy": accuracy})
    statement = said(0.3)
    found.keep(statement, statements.sign(statement.envelope(), signer))
    statement = said(0.4)
    found.keep(statement)  # newer, and worth less
    best = found.evidence("robustness", AFTER)
    assert (best.trust, best.statement.result) == (TRUSTED, {"accuracy": 0.3})


def test_evidence_is_trusted_no_further_than_the_way_to_it(tmp_path, signer):
    found = named(tmp_path, signer)
    statement = state("robustness", [BEFORE], {}, started=datetime.now(UTC))
    found.keep(statement, statements.sign(statement.envelope(), signer))
    step = derivation(BEFORE, AFTER, "convert", {})
    found.keep(step)
    assert found.evidence("robustness", AFTER).trust is UNSIGNED
    found.keep(step, statements.sign(step.envelope(), signer))
    assert found.evidence("robustness", AFTER).trust is TRUSTED


def test_a_statement_that_is_changed_on_the_disk_is_not_trusted(tmp_path, signer):
    found = named(tmp_path, signer)
    statement = said(0.3)
    path = found.keep(statement, statements.sign(statement.envelope(), signer))
    document = json.loads(path.read_bytes())
    payload = base64.b64decode(document["payload"]).replace(b"0.3", b"0.9")
    path.write_text(json.dumps(document | {"payload": base64.b64encode(payload).decode()}))
    best = found.evidence("robustness", AFTER)
    assert (best.trust, best.statement.result) == (UNTRUSTED, {"accuracy": 0.9})


@pytest.mark.parametrize("text", ["", "[vault]\nrecipients = []\n"])
def test_a_project_that_names_nobody_trusts_nobody(tmp_path, signer, text):
    found = project(tmp_path, {"torchkeep.toml": f'[project]\nname = "x"\n{text}'})
    statement = said()
    found.keep(statement, statements.sign(statement.envelope(), signer))
    assert found.evidence("robustness", AFTER).trust is UNTRUSTED


def test_a_trust_file_that_is_missing_or_wrong_hides_no_statement(tmp_path, signer):
    found = named(tmp_path, signer)
    found.keep(said())
    (found.root / "trust.toml").write_text("[[signer]]\nkey = 3\n")
    with pytest.raises(ProjectError, match=r"trust\.toml:2: signer\[0\]\.key: "):
        found.evidence("robustness", AFTER)
    (found.root / "torchkeep.toml").write_text(
        '[project]\nname = "x"\n[vault]\ntrust = "gone.pub"\n'
    )
    with pytest.raises(ProjectError, match=r"torchkeep\.toml: vault\.trust: .*gone\.pub"):
        Project.open(found.root).evidence("robustness", AFTER)


def test_a_room_that_does_not_load_is_said(tmp_path, signer, installed):
    installed.write_text("[torchkeep.verifiers]\nvault = torchkeep.vault.nothing:verifier\n")
    with pytest.raises(Internal, match="signatures cannot be judged: sample does not load"):
        named(tmp_path, signer).evidence("robustness", AFTER)


def test_an_entry_point_for_another_room_judges_nothing(tmp_path, signer, installed):
    installed.write_text("[torchkeep.verifiers]\nother = torchkeep.vault.nothing:verifier\n")
    monkey = named(tmp_path, signer)
    monkey.keep(said())
    assert monkey.evidence("robustness", AFTER).trust is UNSIGNED


# Commands.


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(memory_lock, "forbid_dumps", lambda: None)
    monkeypatch.delenv("TORCHKEEP_PASSPHRASE_FILE", raising=False)
    monkeypatch.setenv("TORCHKEEP_KEYS", str(tmp_path / "keys"))
    (tmp_path / "keys").mkdir(mode=0o700)
    return tmp_path / "keys"


def test_what_a_project_makes_is_signed_by_its_signer(tmp_path, home):
    keys.new_signer(home / "release", passphrase=None)
    (made,) = keyring.signers(["release"], None)
    found = named(tmp_path, made, 'signer = "release"\n')
    Shelf(found.root / "out.safetensors", force=False).keep(said())
    best = found.evidence("robustness", AFTER)
    assert best.trust is TRUSTED


def test_without_a_signer_nothing_is_signed(tmp_path, home, signer):
    found = named(tmp_path, signer)
    Shelf(found.root / "out.safetensors", force=False).keep(said())
    assert found.evidence("robustness", AFTER).trust is UNSIGNED


def test_a_signer_that_is_missing_is_said_before_the_work(tmp_path, home, signer):
    found = named(tmp_path, signer, 'signer = "release"\n')
    with pytest.raises(UsageError, match="there is no key release"):
        Shelf(found.root / "out.safetensors", force=False)


def test_the_passphrase_comes_from_the_file_that_is_named(tmp_path, home, monkeypatch):
    monkeypatch.setattr(keys.age, "WORK", 4)
    keys.new_signer(home / "release", passphrase=b"words")
    (tmp_path / "words").write_bytes(b"words\n")
    (tmp_path / "words").chmod(0o600)
    (made,) = keyring.signers(["release"], tmp_path / "words")
    found = named(tmp_path, made, 'signer = "release"\n')
    with pytest.raises(UsageError, match="a passphrase is needed"):
        Shelf(found.root / "out", force=False)
    Shelf(found.root / "out", force=False, passphrase_file=tmp_path / "words").keep(said())
    assert found.evidence("robustness", AFTER).trust is TRUSTED
    monkeypatch.setenv("TORCHKEEP_PASSPHRASE_FILE", str(tmp_path / "words"))
    Shelf(found.root / "out", force=False)
