"""Sealed anew under another key; and what comes out of a sealed file lies as it lay before."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from makers.sealed import KEY, PUBLIC, SMALL, contents, flip, stranger, tensors, write

from torchkeep import vault
from torchkeep.core import files
from torchkeep.core.errors import SourceError, UsageError
from torchkeep.vault import opening, rewrapping, sealing
from torchkeep.vault.manifest import Policy
from torchkeep.vault.signing import Signer
from torchkeep.vault.trust import Entry, Trust
from torchkeep.vault.writing import Identification, Writer

BOB, TO_BOB = stranger()
DATA = bytes(range(256)) * 900
PARTS = (("a/b", DATA), ("none", b""), ("r", [DATA, b"", b"x" * SMALL, DATA[:SMALL]]), ("c", b"c"))


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "x.tks", *PARTS)
    return tmp_path / "x.tks"


def opened(path, key):
    with opening.open(path, key) as sealed:
        return contents(sealed)


EXPECTED = [(name, one if isinstance(one, list) else [one]) for name, one in PARTS]


def test_the_old_key_opens_nothing_of_the_new_file(path):
    with opening.open(path, KEY) as before:
        old, old_header = before.file_key, before.frame.header_hash
    receipt = rewrapping.rekey(path, KEY, [TO_BOB])
    with pytest.raises(vault.NoIdentity):
        opening.open(path, KEY)
    assert opened(path, BOB) == EXPECTED
    with opening.open(path, BOB) as now:
        assert now.file_key != old
        assert now.frame.header.previous == old_header
        assert now.frame.header_hash == receipt.header_hash
        assert now.frame.block.generation == 1
    assert receipt.size == path.stat().st_size
    assert {one.name for one in path.parent.iterdir()} == {"x.tks"}


def test_what_is_said_of_it_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHKEEP_STATE", str(tmp_path / "state"))
    path, other = tmp_path / "x", tmp_path / "y"
    signer, _ = Signer.generate()
    allowed = tuple(sorted([PUBLIC.id, TO_BOB.id]))
    policy = Policy(not_after=4_000_000_000, versions=(2, 7), recipients=allowed)
    of = Identification(model="m", version=7)
    with path.open("wb") as file, Writer(file, [PUBLIC], of, signers=[signer]) as writer:
        writer.file("f", [DATA])
        writer.finish(metadata={"by": "me"}, policy=policy, content="ab" * 32)
    trust = Trust((Entry(public=signer.public),))
    rewrapping.rekey(path, KEY, [TO_BOB], target=other, trust=trust)
    assert opened(path, KEY) == [("f", [DATA])]  # the old one is still there
    with opening.open(other, BOB) as sealed:
        assert sealed.index.metadata == {"by": "me"}
        assert sealed.index.content == "ab" * 32
        assert sealed.frame.manifest.policy == policy
        assert (sealed.frame.header.model, sealed.frame.header.version) == ("m", 7)
    assert opening.verify(other, trust=trust).code == "untrusted"  # it was not signed anew
    rewrapping.rekey(path, KEY, [TO_BOB], signers=[signer])
    assert opening.verify(path, trust=trust).trusted


def test_what_cannot_be_rekeyed_stays_as_it_is(path, tmp_path):
    before = path.read_bytes()
    stranger_trust = Trust((Entry(public=Signer.generate()[0].public),))
    for call, error in (
        (lambda: rewrapping.rekey(path, BOB, [TO_BOB]), vault.NoIdentity),
        (lambda: rewrapping.rekey(path, KEY, []), UsageError),
        (lambda: rewrapping.rekey(path, KEY, [TO_BOB], target=path), UsageError),
        (lambda: rewrapping.rekey(path, KEY, [TO_BOB], trust=stranger_trust), vault.Untrusted),
        (lambda: rewrapping.rekey(tmp_path / "no", KEY, [TO_BOB]), SourceError),
    ):
        with pytest.raises(error):
            call()
    assert path.read_bytes() == before
    with opening.framed(path) as frame:
        at = frame.places.data + len(DATA)
    flip(path, at)
    damaged = path.read_bytes()
    with pytest.raises(vault.Damaged):
        rewrapping.rekey(path, KEY, [TO_BOB])
    assert path.read_bytes() == damaged
    assert {one.name for one in tmp_path.iterdir()} == {"x.tks"}


def test_a_policy_holds_for_the_new_file_too(tmp_path):
    path = tmp_path / "x"
    with path.open("wb") as file, Writer(file, [PUBLIC], Identification(model="m")) as writer:
        writer.finish(policy=Policy(recipients=(PUBLIC.id,)))
    with pytest.raises(vault.Withheld):
        rewrapping.rekey(path, KEY, [TO_BOB])


# Unsealing.


def test_files_come_out_byte_for_byte(tmp_path):
    source = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"w": torch.ones(300, 99), "none": torch.empty(0)}, source)
    for name in ("m.safetensors", "odd"):
        (tmp_path / name).write_bytes(source.read_bytes() if name != "odd" else DATA)
        sealing.seal(tmp_path / name, tmp_path / "x", [PUBLIC], overwrite=True)
        with opening.open(tmp_path / "x", KEY) as sealed:
            kinds = [layout.part.kind for layout in sealed.layouts]
            sealed.unseal(tmp_path / "out", overwrite=True)
        assert kinds == ["file" if name == "odd" else "tensors"]
        assert (tmp_path / "out").read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 8, b"\2" + bytes(7) + b"{}", DATA])
def test_what_only_looks_like_safetensors_is_a_file(tmp_path, data):
    (tmp_path / "m.safetensors").write_bytes(data)
    sealing.seal(tmp_path / "m.safetensors", tmp_path / "x", [PUBLIC])
    with opening.open(tmp_path / "x", KEY) as sealed:
        sealed.unseal(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data


def test_a_folder_comes_out_whole(tmp_path):
    folder = tmp_path / "in"
    content = {"a.bin": DATA, "b/c/d.json": b"{}", "b/empty": b"", "名": b"x"}
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    sealing.seal(folder, tmp_path / "x", [PUBLIC])
    with opening.open(tmp_path / "x", KEY) as sealed:
        sealed.unseal(tmp_path / "out")
        with pytest.raises(UsageError, match="exists already"):
            sealed.unseal(tmp_path / "out", overwrite=True)
    out = tmp_path / "out"
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == content


@pytest.mark.parametrize("parts", [1, 2])
def test_of_a_damaged_file_nothing_is_left(tmp_path, parts):
    path = tmp_path / "x"
    write(path, *((f"p{n}", DATA) for n in range(parts)))
    with opening.framed(path) as frame:
        at = frame.places.index - 20
    flip(path, at)
    with opening.open(path, KEY) as sealed, pytest.raises(vault.Damaged):
        sealed.unseal(tmp_path / "out")
    assert {one.name for one in tmp_path.iterdir()} == {"x"}


def test_what_is_in_the_way_stays(tmp_path):
    write(tmp_path / "x", ("f", DATA))
    (tmp_path / "out").write_bytes(b"mine")
    with opening.open(tmp_path / "x", KEY) as sealed:
        with pytest.raises(UsageError, match="never overwritten"):
            sealed.unseal(tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"mine"
        sealed.unseal(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_bytes() == DATA


def test_records_are_no_file(tmp_path):
    write(tmp_path / "x", ("r", [b"x"]))
    with opening.open(tmp_path / "x", KEY) as sealed:
        with pytest.raises(UsageError, match="no file"):
            sealed.unseal(tmp_path / "out")
        with pytest.raises(UsageError, match="holds no tensor"):
            sealed.get_tensor("x")
    assert not (tmp_path / "out").exists()


# Sealing what cannot be sealed.


def test_sealing_leaves_nothing_half_done(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(UsageError, match="holds no file"):
        sealing.seal(tmp_path / "in", tmp_path / "x", [PUBLIC])
    (tmp_path / "in" / "a").write_bytes(DATA)
    (tmp_path / "in" / "link").symlink_to("..")
    with pytest.raises(SourceError, match="a link"):
        sealing.seal(tmp_path / "in", tmp_path / "x", [PUBLIC])
    (tmp_path / "in" / "link").unlink()
    with pytest.raises(UsageError, match="into itself"):
        sealing.seal(tmp_path / "in", tmp_path / "in" / "a", [PUBLIC], overwrite=True)
    (tmp_path / "in" / "a:b").write_bytes(b"x")
    with pytest.raises(UsageError, match="a:b is no name"):
        sealing.seal(tmp_path / "in", tmp_path / "x", [PUBLIC])
    with pytest.raises(SourceError):
        sealing.seal(tmp_path / "missing", tmp_path / "x", [PUBLIC])
    assert {one.name for one in tmp_path.iterdir()} == {"in"}
    assert (tmp_path / "in" / "a").read_bytes() == DATA


def test_a_long_name_is_cut(tmp_path):
    path = tmp_path / ("x" * 240)
    path.write_bytes(b"x")
    sealing.seal(path, tmp_path / "s", [PUBLIC])
    with opening.open(tmp_path / "s", KEY) as sealed:
        assert sealed.frame.header.model == "x" * 200


def test_a_statement_says_what_was_sealed(tmp_path):
    tensors(tmp_path / "other", {"w": torch.ones(2)})
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "m.safetensors")
    done = sealing.seal(tmp_path / "m.safetensors", tmp_path / "x", [PUBLIC])
    said = done.statement()
    assert said is not None
    assert done.content in str(said)
    assert done.to_json()["items"] == 1
    assert files.read(tmp_path / "x")
