"""Identities that the keyring of the system holds, and schemes that other packages bring."""

from __future__ import annotations

import sys

import pytest

from torchkeep.cli import keyring as given
from torchkeep.core.errors import MissingExtra, Refused, UsageError
from torchkeep.vault import memory_lock, opening, providers, sealing
from torchkeep.vault.blocks import Stanza
from torchkeep.vault.providers import keyring as provider
from torchkeep.vault.recipients import SecretKey

keyring = pytest.importorskip("keyring", reason="keyrings need the extra: torchkeep[keyring]")
backend = pytest.importorskip("keyring.backend")


class Held(backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self, entries=None, error=None):
        super().__init__()
        self.entries, self.error = entries or {}, error

    def get_password(self, service, username):
        if self.error:
            raise self.error
        return self.entries.get((service, username))

    def set_password(self, service, username, password):
        self.entries[service, username] = password


@pytest.fixture
def held(monkeypatch):
    """Puts a keyring in the place of the system's."""
    before = keyring.get_keyring()
    monkeypatch.setattr(memory_lock, "forbid_dumps", lambda: None)
    yield lambda entries=None, error=None: keyring.set_keyring(Held(entries, error))
    keyring.set_keyring(before)


@pytest.mark.parametrize("post_quantum", [True, False])
def test_a_file_for_a_keyring_opens_with_it(held, tmp_path, post_quantum):
    key, text = SecretKey.generate(post_quantum=post_quantum)
    held({("torchkeep", "alice/laptop"): text})
    (tmp_path / "x").write_bytes(b"weights")
    recipients = given.recipients(["keyring:torchkeep/alice/laptop"])
    assert [one.text for one in recipients] == [key.public]
    sealing.seal(tmp_path / "x", tmp_path / "x.tks", recipients)
    identities = given.identities(["keyring:torchkeep/alice/laptop"], None)
    for one in (identities, [key]):
        with opening.open(tmp_path / "x.tks", one) as sealed:
            assert bytes(sealed.bytes_of(sealed.layouts[0], 0)) == b"weights"


def test_another_entry_does_not_open_it(held, tmp_path):
    (_, one), (_, two) = SecretKey.generate(), SecretKey.generate()
    held({("s", "one"): one, ("s", "two"): two})
    stanza = provider.recipient("keyring:s/one").wrap(bytes(32), b"h" * 32)
    assert provider.identity("keyring:s/one").unwrap(stanza, b"h" * 32) == bytes(32)
    assert provider.identity("keyring:s/one").unwrap(stanza, b"g" * 32) is None
    assert provider.identity("keyring:s/two").unwrap(stanza, b"h" * 32) is None


@pytest.mark.parametrize("text", ["keyring:", "keyring:s", "keyring:s/", "keyring:/n", "keyring:/"])
def test_a_name_that_is_none(held, text):
    held()
    with pytest.raises(UsageError, match="names no entry of a keyring"):
        provider.identity(text)


def test_an_entry_that_is_missing_or_no_identity(held):
    held({("s", "n"): "hunter2"})
    with pytest.raises(UsageError, match="holds nothing under s/other"):
        provider.identity("keyring:s/other")
    with pytest.raises(UsageError, match="that is no identity") as caught:
        provider.recipient("keyring:s/n")
    assert "hunter2" not in str(caught.value)


def test_a_keyring_that_is_locked(held):
    held(error=RuntimeError("hunter2"))
    with pytest.raises(Refused, match=r"does not answer \(RuntimeError\)") as caught:
        provider.identity("keyring:s/n")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtra, match=r"torchkeep\[keyring\]"):
        provider.identity("keyring:s/n")


# Schemes of others.


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Installs a package that brings schemes; returns the texts that it was given."""

    def install(points: str, module: str = "") -> None:
        info = tmp_path / "site" / "strange-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[torchkeep.recipients]\n{points}\n")
        (tmp_path / "site" / "strange_module.py").write_text(module)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    yield install
    sys.modules.pop("strange_module", None)


MODULE = """
from torchkeep.vault.blocks import Stanza

class Key:
    type, is_post_quantum, is_alone = "vault-transit", True, False
    id = recipient_id = b"1" * 32

    def wrap(self, file_key, header_hash):
        return Stanza(self.type, file_key + header_hash)

    def unwrap(self, stanza, header_hash):
        key, of = stanza.body[:32], stanza.body[32:]
        return key if stanza.type == self.type and of == header_hash else None

def recipient(text):
    assert text == "vault-transit:models"
    return Key()

identity = recipient
"""


def test_another_package_brings_a_scheme(other, held, tmp_path):
    other("vault-transit = strange_module", MODULE)
    (tmp_path / "x").write_bytes(b"weights")
    recipients = given.recipients(["vault-transit:models"])
    sealing.seal(tmp_path / "x", tmp_path / "x.tks", recipients)
    with opening.open(tmp_path / "x.tks", given.identities(["vault-transit:models"], None)):
        pass
    with pytest.raises(UsageError, match="public keys alone"):
        given.public_keys(["vault-transit:models"])
    with pytest.raises(UsageError, match="key files alone"):
        given.secret("name", ["vault-transit:models"], None, "label")


def test_a_scheme_of_ours_is_not_taken_over(other):
    other("keyring = strange_module\npkcs11 = strange_module", MODULE)
    assert providers.find("keyring:s/n") is provider
    assert providers.find("pkcs11:x").__name__.startswith("torchkeep.")


def test_a_package_that_does_not_load_is_named(other):
    other("broken = strange_module", "raise SystemExit(3)")
    with pytest.raises(UsageError, match="strange, which brings broken:, does not load"):
        providers.find("broken:x")


@pytest.mark.parametrize("text", ["alice", "./a:b", "age1xyz", "unknown:x", "", ":", "A:b", "1:x"])
def test_what_has_no_scheme_is_a_name(text):
    assert providers.find(text) is None


def test_a_stanza_of_an_unknown_provider_opens_nothing():
    key, _ = SecretKey.generate()
    assert key.unwrap(Stanza("vault-transit", bytes(64)), bytes(32)) is None


def test_a_file_is_opened_by_the_name_of_a_key_that_lies_elsewhere(held, tmp_path):
    _, text = SecretKey.generate()
    held({("s", "n"): text})
    (tmp_path / "x").write_bytes(b"weights")
    sealing.seal(tmp_path / "x", tmp_path / "x.tks", [provider.recipient("keyring:s/n")])
    with opening.open(tmp_path / "x.tks", "keyring:s/n"):
        pass
    with pytest.raises(UsageError, match="holds nothing under s/other"):
        opening.open(tmp_path / "x.tks", "keyring:s/other")
