"""Signatures of OpenSSF Model Signing: others', and ours for others."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from torchkeep.core.dsse import pae
from torchkeep.core.errors import Foreign, Refused, SourceError, UsageError
from torchkeep.core.files import read
from torchkeep.vault import oms
from torchkeep.vault.oms import bundle, folder

RECORDED = Path(__file__).parent / "oms"
ENCODING = serialization.Encoding.PEM
KIND = "application/vnd.in-toto+json"


@pytest.fixture
def model(tmp_path) -> Path:
    return Path(shutil.copytree(RECORDED / "model", tmp_path / "model"))


@pytest.fixture(scope="module")
def key():
    return ec.generate_private_key(ec.SECP256R1())


def written(path: Path, key, words: bytes | None = None) -> Path:
    how = serialization.BestAvailableEncryption(words) if words else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(ENCODING, serialization.PrivateFormat.PKCS8, how))
    path.chmod(0o600)
    return path


def published(path: Path, key) -> Path:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(ENCODING, form))
    return path


def forged(path: Path, key, change) -> Path:
    """A signature with something else in it, signed as if it were right."""
    document = json.loads(path.read_bytes())
    envelope = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    made = key.sign(pae(KIND, payload), bundle.ec.ECDSA(bundle.hashes.SHA256()))
    envelope["signatures"][0]["sig"] = base64.b64encode(made).decode()
    path.write_text(json.dumps(document))
    return path


def rooted(statement) -> None:
    """Make the digest of the model that of its files again."""
    values = [bytes.fromhex(one["digest"]) for one in statement["predicate"]["resources"]]
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(b"".join(values)).hexdigest()


# Others' signatures.


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1"])
def test_a_signature_of_theirs_verifies(model, curve):
    public = bundle.public_key(RECORDED / f"{curve}.pub.pem")
    found = oms.verify(model, public, signature=RECORDED / f"{curve}.sig")
    assert (found.is_verified, found.reason, found.model, found.files) == (True, "", "model", 3)
    (model / "weights" / "a.bin").write_bytes(bytes(63) + b"\1")
    found = oms.verify(model, public, signature=RECORDED / f"{curve}.sig")
    assert (found.is_verified, found.reason) == (False, "weights/a.bin is not what was signed")


def test_what_a_signer_left_out_is_not_vouched_for(model):
    public = bundle.public_key(RECORDED / "prime256v1.pub.pem")
    found = oms.verify(model, public, signature=RECORDED / "ignoring.sig")
    assert not found.is_verified
    assert found.reason.startswith("weights.txt is not signed")
    given = {"signature": RECORDED / "ignoring.sig", "ignored": ["weights.txt"]}
    assert oms.verify(model, public, **given).is_verified


needs_theirs = pytest.mark.skipif(
    not (importlib.util.find_spec("model_signing") and importlib.util.find_spec("OpenSSL")),
    reason="model-signing is not installed",
)


def theirs(*arguments: object) -> bool:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True).returncode == 0


@needs_theirs
def test_both_ways_with_model_signing(model, tmp_path, key):
    private, public = written(tmp_path / "k", key), published(tmp_path / "p", key)
    oms.sign(model, key)
    ours, other = model / "model.sig", tmp_path / "their.sig"
    assert theirs("verify", "key", model, "--public_key", public, "--signature", ours)
    assert theirs("sign", "key", model, "--private_key", private, "--signature", other)
    assert oms.verify(model, key.public_key(), signature=other).is_verified  # over ours as well
    ours.unlink()
    assert oms.verify(model, key.public_key(), signature=other).reason.startswith("model.sig is")
    (model / "weights.txt").write_bytes(b"c")
    oms.sign(model, key)
    (model / "weights.txt").write_bytes(b"b")
    assert not theirs("verify", "key", model, "--public_key", public, "--signature", ours)


# Ours.


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_what_was_signed_verifies(model, tmp_path, curve):
    key = ec.generate_private_key(curve())
    path = written(tmp_path / "k", key, b"words")
    loaded = bundle.private_key(path, lambda _: b"words")
    assert oms.sign(model, loaded).files == 3
    public = bundle.public_key(published(tmp_path / "p", key))
    assert oms.verify(model, public).is_verified
    assert oms.verify(model, public).to_json()["files"] == 3


def test_a_bundle_is_what_its_specification_says(model, key):
    oms.sign(model, key, ignored=["weights.txt"])
    document = json.loads((model / "model.sig").read_bytes())
    assert document["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = key.public_key().public_bytes(ENCODING, form)
    hint = hashlib.sha256(pem).hexdigest()
    assert document["verificationMaterial"] == {"publicKey": {"hint": hint}, "tlogEntries": []}
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    digests = {
        name: hashlib.sha256((model / name).read_bytes()).hexdigest()
        for name in ("config.json", "weights/a.bin")
    }
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    assert statement["predicate"] == {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [
                *(".git", ".gitattributes", ".github", ".gitignore", "model.sig", "weights.txt")
            ],
        },
        "resources": [
            {"name": name, "algorithm": "sha256", "digest": value}
            for name, value in digests.items()
        ],
    }
    assert statement["subject"][0]["name"] == "model"


def test_files_stand_in_the_order_in_which_others_write_them(model, key):
    oms.sign(model, key)
    theirs, ours = (
        json.loads(base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))
        for path in (RECORDED / "prime256v1.sig", model / "model.sig")
    )
    assert ours["predicate"]["resources"] == theirs["predicate"]["resources"]
    assert ours["subject"] == theirs["subject"]


def test_a_signature_is_replaced_only_on_demand(model, key):
    oms.sign(model, key)
    before = read(model / "model.sig")
    with pytest.raises(UsageError, match="exists"):
        oms.sign(model, key)
    assert read(model / "model.sig") == before
    oms.sign(model, key, overwrite=True)
    assert oms.verify(model, key.public_key()).is_verified


# Faults in the folder.


def _link_out(model: Path) -> None:
    (model / "weights.txt").rename(model.parent / "weights.txt")
    (model / "weights.txt").symlink_to(model.parent / "weights.txt")


def _link_folder(model: Path) -> None:
    (model / "weights").rename(model.parent / "weights")
    (model / "weights").symlink_to(model.parent / "weights")


def _hidden(name: str):
    def plant(model: Path) -> None:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(b"import os")

    return plant


FAULTS = {
    "changed": (lambda m: (m / "config.json").write_bytes(b"{}"), "config.json is not what"),
    "missing": (lambda m: (m / "config.json").unlink(), "config.json is signed and missing"),
    "renamed": (lambda m: (m / "config.json").rename(m / "c.json"), "c.json is not signed"),
    "swapped": (
        lambda m: (
            (m / "config.json").rename(m / "x"),
            (m / "weights.txt").rename(m / "config.json"),
            (m / "x").rename(m / "weights.txt"),
        ),
        "config.json and 1 more are not what was signed",
    ),
    "extra": (_hidden("model.py"), "model.py is not signed"),
    "in a cache": (_hidden("__pycache__/model.pyc"), "__pycache__/model.pyc is not signed"),
    "in an environment": (_hidden(".venv/x.py"), ".venv/x.py is not signed"),
    "like git": (_hidden(".git2"), ".git2 is not signed"),
    "git below": (_hidden("weights/.git"), "weights/.git is not signed"),
    "like its signature": (_hidden("weights/model.sig"), "weights/model.sig is not signed"),
    "link to the same bytes": (_link_out, "weights.txt is a link"),
    "link to a folder": (_link_folder, "weights is a link"),
    "dangling link": (lambda m: (m / "z").symlink_to("nowhere"), "z is a link"),
    "pipe": (lambda m: os.mkfifo(m / "pipe"), "pipe is neither a file nor a folder"),
    "name that is no text": (
        lambda m: Path(os.fsdecode(os.fsencode(m) + b"/\xff")).write_bytes(b""),
        r"\udcff is not signed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_differs_is_refused(model, key, fault):
    oms.sign(model, key)
    plant, reason = FAULTS[fault]
    plant(model)
    found = oms.verify(model, key.public_key())
    assert not found.is_verified
    assert found.reason.startswith(reason)


@pytest.mark.parametrize("fault", ["link to a folder", "dangling link", "pipe"])
def test_what_could_not_be_vouched_for_is_not_signed(model, key, fault):
    FAULTS[fault][0](model)
    with pytest.raises(Refused, match=r"is a link|is neither"):
        oms.sign(model, key)
    assert not (model / "model.sig").exists()


def test_a_name_that_is_no_text_is_not_signed(model, key):
    FAULTS["name that is no text"][0](model)
    with pytest.raises(Refused, match="has a name that is no text"):
        oms.sign(model, key)


def test_git_is_not_part_of_a_model(model, key):
    oms.sign(model, key)
    _hidden(".git/config")(model)
    (model / ".gitattributes").write_bytes(b"x")
    assert oms.verify(model, key.public_key()).is_verified


def test_a_signature_may_lie_elsewhere(model, key, tmp_path):
    oms.sign(model, key, signature=tmp_path / "x.sig")
    given = {"signature": tmp_path / "x.sig"}
    assert oms.verify(model, key.public_key(), **given).is_verified
    (model / "model.sig").write_bytes(b"{}")  # here it is only one file more
    assert not oms.verify(model, key.public_key(), **given).is_verified


def test_a_folder_reached_over_a_link_has_its_signature_inside(model, key, tmp_path):
    (tmp_path / "latest").symlink_to(model)
    oms.sign(tmp_path / "latest", key)
    assert oms.verify(model, key.public_key(), signature=tmp_path / "latest/model.sig").is_verified


# Faults in the signature.


def _resource(statement, **change) -> None:
    statement["predicate"]["resources"][0].update(change)


def _twice(statement) -> None:
    """A false digest and then the right one, under a root of those that a careless reader keeps."""
    resources = statement["predicate"]["resources"]
    rooted(statement)
    resources.insert(0, resources[0] | {"digest": "0" * 64})


WRONG = {
    "parent": lambda s: _resource(s, name="../config.json"),
    "parent within": lambda s: _resource(s, name="weights/../config.json"),
    "absolute": lambda s: _resource(s, name="/etc/hostname"),
    "dot": lambda s: _resource(s, name="./config.json"),
    "folder": lambda s: _resource(s, name="."),
    "empty": lambda s: _resource(s, name=""),
    "zero": lambda s: _resource(s, name="config.json\0"),
    "twice": _twice,
    "algorithm": lambda s: _resource(s, algorithm="md5"),
    "digest": lambda s: _resource(s, digest="0" * 63),
    "upper case": lambda s: _resource(s, digest="A" * 64),
    "no text": lambda s: _resource(s, digest=None),
    "root": lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
    "order": lambda s: s["predicate"]["resources"].reverse(),
    "other root": lambda s: s["subject"][0]["digest"].update(sha512="0" * 128),
    "two subjects": lambda s: s["subject"].append(s["subject"][0]),
    "shards": lambda s: s["predicate"]["serialization"].update(method="shards"),
    "hash": lambda s: s["predicate"]["serialization"].update(hash_type="blake3"),
    "predicate": lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"),
    "type": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "no resources": lambda s: s["predicate"].pop("resources"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_manifest_that_is_signed_and_wrong_is_refused(model, key, wrong):
    oms.sign(model, key)
    forged(model / "model.sig", key, WRONG[wrong])
    with pytest.raises(Foreign, match="no manifest of a model's files"):
        oms.verify(model, key.public_key())


def test_the_forger_of_these_tests_forges_well(model, key):
    oms.sign(model, key)
    forged(model / "model.sig", key, lambda statement: statement["predicate"].update(more=1))
    assert oms.verify(model, key.public_key()).is_verified


def _bundle(change):
    def apply(path: Path) -> None:
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return apply


NO_BUNDLE = {
    "empty": lambda path: path.write_bytes(b""),
    "no JSON": lambda path: path.write_bytes(b"\x80\x04."),
    "list": lambda path: path.write_bytes(b"[]"),
    "twice": lambda path: path.write_bytes(b'{"mediaType": 1, ' + path.read_bytes()[1:]),
    "media type": _bundle(lambda d: d.update(mediaType="application/json")),
    "no envelope": _bundle(lambda d: d.pop("dsseEnvelope")),
    "certificate": _bundle(lambda d: d.update(verificationMaterial={"certificate": {}})),
    "payload": _bundle(lambda d: d["dsseEnvelope"].update(payload="!")),
}


@pytest.mark.parametrize("wrong", NO_BUNDLE)
def test_what_is_no_bundle_is_said_to_be_none(model, key, wrong):
    oms.sign(model, key)
    NO_BUNDLE[wrong](model / "model.sig")
    with pytest.raises(Foreign, match=r"is no signature|with a certificate"):
        oms.verify(model, key.public_key())


UNSIGNED = {
    "no signature": _bundle(lambda d: d["dsseEnvelope"].update(signatures=[])),
    "two": _bundle(lambda d: d["dsseEnvelope"]["signatures"].append({"sig": "AAAA"})),
    "other type": _bundle(lambda d: d["dsseEnvelope"].update(payloadType="text/plain")),
    "other payload": _bundle(lambda d: d["dsseEnvelope"].update(payload="e30=")),
    "garbage": _bundle(lambda d: d["dsseEnvelope"]["signatures"][0].update(sig="AAAA")),
}


@pytest.mark.parametrize("wrong", UNSIGNED)
def test_a_signature_that_is_not_by_the_key_is_refused_before_anything_is_read(model, key, wrong):
    oms.sign(model, key)
    UNSIGNED[wrong](model / "model.sig")
    shutil.rmtree(model / "weights")
    found = oms.verify(model, key.public_key())
    assert (found.is_verified, found.model, found.files) == (False, "", 0)
    assert found.reason.endswith("was not made by that key")


def test_a_signature_over_another_type_is_refused(model, key):
    oms.sign(model, key)
    envelope = bundle.decode(model / "model.sig")
    made = key.sign(pae("text/plain", envelope.payload), bundle.ec.ECDSA(bundle.hashes.SHA256()))

    def change(document) -> None:
        document["dsseEnvelope"]["payloadType"] = "text/plain"
        document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(made).decode()

    _bundle(change)(model / "model.sig")
    assert not oms.verify(model, key.public_key()).is_verified


def test_another_key_is_refused(model, key):
    oms.sign(model, key)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert oms.verify(model, other).reason.endswith("was not made by that key")
    assert not oms.verify(model, ec.generate_private_key(ec.SECP521R1()).public_key()).is_verified


# What is given.


def test_a_private_key_is_private_and_of_a_curve(tmp_path, key):
    ask = lambda _: b"wrong"  # noqa: E731
    path = written(tmp_path / "k", key)
    path.chmod(0o644)
    with pytest.raises(Refused, match="others have access"):
        bundle.private_key(path, ask)
    with pytest.raises(Refused, match="does not open with that passphrase"):
        bundle.private_key(written(tmp_path / "e", key, b"right"), ask)
    rsa_key = rsa.generate_private_key(65537, 2048)
    for other in (rsa_key, ec.generate_private_key(ec.SECP256K1())):
        with pytest.raises(UsageError, match="no private key of an elliptic curve"):
            bundle.private_key(written(tmp_path / "o", other), ask)
        with pytest.raises(UsageError, match="no public key of an elliptic curve"):
            bundle.public_key(published(tmp_path / "p", other))
    with pytest.raises(UsageError, match="no private key"):
        bundle.private_key(published(tmp_path / "p", key).chmod(0o600) or tmp_path / "p", ask)
    with pytest.raises(UsageError, match="no public key"):
        bundle.public_key(written(tmp_path / "k", key))


@pytest.mark.parametrize("name", ["../x", "/etc", ".", "", "a/../b", "a//b", "a/"])
def test_only_what_lies_in_the_folder_can_be_left_out(model, key, name):
    assert not folder.is_name(name)
    with pytest.raises(UsageError, match="no path below the folder"):
        oms.sign(model, key, ignored=[name])
    with pytest.raises(UsageError, match="no path below the folder"):
        oms.verify(model, key.public_key(), ignored=[name])


def test_a_folder_that_is_none(tmp_path, key):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name in ("none", "file"):
        with pytest.raises(UsageError, match="is no folder"):
            oms.sign(tmp_path / name, key)
    with pytest.raises(UsageError, match="holds no file to sign"):
        oms.sign(tmp_path / "empty", key)
    with pytest.raises(SourceError):
        oms.verify(tmp_path / "empty", key.public_key())
