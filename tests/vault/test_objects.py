"""Sealed files in object stores: opened by ranges, sealed for others by what lies beside them."""

from __future__ import annotations

import random

import pytest
import torch
from safetensors.torch import save_file
from servers import faults

from torchkeep.cli import app
from torchkeep.core.errors import SourceError, TorchkeepError, UsageError
from torchkeep.vault import later, opening, rewrapping, sealing
from torchkeep.vault.errors import Damaged, NoIdentity
from torchkeep.vault.reading import Level
from torchkeep.vault.recipients import PublicKey, SecretKey

TENSORS = {
    f"layer.{number}.weight": torch.arange(200_000, dtype=torch.float32) + number
    for number in range(4)
}
ALICE, BOB, CAROL = KEYS = [SecretKey.generate(post_quantum=False)[0] for _ in range(3)]
TO_ALICE, TO_BOB, TO_CAROL = ([PublicKey(key.public)] for key in KEYS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "model.safetensors"
    save_file(TENSORS, path)
    return path


@pytest.fixture
def url(s3, plain, monkeypatch):
    """A sealed object."""
    monkeypatch.setattr("torchkeep.core.source.objects._RETRY", {"max_retries": 1})
    monkeypatch.setattr("torchkeep.core.sink.s3._ATTEMPTS", 2)
    sealing.seal(plain, f"{s3.url}/model.tks", TO_ALICE)
    return f"{s3.url}/model.tks"


def opened(url: str, key: SecretKey, tmp_path) -> bytes:
    """What comes out."""
    target = tmp_path / "out"
    with opening.open(url, key) as sealed:
        sealed.unseal(target, overwrite=True)
    return target.read_bytes()


def test_what_was_sealed_comes_out(s3, url, plain, tmp_path):
    assert s3.names() == ["model.tks"]
    assert opened(url, ALICE, tmp_path) == plain.read_bytes()
    assert opening.verify(url).is_verified


def test_several_parts_go_up_in_one_pass(s3, plain, tmp_path, monkeypatch):
    monkeypatch.setattr("torchkeep.core.sink.uploads.PART", 1 << 20)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    sealing.seal(plain, f"{s3.url}/parts.tks", TO_ALICE)
    assert sum(method == "PUT" for method, _ in s3.proxy.seen) == 4  # of 3.2 MB
    assert opened(f"{s3.url}/parts.tks", ALICE, tmp_path) == plain.read_bytes()


@pytest.mark.parametrize("level", [Level.TAGS, Level.FULL])
def test_one_tensor_takes_three_requests_at_most(s3, url, level):
    with opening.open(url, ALICE, level=level) as sealed:
        before = len(s3.proxy.seen)
        tensor = sealed.get_tensor("layer.2.weight")
        after = len(s3.proxy.seen)
    assert torch.equal(tensor, TENSORS["layer.2.weight"])
    assert after - before <= 3


def test_nothing_is_overwritten_unless_it_is_asked_for(s3, url, plain, tmp_path):
    before = s3.get("model.tks")
    with pytest.raises(UsageError, match="exists already and is never overwritten"):
        sealing.seal(plain, url, TO_BOB)
    assert s3.get("model.tks") == before
    sealing.seal(plain, url, TO_BOB, overwrite=True)
    assert opened(url, BOB, tmp_path) == plain.read_bytes()


def test_the_commands(s3, plain, tmp_path, capfd):
    key, out, url = tmp_path / "alice.key", tmp_path / "out", f"{s3.url}/x.tks"
    assert app.run(["key", "new", "--unencrypted", "-o", str(key)]) == 0
    sealing_it = ["seal", str(plain), "-o", url, "--to", f"{key}.pub"]
    assert app.run(sealing_it) == 0
    assert app.run(sealing_it) == 2
    assert app.run(["rewrap", url, "--identity", str(key), "--to", f"{key}.pub"]) == 0
    assert app.run(["open", url, "-o", str(out), "--identity", str(key)]) == 0
    assert app.run(["verify", url, "--identity", str(key)]) == 0
    assert out.read_bytes() == plain.read_bytes()
    assert s3.names() == ["x.tks", "x.tks.keys"]
    assert "exists already and is never overwritten" in capfd.readouterr().err


# Sealed for others.


def test_a_rewrap_leaves_the_object_as_it_is(s3, url, plain, tmp_path):
    before = s3.get("model.tks")
    rewrapping.rewrap(url, ALICE, TO_BOB)
    assert (s3.get("model.tks"), s3.names()) == (before, ["model.tks", "model.tks.keys"])
    assert opened(url, BOB, tmp_path) == plain.read_bytes()
    with pytest.raises(NoIdentity):
        opening.open(url, ALICE)
    rewrapping.rewrap(url, BOB, TO_CAROL)
    assert opened(url, CAROL, tmp_path) == plain.read_bytes()
    with opening.framed(url) as frame:
        assert frame.block.generation == 3


def test_the_two_objects_together_are_the_file_that_a_disk_would_hold(s3, url, plain, tmp_path):
    rewrapping.rewrap(url, ALICE, TO_BOB)
    with opening.framed(url) as frame:
        start = frame.block.immutable
    whole = tmp_path / "whole.tks"
    whole.write_bytes(s3.get("model.tks")[:start] + s3.get("model.tks.keys"))
    assert opened(str(whole), BOB, tmp_path) == plain.read_bytes()


def race(monkeypatch, other):
    """Have something happen before the next key blocks are put."""
    put = later.Joined.put

    def late(self, keys):
        monkeypatch.setattr(later.Joined, "put", put)
        other()
        put(self, keys)

    monkeypatch.setattr(later.Joined, "put", late)


@pytest.mark.parametrize("before", [0, 1], ids=["first", "second"])
def test_of_two_rewraps_at_once_one_wins(s3, url, plain, tmp_path, monkeypatch, before):
    if before:
        rewrapping.rewrap(url, ALICE, TO_ALICE)
    race(monkeypatch, lambda: rewrapping.rewrap(url, ALICE, TO_BOB))
    with pytest.raises(SourceError, match="meanwhile; run it again"):
        rewrapping.rewrap(url, ALICE, TO_CAROL)
    assert opened(url, BOB, tmp_path) == plain.read_bytes()


def flips(data: bytes):
    """Every kind of damage to an object."""
    rng = random.Random(2)
    for at in [*range(0, len(data), 7), len(data) - 1]:
        yield data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    yield from (data[:at] for at in (0, 1, 7, 8, len(data) // 2, len(data) - 16, len(data) - 1))
    yield data + b"\0"
    yield data + data
    yield b"<Error/>"


def test_damaged_key_blocks_are_refused(s3, url):
    rewrapping.rewrap(url, ALICE, TO_BOB)
    good = s3.get("model.tks.keys")
    for bad in flips(good):
        s3.put("model.tks.keys", bad)
        with pytest.raises((Damaged, NoIdentity)):
            opening.open(url, BOB)
    s3.put("model.tks.keys", good)
    opening.open(url, BOB).close()


def test_key_blocks_of_another_file_are_refused(s3, url, plain):
    sealing.seal(plain, f"{s3.url}/other.tks", TO_ALICE)
    rewrapping.rewrap(f"{s3.url}/other.tks", ALICE, TO_BOB)
    s3.put("model.tks.keys", s3.get("other.tks.keys"))
    with pytest.raises(Damaged, match="belong to another file"):
        opening.open(url, BOB)


def test_what_is_sealed_anew_loses_its_old_key_blocks(s3, url, plain, tmp_path):
    rewrapping.rewrap(url, ALICE, TO_BOB)
    rewrapping.rekey(url, BOB, TO_CAROL)
    assert s3.names() == ["model.tks"]
    assert opened(url, CAROL, tmp_path) == plain.read_bytes()


def test_key_blocks_without_their_object_are_in_the_way(s3, url, plain):
    rewrapping.rewrap(url, ALICE, TO_BOB)
    s3.client.delete_object(Bucket=s3.bucket, Key="model.tks")
    with pytest.raises(UsageError, match=r"model\.tks\.keys exists already"):
        sealing.seal(plain, url, TO_ALICE)
    assert s3.names() == ["model.tks.keys"]


def test_a_rewrap_of_what_was_sealed_anew_meanwhile_is_taken_back(
    s3, url, plain, tmp_path, monkeypatch
):
    race(monkeypatch, lambda: sealing.seal(plain, url, TO_CAROL, overwrite=True))
    with pytest.raises(SourceError, match="sealed anew meanwhile"):
        rewrapping.rewrap(url, ALICE, TO_BOB)
    assert s3.names() == ["model.tks"]
    assert opened(url, CAROL, tmp_path) == plain.read_bytes()


# Faults on the way.

FAULTS = {
    "reset": faults.reset,
    "lost": faults.lost,
    "500": faults.status(500),
    "503": faults.status(503),
    "404": faults.status(404),
    "short": faults.short,
    "swapped": faults.swapped,
    "flipped": faults.flipped,
}


@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_while_opening_never_gives_other_bytes(s3, url, plain, tmp_path, fault, nth):
    rewrapping.rewrap(url, ALICE, TO_BOB)
    left = [nth]

    def at_last(_asked):
        left[0] -= 1
        return left[0] <= 0

    s3.proxy.does(fault, at_last)
    try:
        out = opened(url, BOB, tmp_path)
    except TorchkeepError:
        assert not (tmp_path / "out").exists()
    else:
        assert out == plain.read_bytes()


@pytest.mark.parametrize(
    "fault", [*FAULTS.values(), faults.flipped_up], ids=[*FAULTS, "flipped-up"]
)
def test_a_fault_while_sealing_leaves_all_or_nothing(s3, plain, tmp_path, fault):
    s3.proxy.does(fault, lambda asked: asked.method == "PUT")
    told = False
    try:
        sealing.seal(plain, f"{s3.url}/model.tks", TO_ALICE)
    except TorchkeepError:
        told = True
    s3.proxy.does()
    if s3.names():
        try:
            assert opened(f"{s3.url}/model.tks", ALICE, tmp_path) == plain.read_bytes()
        except Damaged:
            assert fault is faults.flipped_up
    else:
        assert told


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_while_rewrapping_leaves_the_old_or_the_new(s3, url, plain, tmp_path, fault):
    s3.proxy.does(fault, lambda asked: asked.method == "PUT")
    try:
        rewrapping.rewrap(url, ALICE, TO_BOB)
        told = False
    except TorchkeepError:
        told = True
    s3.proxy.does()
    winner = BOB if s3.names() == ["model.tks", "model.tks.keys"] else ALICE
    assert told or winner is BOB
    assert opened(url, winner, tmp_path) == plain.read_bytes()
