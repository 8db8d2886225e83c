"""What anybody can do to a sealed file without a key is refused, by both readers alike.

A mutant may only be taken where it says what was sealed: the same content, names, signers and
policy, and for whoever has an identity the same recipients.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from doubles.damage import Container
from doubles.sealed import FOLDER, LEVELS, VECTORS, Facts, both, outside

SOAK = bool(os.environ.get("TORCHKEEP_SOAK"))
SHARE = 60
FLIPS = 1_200
KINDS = ("policy", "rewrapped", "tensors-chacha20", "folder", "passphrase", "mixed", "quantum")


def container(name: str) -> Container:
    return Container((FOLDER / f"{name}.tks").read_bytes())


def hold(
    tmp_path: Path, name: str, level: str, mutants: list[bytes], other: Facts | None = None
) -> None:
    """Both readers refuse each mutant, or find in it what was sealed, there or in the other."""
    vector, path = VECTORS[name], tmp_path / "model.tks"
    keys = [(kind, bytes.fromhex(secret)) for kind, secret in vector["identities"]][:1]
    good = (FOLDER / f"{name}.tks").read_bytes()
    expected = both(path, good, keys, level)
    assert expected is not None
    refused = 0
    for mutant in mutants:
        found = both(path, mutant, keys, level)
        assert found in (None, expected, other), "a mutant is taken for something else"
        refused += found is None
    assert refused > len(mutants) // 20


def some(rng: random.Random, mutants: list[bytes]) -> list[bytes]:
    """All of them, or a share in an ordinary run."""
    return mutants if SOAK else rng.sample(mutants, min(len(mutants), SHARE))


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_is_refused_or_harmless(tmp_path, name, level):
    rng, subject = random.Random(f"{name} {level}"), container(name)
    hold(tmp_path, name, level, some(rng, list(subject.flips(rng))))
    hold(tmp_path, name, level, some(rng, list(subject.random_flips(rng, FLIPS))))


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [*KINDS, "chunks"])
def test_a_file_put_together_anew_is_refused(tmp_path, name, level):
    rng, subject = random.Random(f"{name} {level}"), container(name)
    hold(tmp_path, name, level, some(rng, [*subject.cuts(), *subject.moved()]))
    other = container("mixed" if name != "mixed" else "policy")
    # Nothing but the file key vouches for a key block: without an identity it is the other file.
    strange = outside(other.data) if level == "public" else None
    hold(tmp_path, name, level, [*subject.spliced(other)], strange)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", KINDS)
def test_a_number_that_overflows_is_refused_or_harmless(tmp_path, name, level):
    rng, subject = random.Random(f"{name} {level}"), container(name)
    hold(tmp_path, name, level, some(rng, list(subject.numbers())))


def test_a_reader_that_takes_anything_would_be_seen(tmp_path, monkeypatch):
    """The planted fault: a product that does not look at its segments."""
    monkeypatch.setattr("torchkeep.vault.checking.digests", lambda frame: None)
    rng, subject = random.Random(0), container("folder")
    with pytest.raises(AssertionError, match="the product says"):
        hold(tmp_path, "folder", "public", list(subject.random_flips(rng, 3)))
