"""What whoever holds the file key can do to a sealed file: under its signatures, nothing."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from doubles.forge import Forge, canonical, following, held
from doubles.sealed import (
    BUT_PUBLIC,
    EVERYWHERE,
    FOLDER,
    LEVELS,
    NOWHERE,
    ONLY_TAGS,
    by_product,
    by_second,
    identity,
    verdicts,
)
from vault import reader

from torchkeep.core.errors import TorchkeepError
from torchkeep.vault import opening
from torchkeep.vault.errors import NoIdentity, Untrusted
from torchkeep.vault.reading import Level
from torchkeep.vault.recipients import Passphrase, PublicKey, SecretKey
from torchkeep.vault.signing import PUBLIC, Signer
from torchkeep.vault.trust import Entry, Trust


@pytest.mark.parametrize("name", ["file", "records", "folder", "chunks", "tensors-chacha20"])
def test_the_forge_can_make_a_good_file(tmp_path, name):
    forge, keys = held(name)
    assert verdicts(tmp_path, forge.build(), keys) == EVERYWHERE


# Under the signatures of others.


def changed(forge: Forge) -> Forge:
    ((descriptor, clear), *rest) = forge.items
    return replace(forge, items=((descriptor, bytes(len(clear))), *rest))


@pytest.mark.parametrize("name", ["signed", "policy", "rewrapped"])
def test_content_under_an_old_signature_is_refused(tmp_path, name):
    """``tags`` trusts everyone who holds a key: this is what that means."""
    forge, keys = held(name)
    assert verdicts(tmp_path, changed(forge).build(), keys) == ONLY_TAGS


@pytest.mark.parametrize(
    "policy", [{}, {"not_after": 4_000_000_000}, {"recipients": []}, {"versions": [1, 9]}]
)
def test_a_policy_under_an_old_signature_is_refused(tmp_path, policy):
    forge, keys = held("policy")
    data = replace(forge, manifest=(("policy", policy),)).build()
    assert verdicts(tmp_path, data, keys) == ((False, policy != {"recipients": []}, False))


def product_of(x: int, y: int) -> int:
    """In the field of GCM."""
    z = 0
    for i in range(127, -1, -1):
        if x >> i & 1:
            z ^= y
        y = y >> 1 ^ ((0xE1 << 120) if y & 1 else 0)
    return z


def inverse(x: int) -> int:
    result, exponent = 1 << 127, (1 << 128) - 2
    while exponent:
        if exponent & 1:
            result = product_of(result, x)
        x, exponent = product_of(x, x), exponent >> 1
    return result


def same_tag(key: bytes, nonce: bytes, clear: bytes, tag: bytes) -> bytes:
    """Another ciphertext under the tag of an old one: GCM is linear for whoever has the key."""
    made = reader.AESGCM(key).encrypt(nonce, clear, None)
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(bytes(16))
    h = int.from_bytes(block, "big")
    difference = int.from_bytes(made[-16:], "big") ^ int.from_bytes(tag, "big")
    whole = len(clear) // 16 * 16
    power = product_of(h, h) if whole == len(clear) else product_of(product_of(h, h), h)
    fixed = product_of(difference, inverse(power))
    body = bytearray(made[:-16])
    last = int.from_bytes(body[whole - 16 : whole], "big") ^ fixed
    body[whole - 16 : whole] = last.to_bytes(16, "big")
    return bytes(body) + tag


@pytest.mark.parametrize("name", ["signed", "rewrapped"])
def test_a_forged_chunk_with_the_old_tag_is_refused(tmp_path, name):
    """The attack that the closest peer does not see."""
    forge, keys = held(name)
    number = next(n for n, (_, clear) in enumerate(forge.items) if len(clear) >= 48)
    data, index = forge.sections()
    nonce = bytes([1]) + bytes(11)
    data[number] = same_tag(
        forge.item_key(number), nonce, bytes(len(forge.items[number][1])), data[number][-16:]
    )
    good = (FOLDER / f"{name}.tks").read_bytes()
    start, stored = len(forge.start), b"".join(data + index)
    assert good[start : start + len(stored)] != stored
    assert len(good[start : start + len(stored)]) == len(stored)
    forged = good[:start] + stored + good[start + len(stored) :]
    assert verdicts(tmp_path, forged, keys) == ONLY_TAGS
    # Digests of its own do not help: they are not those that were signed.
    at = reader.blocks(good)[0]["immutable"]
    behind = replace(forge, stored=stored).build()
    assert verdicts(tmp_path, behind[:at] + good[at:], keys)[2] is False


def test_every_floor_of_the_digest_tree_counts(tmp_path):
    """A segment and its digest, changed together; the page over them is the old one."""
    forge, keys = held("signed")
    data = bytearray((FOLDER / "signed.tks").read_bytes())
    start, size = len(forge.start), sum(len(chunk) for part in forge.sections() for chunk in part)
    length = int.from_bytes(data[start + size : start + size + 4], "little")
    data[start] ^= 1
    leaf = hashlib.sha256(b"\0" + data[start : start + length]).digest()
    data[start + size + 4 : start + size + 36] = leaf
    assert verdicts(tmp_path, bytes(data), keys) == NOWHERE


def test_signatures_that_are_stripped_or_replaced_leave_no_keys(tmp_path):
    forge, keys = held("policy")
    assert verdicts(tmp_path, replace(forge, signatures=b"\0\0").build(), keys) == NOWHERE
    other, _ = Signer.generate()
    replaced = forge.resigned(other).signatures
    assert verdicts(tmp_path, replace(forge, signatures=replaced).build(), keys) == NOWHERE
    twice = struct.pack("<H", 2) + forge.signatures[2:] * 2
    assert verdicts(tmp_path, replace(forge, signatures=twice).build(), keys) == NOWHERE


@pytest.mark.parametrize("signers", [0, 1])
def test_whoever_seals_anew_is_not_the_signer_that_is_trusted(tmp_path, monkeypatch, signers):
    monkeypatch.setenv("TORCHKEEP_STATE", str(tmp_path))
    forge, keys = held("policy")
    trusted = Trust((Entry(public=forge.signatures[4 : 4 + PUBLIC]),))
    path = tmp_path / "x.tks"
    own = [identity(*keys[0])]
    path.write_bytes((FOLDER / "policy.tks").read_bytes())
    for level in Level:
        assert opening.verify(path, trust=trusted, identity=own, level=level).is_verified
    anew = forge.resigned(*(Signer.generate()[0] for _ in range(signers)))
    path.write_bytes(anew.wrapped_anew(PublicKey(own[0].public)).build())
    for level in (Level.TAGS, Level.FULL):
        opening.open(path, own, level=level).close()
        with pytest.raises(Untrusted):
            opening.open(path, own, trust=trusted, level=level)
    for level in Level:
        found = opening.verify(path, trust=trusted, identity=own, level=level)
        assert (found.code, found.trusted) == ("untrusted", False)


@pytest.mark.parametrize("level", Level)
def test_the_name_of_a_trusted_signer_is_no_signature(tmp_path, monkeypatch, level):
    """Its public key over content of one's own, with a signature that is none."""
    monkeypatch.setenv("TORCHKEEP_STATE", str(tmp_path))
    forge, keys = held("policy")
    trusted = Trust((Entry(public=forge.signatures[4 : 4 + PUBLIC]),))
    path, own = tmp_path / "x.tks", [identity(*keys[0])]
    path.write_bytes(changed(forge).build())
    found = opening.verify(path, trust=trusted, identity=own, level=level)
    assert (found.code, found.trusted, found.signers) == ("damaged", False, ())
    if level is not Level.PUBLIC:
        with pytest.raises(opening.Damaged):
            opening.open(path, own, trust=trusted, level=level)


# Between files and items of one key.


def test_items_that_change_places_are_refused(tmp_path):
    forge, keys = held("records")
    alike = [n for n, (_, clear) in enumerate(forge.items) if len(clear) == 60][:2]
    data = replace(forge, swapped=(alike[0], alike[1])).build()
    assert verdicts(tmp_path, data, keys) == BUT_PUBLIC


def test_data_of_another_file_under_the_same_file_key_is_refused(tmp_path):
    forge, keys = held("records")
    newer = canonical(forge.facts | {"version": 4})
    other = replace(forge, header=newer).wrapped_anew(PublicKey(identity(*keys[0]).public))
    assert verdicts(tmp_path, other.build(), keys) == EVERYWHERE
    data, index = other.sections()
    mine = forge.sections()
    for stored in (data + mine[1], mine[0] + index):
        ours, joined, start = forge.build(), b"".join(stored), len(forge.start)
        spliced = ours[:start] + joined + ours[start + len(joined) :]
        assert verdicts(tmp_path, spliced, keys) == NOWHERE
        spliced = replace(forge, stored=joined).build()
        assert verdicts(tmp_path, spliced, keys) == NOWHERE


def relabelled(forge: Forge, old: bytes, new: bytes) -> Forge:
    assert len(old) == len(new)
    assert old in forge.tables
    return replace(forge, tables=forge.tables.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"F32"', b'"I32"'), (b"[4, 3]", b"[3, 4]"), (b'"half"', b'"hals"'), (b'"w"', b'"v"')],
)
def test_a_tensor_with_another_label_has_another_key(tmp_path, old, new):
    forge, keys = held("tensors")
    data = relabelled(forge, old, new).build()
    assert verdicts(tmp_path, data, keys) == BUT_PUBLIC


@pytest.mark.parametrize(
    "change", [{"suite": 2}, {"chunk": 17}, {"version": 9}, {"model": "x"}, {"previous": None}]
)
def test_a_header_that_changes_leaves_no_keys(tmp_path, change):
    forge, keys = held("file")
    data = forge.build()
    start = replace(forge, header=canonical(forge.facts | change)).start
    assert verdicts(tmp_path, start + data[len(forge.start) :], keys) == NOWHERE
    bare = data[len(forge.start) :]
    assert verdicts(tmp_path, bare, keys) == NOWHERE


@pytest.mark.parametrize("suite", [0, 5, 6, 255, 256, True, 1.0, "1"])
def test_other_suites_are_refused(tmp_path, suite):
    forge, keys = held("file")
    path = tmp_path / "x.tks"
    path.write_bytes(replace(forge, header=canonical(forge.facts | {"suite": suite})).build())
    for level in LEVELS:
        with pytest.raises(TorchkeepError):
            by_product(path, keys, level)
        with pytest.raises(ValueError, match="suite is unknown"):
            by_second(path.read_bytes(), keys, level)


def test_a_file_with_two_file_keys_opens_under_one(tmp_path):
    forge, keys = held("file")
    bob, _ = SecretKey.generate(post_quantum=False)
    second = PublicKey(bob.public).wrap(b"\7" * 32, forge.hashed)
    data = replace(forge, stanzas=(*forge.stanzas, (second.type, second.body))).build()
    assert verdicts(tmp_path, data, keys) == EVERYWHERE
    path = tmp_path / "x.tks"
    path.write_bytes(data)
    with pytest.raises(opening.Damaged, match="another key"):
        opening.open(path, [bob])


# Key blocks.


def test_a_flood_of_recipients_is_refused(tmp_path):
    forge, keys = held("file")
    fake = ("x25519", bytes(80))
    many = replace(forge, stanzas=(*[fake] * 4095, *forge.stanzas)).build()
    assert verdicts(tmp_path, many, keys) == EVERYWHERE
    more = replace(forge, stanzas=(*[fake] * 4096, *forge.stanzas)).build()
    assert verdicts(tmp_path, more, keys) == NOWHERE


@pytest.mark.parametrize(
    "cost", [(2**32 - 1, 1, 1), (64, 2**32 - 1, 1), (64, 1, 2**32 - 1), (0, 1, 1), (64, 0, 1),
             (64, 1, 0), (8, 1, 2)]
)  # fmt: skip
def test_a_passphrase_that_would_take_for_ever_is_refused(tmp_path, monkeypatch, cost):
    forge, keys = held("passphrase")
    ((kind, body),) = forge.stanzas
    monkeypatch.setattr(Passphrase, "_derive", None)  # it must not come to this
    data = replace(forge, stanzas=((kind, struct.pack("<III", *cost) + body[12:]),)).build()
    assert verdicts(tmp_path, data, keys) == BUT_PUBLIC


def test_a_passphrase_that_is_not_alone_is_refused(tmp_path, monkeypatch):
    """One reader would derive thousands of keys before it sees that none of them fits."""
    monkeypatch.setattr(Passphrase, "_derive", None)
    for name in ("passphrase", "file"):
        forge, keys = held(name)
        more = replace(forge, stanzas=(*forge.stanzas, ("argon2id", bytes(76))))
        assert verdicts(tmp_path, more.build(), keys) == NOWHERE


def test_a_key_block_that_follows_is_taken(tmp_path):
    forge, keys = held("file")
    data = following(forge, forge.build())
    assert verdicts(tmp_path, data, keys) == EVERYWHERE
    assert verdicts(tmp_path, following(forge, data, generation=3), keys) == EVERYWHERE


@pytest.mark.parametrize(
    "wrong", [{"generation": 0}, {"generation": 1}, {"end": 1}, {"manifest": 1}, {"at": 0},
              {"before": b""}, {"end": 2**64 - 1}, {"manifest": 2**64 - 1}]
)  # fmt: skip
def test_a_key_block_that_does_not_follow_is_refused(tmp_path, wrong):
    forge, keys = held("file")
    assert verdicts(tmp_path, following(forge, forge.build(), **wrong), keys) == NOWHERE


def test_a_stranger_learns_nothing(tmp_path):
    forge, _ = held("file")
    path = tmp_path / "x.tks"
    path.write_bytes(replace(forge, stanzas=()).build())
    with pytest.raises(NoIdentity):
        opening.open(path, [SecretKey.generate()[0]])
