"""``sign``, and ``verify`` for folders."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from torchkeep.cli import app
from torchkeep.vault import memory_lock, sealing
from torchkeep.vault.recipients import SecretKey

RECORDED = Path(__file__).parents[1] / "vault" / "oms"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A model with a pair of keys beside it."""
    monkeypatch.setattr(memory_lock, "forbid_dumps", lambda: None)
    monkeypatch.setenv("TORCHKEEP_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("TORCHKEEP_LANG", "en")
    monkeypatch.delenv("TORCHKEEP_PASSPHRASE_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RECORDED / "model", "model")
    key, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    words = serialization.BestAvailableEncryption(b"words")
    form = serialization.PrivateFormat.PKCS8
    for name, how in (("k.pem", serialization.NoEncryption()), ("locked.pem", words)):
        Path(name).write_bytes(key.private_bytes(pem, form, how))
        Path(name).chmod(0o600)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    Path("k.pub").write_bytes(public)
    Path("words").write_text("words\n")
    Path("words").chmod(0o600)
    return tmp_path


def run(capfd, *arguments: str, status: int = 0) -> tuple[str, str]:
    assert app.run(arguments) == status
    return capfd.readouterr()


def test_a_folder_is_signed_and_verified(here, capfd):
    out, _ = run(capfd, "sign", "model", "--sign", "k.pem")
    assert out == "signed  model -> model/model.sig  (files: 3)\n"
    out, _ = run(capfd, "verify", "model", "--key", "k.pub")
    assert out.startswith("verified  model  (files: 3;")
    Path("model", "config.json").write_bytes(b"{}")
    out, err = run(capfd, "verify", "model", "--key", "k.pub", status=1)
    assert (out, err) == ("model is refused: config.json is not what was signed\n", "")


def test_a_key_may_be_encrypted_and_a_signature_elsewhere(here, capfd):
    given = ("--sign", "locked.pem", "-o", "x.sig", "--ignore", "weights.txt")
    run(capfd, "sign", "model", *given, "--passphrase-file", "words")
    run(capfd, "verify", "model", "--key", "k.pub", "--signature", "x.sig", status=1)
    found = ("verify", "model", "--key", "k.pub", "--signature", "x.sig")
    run(capfd, *found, "--ignore", "weights.txt")
    _, err = run(capfd, "sign", "model", "--sign", "locked.pem", "-o", "y.sig", status=2)
    assert "a passphrase is needed" in err
    assert not Path("y.sig").exists()


def test_a_document_says_the_same(here, capfd):
    out, _ = run(capfd, "sign", "model", "--sign", "k.pem", "--json")
    assert json.loads(out) == {
        "schema_version": 1,
        "folder": "model",
        "signature": "model/model.sig",
        "files": 3,
        "format": "oms",
    }
    Path("model", "x").write_bytes(b"")
    out, _ = run(capfd, "verify", "model", "--key", "k.pub", "--json", status=1)
    found = json.loads(out)
    assert (found["is_verified"], found["model"], found["format"]) == (False, "model", "oms")
    assert found["reason"].startswith("x is not signed")


def test_a_signature_of_others_verifies(here, capfd):
    run(
        capfd,
        *("verify", "model", "--format", "oms", "--key", str(RECORDED / "prime256v1.pub.pem")),
        *("--signature", str(RECORDED / "prime256v1.sig")),
    )


def test_a_signature_is_replaced_with_force(here, capfd):
    run(capfd, "sign", "model", "--sign", "k.pem")
    _, err = run(capfd, "sign", "model", "--sign", "k.pem", status=2)
    assert "exists" in err
    run(capfd, "sign", "model", "--sign", "k.pem", "--force")


def test_a_sealed_file_verifies_as_before(here, capfd):
    key, _ = SecretKey.generate()
    sealing.seal("model/weights.txt", "w.tks", [_public(key)])
    out, _ = run(capfd, "verify", "w.tks")
    assert out.startswith("verified  w.tks")
    out, _ = run(capfd, "verify", "w.tks", "--format", "sealed", "--json")
    assert json.loads(out)["level"] == "public"
    content = bytearray(Path("w.tks").read_bytes())
    content[len(content) // 4] ^= 1
    Path("w.tks").write_bytes(content)
    run(capfd, "verify", "w.tks", status=1)


def _public(key: SecretKey):
    from torchkeep.vault.recipients import PublicKey

    return PublicKey(key.public)


WRONG = [
    (["sign", "model"], "missing option '--sign'"),
    (["sign", "none", "--sign", "k.pem"], "none is no folder"),
    (["sign", "model", "--sign", "none.pem"], "there is no key none.pem"),
    (["sign", "model", "--sign", "k.pub"], "k.pub is no private key"),
    (["sign", "model", "--sign", "k.pem", "--ignore", "../k.pem"], "no path below the folder"),
    (["sign", "model", "--sign", "k.pem", "--format", "pgp"], "invalid value for '--format'"),
    (["verify", "model"], "verified with --key"),
    (["verify", "model", "--key", "k.pem"], "k.pem is no public key"),
    (["verify", "model", "--key", "k.pub"], "model.sig"),
    (["verify", "model", "--key", "k.pub", "--signature", "k.pub"], "k.pub is no signature"),
    (["verify", "model", "--key", "k.pub", "--trust", "k.pub"], "--trust says nothing about"),
    (["verify", "model", "--key", "k.pub", "--level", "full"], "--level says nothing about"),
    (["verify", "model", "--key", "k.pub", "--passphrase"], "--passphrase says nothing about"),
    (["verify", "k.pub", "--key", "k.pub"], "--key says nothing about a sealed file"),
    (["verify", "k.pub", "--ignore", "x"], "--ignore says nothing about a sealed file"),
    (["verify", "model", "--format", "sealed"], "model"),
    (["verify", "k.pub", "--format", "oms", "--key", "k.pub"], "k.pub is no folder"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_a_mistake_is_one_line(here, capfd, arguments, said):
    Path("k.pub").chmod(0o600)  # as a key that is given by mistake would be
    out, err = run(capfd, *arguments, status=2)
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("torchkeep: ")
    assert said in err
    assert "BEGIN" not in err
    assert not Path("model", "model.sig").exists()


def test_a_name_of_a_file_never_acts_on_a_terminal(here, capfd):
    run(capfd, "sign", "model", "--sign", "k.pem")
    Path("model", "\x1b[2Jx").write_bytes(b"")
    out, _ = run(capfd, "verify", "model", "--key", "k.pub", status=1)
    assert r"\x1b[2Jx is not signed" in out


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_the_commands_that_an_error_names_make_a_key(here, capfd):
    _, err = run(capfd, "sign", "model", "--sign", "words", status=2)
    commands = err.split("make one: ")[1].strip().split(", then ")
    assert len(commands) == 2
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True)
    Path("key.pem").chmod(0o600)
    run(capfd, "sign", "model", "--sign", "key.pem")
    run(capfd, "verify", "model", "--key", "key.pub.pem")
