"""Keys stay where they are: in no message, no pickle and no file; and what the room offers."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import traceback

import pytest
from makers.sealed import KEY, PUBLIC, SECRET, contents, flip, stranger, write

from torchkeep import vault
from torchkeep.core import files
from torchkeep.core.errors import TorchkeepError, UsageError
from torchkeep.vault import age, bech32, opening, rewrapping, schedule, sealing
from torchkeep.vault.given import identities
from torchkeep.vault.recipients import Passphrase
from torchkeep.vault.schedule import Schedule
from torchkeep.vault.signing import Signer

WORDS = b"correct horse battery staple"
PLAIN = b"the weights that nobody else may see " * 5000


def leaks(text: str, *secrets: bytes) -> bool:
    """Whether a piece of one is in it, as bytes, in hex or spelled."""
    text = text.lower()
    pieces = [secret[at : at + 4] for secret in secrets for at in range(len(secret) - 3)]
    return any(piece.hex() in text or repr(piece)[2:-1].lower() in text for piece in pieces)


def test_a_leak_would_be_seen():
    assert leaks(f"the key is {SECRET.hex()}", SECRET)
    assert leaks(repr(SECRET[5:12]), SECRET)
    assert not leaks("nothing", SECRET)


def read_all(path, identity):
    with opening.open(path, identity) as sealed:
        sealed.check_all()


def test_no_error_tells_a_key(tmp_path, monkeypatch):
    path = tmp_path / "x"
    keys: list[bytes] = [SECRET]
    fresh = schedule.new_file_key
    monkeypatch.setattr(schedule, "new_file_key", lambda: keys.append(fresh()) or keys[-1])
    write(path, ("f", PLAIN))
    with opening.framed(path) as frame:
        places, size = frame.places, path.stat().st_size
    for at in (40, places.data, places.index, places.entries, places.manifest + 9, size - 200):
        flip(path, at)
        for identity in (KEY, stranger()[0]):
            with pytest.raises(TorchkeepError) as caught:
                read_all(path, identity)
            said = "".join(traceback.format_exception(caught.value)) + caught.value.message
            assert not leaks(said, *keys)
            assert "weights" not in said
        flip(path, at)


def test_showing_what_holds_keys_shows_none(tmp_path):
    path = tmp_path / "x"
    receipt = write(path, ("f", b"x"))
    with opening.open(path, KEY) as sealed:
        held = (sealed, sealed.frame, sealed.schedule, sealed.identity, KEY, PUBLIC, receipt)
        said = " ".join(f"{one!r} {one}" for one in (*held, Passphrase(WORDS), sealed._decrypter))
        assert not leaks(said, SECRET, sealed.file_key, sealed.schedule._root)
        assert "horse" not in said


def holders(tmp_path):
    path = tmp_path / "x"
    write(path, ("f", b"x"))
    sealed = opening.open(path, KEY)
    signer, _ = Signer.generate()
    return sealed, [sealed, sealed.schedule, KEY, Passphrase(WORDS), signer, Schedule(SECRET, b"")]


def test_nothing_that_holds_keys_is_pickled_or_copied(tmp_path):
    sealed, held = holders(tmp_path)
    for one in held:
        for call in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"never pickled|holds keys"):
                call(one)
    sealed.close()


def test_no_plaintext_lies_on_the_disk(tmp_path, monkeypatch):
    """Whenever something is written, the folder holds the target's own temporary and no more."""
    seen: set[str] = set()
    real = files._Raw.write

    def watched(self, data):
        for one in folder.iterdir():
            seen.add(one.suffix)
            if one.name != "in":
                assert b"weights" not in one.read_bytes()
        return real(self, data)

    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "in").write_bytes(PLAIN)
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr(files._Raw, "write", watched)
    sealing.seal(folder / "in", folder / "x.tks", [PUBLIC])
    rewrapping.rekey(folder / "x.tks", KEY, [PUBLIC])
    rewrapping.rewrap(folder / "x.tks", KEY, [PUBLIC])
    assert seen == {"", ".tmp", ".tks"}
    assert {one.name for one in folder.iterdir()} == {"in", "x.tks"}


# What the room offers.


def test_the_room_needs_neither_torch_nor_ciphers_to_be_imported():
    code = (
        "import sys\nfrom torchkeep import vault\n"
        "assert not {'torch', 'cryptography', 'pydantic'} & set(sys.modules)\n"
        "for name in sorted(set(vault.__all__) - {'load', 'save'}):\n    getattr(vault, name)\n"
        "assert 'torch' not in sys.modules\n"
        "assert not hasattr(vault, 'nothing')\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stderr == b""


def test_everything_that_is_offered_is_there():
    assert sorted(vault.__all__) == vault.__all__
    for name in vault.__all__:
        assert getattr(vault, name).__doc__


def test_identity_and_trust_may_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHKEEP_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("TORCHKEEP_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(age, "WORK", 4)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").mkdir()
    public = vault.keys.new_identity(tmp_path / "keys" / "alice", passphrase=WORDS)
    vault.keys.new_signer(tmp_path / "release", passphrase=None)
    signer = vault.keys.signer(tmp_path / "release", lambda name: b"")
    (tmp_path / "f").write_bytes(PLAIN)
    to = [vault.PublicKey(public)]
    vault.seal(tmp_path / "f", tmp_path / "x", to, signers=[signer])
    monkeypatch.delenv("TORCHKEEP_PASSPHRASE_FILE", raising=False)
    with pytest.raises(UsageError, match="TORCHKEEP_PASSPHRASE_FILE"):
        vault.open("x", "alice")
    (tmp_path / "words").write_bytes(WORDS + b"\n")
    (tmp_path / "words").chmod(0o600)
    monkeypatch.setenv("TORCHKEEP_PASSPHRASE_FILE", str(tmp_path / "words"))
    trust = vault.load_trust("release.pub")
    for identity in ("alice", tmp_path / "keys" / "alice", ["alice", KEY], (KEY, "alice")):
        for policy in (trust, "release.pub", tmp_path / "release.pub", None):
            with vault.open("x", identity=identity, trust=policy) as sealed:
                assert contents(sealed) == [("f", [PLAIN])]
            found = vault.verify("x", identity=identity, trust=policy)
            assert (found.is_verified, found.level) == (True, vault.Level.FULL)
    with pytest.raises(vault.NoIdentity):
        vault.open("x", identity=[])
    with pytest.raises(UsageError, match="no public signing key"):
        vault.open("x", identity="alice", trust="words")
    with pytest.raises(UsageError, match="needs an identity"):
        vault.verify("x", level=vault.Level.TAGS)


def test_what_is_given_is_taken_once_each():
    text = bech32.encode("AGE-SECRET-KEY-", SECRET)
    assert identities(KEY) == identities([KEY]) == identities((KEY,)) == [KEY]
    assert identities(()) == []
    with pytest.raises(UsageError) as caught:
        identities(text)  # the key itself in place of its name
    assert not leaks(str(caught.value), SECRET)
    assert text[20:30] not in str(caught.value)
