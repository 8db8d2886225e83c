"""Both readers find in every vector what was sealed in it: what was written once stays readable."""

from __future__ import annotations

import hashlib

import pytest
from doubles import sealed
from doubles.sealed import FOLDER, LEVELS, VECTORS, Facts, by_product, by_second
from vault import reader

HALF_A_MEGABYTE = 1 << 19


def openers(vector: dict) -> list[tuple[str, bytes]]:
    return [(kind, bytes.fromhex(secret)) for kind, secret in vector["identities"]]


def test_every_file_is_a_vector():
    assert {path.stem for path in FOLDER.glob("*.tks")} == set(VECTORS)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < HALF_A_MEGABYTE
    headers = [reader.of(path.read_bytes(), (), "public", sealed.MOMENT).header
               for path in FOLDER.glob("*.tks")]  # fmt: skip
    assert {header["suite"] for header in headers} == {1, 2}
    assert {header["chunk"] for header in headers} == {16, 20}


@pytest.mark.parametrize("name", VECTORS)
def test_both_readers_find_what_was_sealed(name):
    vector, path = VECTORS[name], FOLDER / f"{name}.tks"
    for one in openers(vector):
        for level in ("tags", "full"):
            found = by_product(path, [one], level)
            assert found == by_second(path.read_bytes(), [one], level)
            check(found, vector)
    assert by_product(path, (), "public") == by_second(path.read_bytes(), (), "public")
    assert reader.open(path, (), "public").generation == vector["generation"]


def check(found: Facts, vector: dict) -> None:
    for key in ("model", "version", "previous", "signers", "suite"):
        assert found.said[key] == vector[key]
    assert (found.policy, found.metadata) == (vector["policy"], vector["metadata"])
    assert len(found.content) == len(vector["parts"])
    for (kind, path, table, items), part in zip(found.content, vector["parts"], strict=True):
        blobs = [item[3] for item in items] if kind == "tensors" else items
        digests = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        assert (kind, path, digests) == (part["kind"], part["path"], part["items"])
        assert part["header"] in (None, hashlib.sha256(table).hexdigest())


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("level", LEVELS)
def test_one_wrong_bit_is_seen_by_both(tmp_path, name, level):
    """The planted fault: a bit of the last chunk of the index."""
    data = bytearray((FOLDER / f"{name}.tks").read_bytes())
    manifest = reader.of(bytes(data), (), "public", sealed.MOMENT).manifest
    at = 12 + int.from_bytes(data[8:12], "little") + manifest["data"] + manifest["index"] - 1
    data[at] ^= 1
    path = tmp_path / "model.tks"
    assert sealed.both(path, bytes(data), openers(VECTORS[name]), level) is None


@pytest.mark.parametrize("name", VECTORS)
def test_a_stranger_opens_nothing(name):
    stranger = [("x25519", b"\7" * 32), ("xwing", b"\7" * 32), ("argon2id", b"guess")]
    path = FOLDER / f"{name}.tks"
    with pytest.raises(ValueError, match="no identity"):
        by_second(path.read_bytes(), stranger, "tags")
    with pytest.raises(sealed.NoIdentity):
        by_product(path, stranger, "tags")


def test_who_was_left_out_by_a_rewrap_opens_nothing():
    path = FOLDER / "rewrapped.tks"
    alice = ("x25519", bytes.fromhex(VECTORS["file"]["identities"][0][1]))
    with pytest.raises(sealed.NoIdentity):
        by_product(path, [alice], "full")
    with pytest.raises(ValueError, match="no identity"):
        by_second(path.read_bytes(), [alice], "full")


@pytest.mark.parametrize("note", [None, b"torchkeep-append-v1\n"])
def test_an_interrupted_rewrap_is_as_if_it_had_not_been(tmp_path, note):
    data = (FOLDER / "policy.tks").read_bytes()
    path = tmp_path / "model.tks"
    path.write_bytes(data + b"TKSKEYS1 and then the power went")
    keys = openers(VECTORS["policy"])
    if note is None:
        with pytest.raises(sealed.Damaged):
            by_product(path, keys, "full")
        with pytest.raises(ValueError, match="damaged end"):
            reader.open(path, keys)
    else:
        (tmp_path / "model.tks.append").write_bytes(note + len(data).to_bytes(8, "little"))
        check(by_product(path, keys, "full"), VECTORS["policy"])
        assert reader.open(path, keys).parts[0].items == [b"hello"]
