"""``seal``, ``open``, ``verify``, ``inspect``, ``rewrap`` and ``rekey``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from makers.sealed import flip
from makers.shell import call

from torchkeep.cli import app
from torchkeep.vault import age, home, keys, memory_lock, opening
from torchkeep.vault.recipients import Passphrase

WORDS = "correct horse battery staple"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A model, two identities and a signing key."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(memory_lock, "forbid_dumps", lambda: None)
    monkeypatch.setattr(age, "WORK", 4)
    for name, value in {"KEYS": "keys", "STATE": "state"}.items():
        monkeypatch.setenv(f"TORCHKEEP_{name}", str(tmp_path / value))
    monkeypatch.setenv("TORCHKEEP_LANG", "en")
    monkeypatch.delenv("TORCHKEEP_PASSPHRASE_FILE", raising=False)
    for name in ("alice", "bob"):
        keys.new_identity(Path(name), passphrase=None)
    keys.new_signer(Path("release"), passphrase=None)
    safetensors.torch.save_file({"encoder.weight": torch.ones(30, 4)}, "model.safetensors")
    Path("words").write_text(f"{WORDS}\n")
    Path("words").chmod(0o600)
    return tmp_path / "here"


def run(capfd, *arguments: str, status: int = 0) -> tuple[str, str]:
    found = app.run(list(arguments))
    out, err = capfd.readouterr()
    assert found == status, err
    return out, err


def sealed(capfd, *more: str) -> bytes:
    to = () if "--passphrase" in more or "--to" in more else ("--to", "alice", "--to", "./bob.pub")
    run(capfd, "seal", "model.safetensors", "-o", "m.tks", "--no-statement", *to, *more)
    return Path("m.tks").read_bytes()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# There and back.


def test_a_model_is_sealed_verified_and_opened(here, capfd):
    out, err = run(
        capfd, "seal", "model.safetensors", "--to", "alice", "--to", "bob", "--sign", "release"
    )
    assert out.startswith("sealed  model.safetensors -> model.safetensors.tks  (")
    assert "recipients: 2, signatures: 1" in out
    assert "statement kept: model.safetensors.tks" in err
    out, _ = run(capfd, "verify", "model.safetensors.tks", "--trust", "release.pub")
    assert (out.startswith("verified  "), "who is trusted" in out) == (True, True)
    before = Path("model.safetensors").read_bytes()
    Path("model.safetensors").unlink()
    for who in ("alice", "bob"):
        trust = ("--trust", "release.pub")
        out, _ = run(capfd, "open", "model.safetensors.tks", "--identity", who, *trust, "--force")
        assert "opened  model.safetensors.tks -> model.safetensors" in out
        assert Path("model.safetensors").read_bytes() == before


def test_a_folder_comes_back(here, capfd):
    Path("in/b").mkdir(parents=True)
    Path("in/a").write_bytes(b"1")
    Path("in/b/c").write_bytes(b"2")
    run(capfd, "seal", "in", "--to", "alice")
    assert names(here) >= {"in.tks"}
    out, _ = run(capfd, "open", "in.tks", "-o", "out", "--identity", "alice")
    assert "(files: 2)" in out
    assert Path("out/b/c").read_bytes() == b"2"


def test_under_a_passphrase(capfd, monkeypatch):
    cheap = {"memory": 64, "passes": 1, "lanes": 1}
    monkeypatch.setattr(Passphrase.__init__, "__kwdefaults__", cheap)
    given = ("--passphrase", "--passphrase-file", "words")
    sealed(capfd, *given)
    run(capfd, "open", "m.tks", "-o", "out", *given)
    assert Path("out").read_bytes() == Path("model.safetensors").read_bytes()
    Path("words").write_text("other words\n")
    _, err = run(capfd, "open", "m.tks", "-o", "again", *given, status=1)
    assert "none of the identities opens it" in err
    assert "other words" not in err


def test_it_is_sealed_for_others(capfd):
    before = sealed(capfd, "--to", "alice")
    out, _ = run(capfd, "rewrap", "m.tks", "--identity", "alice", "--to", "bob")
    assert "can now be opened by 1 recipients" in out
    assert Path("m.tks").read_bytes().startswith(before)
    _, err = run(capfd, "open", "m.tks", "-o", "out", "--identity", "alice", status=1)
    assert "sealed for others" in err
    out, _ = run(capfd, "rekey", "m.tks", "--identity", "bob", "--to", "alice", "--sign", "release")
    assert out == "m.tks has a fresh key (recipients: 1, signatures: 1)\n"
    run(capfd, "open", "m.tks", "-o", "out", "--identity", "alice")
    assert Path("out").read_bytes() == Path("model.safetensors").read_bytes()
    run(capfd, "rekey", "m.tks", "--identity", "alice", "--to", "bob", "-o", "new.tks")
    run(capfd, "verify", "new.tks", "--identity", "bob")


def test_inspecting_shows_names_to_whoever_may_see_them(capfd):
    sealed(capfd, "--sign", "release", "--model", "income", "--version", "3")
    out, _ = run(capfd, "inspect", "m.tks")
    assert "income" in out
    assert "xwing: 2" in out
    assert "model.safetensors" not in out
    out, _ = run(capfd, "inspect", "m.tks", "--identity", "alice")
    assert "tensors        model.safetensors  (1)" in out


# Documents.


def test_documents(capfd):
    out, _ = run(
        capfd, "seal", "model.safetensors", "-o", "m.tks", "--to", "alice", "--json",
        "--sign", "release", "--version", "7",
    )  # fmt: skip
    said = json.loads(out)
    assert (said["schema_version"], said["items"], said["target"]) == (1, 1, "m.tks")
    assert Path(said["statement"]).exists()
    out, _ = run(capfd, "verify", "m.tks", "--json", "--trust", "release.pub")
    found = json.loads(out)
    assert (found["verdict"], found["reason"], found["level"]) == ("verified", "", "public")
    assert (len(found["signers"]), found["version"], found["trusted"]) == (1, 7, True)
    out, _ = run(capfd, "verify", "m.tks", "--json", "--identity", "alice")
    assert (json.loads(out)["level"], json.loads(out)["trusted"]) == ("full", None)
    out, _ = run(capfd, "inspect", "m.tks", "--json", "--identity", "alice")
    (part,) = json.loads(out)["parts"]
    assert part["tensors"] == [{"name": "encoder.weight", "dtype": "F32", "shape": [30, 4]}]
    out, _ = run(capfd, "rewrap", "m.tks", "--json", "--identity", "alice", "--to", "bob")
    assert json.loads(out)["recipients"] == 1
    out, _ = run(capfd, "rekey", "m.tks", "--json", "--identity", "bob", "--to", "bob")
    assert json.loads(out)["bytes"] == Path("m.tks").stat().st_size
    out, _ = run(capfd, "open", "m.tks", "-o", "out", "--json", "--identity", "bob")
    assert json.loads(out) == {"schema_version": 1, "target": "out", "parts": 1, "level": "full"}


def test_chinese(capfd):
    zh = ("--lang", "zh")
    out, _ = run(capfd, "seal", "model.safetensors", "-o", "m.tks", "--to", "alice", *zh)
    assert "已加密" in out
    assert "校验通过" in run(capfd, "verify", "m.tks", *zh)[0]
    assert "已解密" in run(capfd, "open", "m.tks", "-o", "o", "--identity", "alice", *zh)[0]
    given = ("--identity", "alice", "--to", "alice", *zh)
    assert "此前能打开者" in run(capfd, "rewrap", "m.tks", *given)[0]
    assert "已更换密钥" in run(capfd, "rekey", "m.tks", *given)[0]


# Refused.


@pytest.mark.parametrize("level", ["public", "tags", "full"])
def test_one_bit_is_refused_in_one_line(capfd, level):
    sealed(capfd)
    with opening.framed("m.tks") as frame:
        at = frame.places.data
    flip(Path("m.tks"), at)
    who = () if level == "public" else ("--identity", "alice", "--level", level)
    out, err = run(capfd, "verify", "m.tks", *who, status=1)
    assert (out.count("\n"), err, "m.tks is refused: " in out) == (1, "", True), out
    out, _ = run(capfd, "verify", "m.tks", "--json", *who, status=1)
    assert (json.loads(out)["verdict"], json.loads(out)["code"]) == ("refused", "damaged")
    out, err = run(capfd, "open", "m.tks", "-o", "out", "--identity", "alice", status=1)
    assert (out, err.count("\n"), Path("out").exists()) == ("", 1, False)


def test_whoever_signed_is_not_trusted(here, capfd):
    sealed(capfd)
    out, _ = run(capfd, "verify", "m.tks", "--trust", "release.pub", status=1)
    assert "nobody has signed it" in out
    _, err = run(
        capfd, "open", "m.tks", "-o", "o", "--identity", "alice", "--trust", "release.pub", status=1
    )
    assert "nobody has signed it" in err
    keys.new_signer(Path("other"), passphrase=None)
    sealed(capfd, "--sign", "other", "--force")
    out, _ = run(capfd, "verify", "m.tks", "--json", "--trust", "release.pub", status=1)
    assert (json.loads(out)["code"], json.loads(out)["signers"]) == ("untrusted", [])
    assert not Path("o").exists()


def test_an_older_version_is_refused(capfd):
    given = ("--sign", "release", "--model", "income")
    old = sealed(capfd, *given, "--version", "1")
    sealed(capfd, *given, "--version", "2", "--force")
    run(capfd, "verify", "m.tks", "--trust", "release.pub")
    Path("m.tks").write_bytes(old)
    out, _ = run(capfd, "verify", "m.tks", "--trust", "release.pub", status=1)
    assert "version 2 was seen before" in out


@pytest.mark.parametrize(
    ("policy", "said"),
    [(["--not-after", "2020-01-01"], "after 2020-01-01"), (["--not-before", "2100-01-01"], "2100")],
)
def test_a_policy_is_kept(capfd, policy, said):
    sealed(capfd, *policy)
    assert said in run(capfd, "verify", "m.tks", status=1)[0]
    assert said in run(capfd, "open", "m.tks", "-o", "o", "--identity", "alice", status=1)[1]


def test_pinned_recipients_stay(capfd):
    sealed(capfd, "--to", "alice", "--pin")
    _, err = run(capfd, "rewrap", "m.tks", "--identity", "alice", "--to", "bob", status=1)
    assert "its policy lists who may" in err
    _, err = run(capfd, "rekey", "m.tks", "--identity", "alice", "--to", "bob", status=1)
    assert "its policy lists who may" in err


COMMANDS = {
    "open": ["-o", "out", "--identity", "alice"],
    "verify": [],
    "inspect": [],
    "rewrap": ["--identity", "alice", "--to", "bob"],
    "rekey": ["--identity", "alice", "--to", "bob"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "kind", ["missing", "empty", "text", "model.safetensors", "folder", "pipe"]
)
def test_what_is_no_sealed_file(here, capfd, command, kind):
    Path("empty").touch()
    Path("text").write_text("TKSEAL1\nno")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    before = names(here)
    out, err = run(capfd, command, kind, *COMMANDS[command], status=2)
    assert (out, err.count("\n"), err.replace("\n", "").isprintable()) == ("", 1, True)
    assert names(here) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["seal", "model.safetensors"], "nobody could open it"),
        (["seal", "missing", "--to", "alice"], "cannot be read"),
        (["seal", "model.safetensors", "--to", "nobody"], "there is no key nobody"),
        (["seal", "model.safetensors", "--to", "age1x"], "no recipient"),
        (["seal", "model.safetensors", "--to", "alice", "--passphrase"], "exclude each other"),
        (["seal", "model.safetensors", "--to", "alice", "--sign", "alice"], "an identity"),
        (["seal", "model.safetensors", "--to", "alice", "-o", "words"], "exists already"),
        (["seal", "model.safetensors", "--to", "alice", "-o", "no/x"], "folder"),
        (["seal", "model.safetensors", "--to", "alice", "--version", "0"], "0 is not in"),
        (["seal", ".", "--to", "alice", "-o", "x", "--not-after", "soon"], "soon"),
        (["seal", "model.safetensors", "--to", "alice", "--model", "x" * 201], "200 characters"),
        (["open", "m.tks", "-o", "x"], "--identity"),
        (["open", "m.tks", "-o", "x", "--identity", "release"], "a signing key"),
        (["open", "m.tks", "-o", "x", "--identity", "missing"], "there is no key missing"),
        (["open", "m.tks", "-o", "words", "--identity", "alice"], "never overwritten"),
        (["open", "named", "--identity", "alice"], "does not end in .tks"),
        (["open", "m.tks", "-o", "x", "--identity", "alice", "--trust", "words"], "no public sign"),
        (["rewrap", "m.tks", "--identity", "alice"], "nobody could open it"),
        (["rewrap", "m.tks", "--to", "alice"], "--identity"),
        (["rekey", "m.tks", "--identity", "alice", "--to", "bob", "-o", "words"], "overwritten"),
        (["verify", "m.tks", "--level", "tags"], "needs an identity"),
        (["verify", "m.tks", "--level", "none"], "none"),
    ],
)
def test_what_makes_no_sense_is_refused(here, capfd, arguments, said):
    data = sealed(capfd)
    before = names(here)
    found = app.run(arguments)
    out, err = capfd.readouterr()
    assert (found in (1, 2), out, err.count("\n"), said in err) == (True, "", 1, True), err
    assert names(here) == before
    assert Path("m.tks").read_bytes() == data


def test_nothing_of_a_key_is_said(here, capfd):
    sealed(capfd)
    secret = Path("alice").read_text().splitlines()[-1]
    said = ""
    for arguments in (
        ["open", "m.tks", "-o", "x", "--identity", secret],
        ["seal", "model.safetensors", "-o", "y", "--to", secret],
        ["verify", "m.tks", "--trust", "alice"],
        ["inspect", "m.tks", "--identity", "alice", "--json"],
        ["seal", "model.safetensors", "-o", "z", "--to", "alice", "--sign", secret],
    ):
        app.run(arguments)
        said += "".join(capfd.readouterr()).lower()
    body = secret.rpartition("1")[2].lower()
    assert not any(body[at : at + 6] in said for at in range(len(body) - 5))


def test_in_a_process_of_its_own(here, capfd):
    sealed(capfd, "--sign", "release")
    places = {"TORCHKEEP_KEYS": str(home.folder()), "PYTHONPATH": ":".join(sys.path)}
    done = call("verify", "m.tks", "--trust", "release.pub", **places)
    assert (done.returncode, done.stderr) == (0, b"")
    done = call("open", "m.tks", "-o", "out", "--identity", "./bob", **places)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("out").read_bytes() == Path("model.safetensors").read_bytes()
