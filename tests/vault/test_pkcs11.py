"""Keys in a token, as SoftHSM2 plays it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchkeep.core.errors import MissingExtra, Refused, UsageError
from torchkeep.vault import opening, providers, rewrapping, sealing
from torchkeep.vault.blocks import Stanza
from torchkeep.vault.manifest import Policy
from torchkeep.vault.providers import pkcs11, token
from torchkeep.vault.recipients import SecretKey, unwrap

library = pytest.importorskip("pkcs11", reason="tokens need the extra: torchkeep[pkcs11]")

PLACES = ("/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/local/lib/softhsm")
MODULE = next(
    (path for path in (Path(one, "libsofthsm2.so") for one in PLACES) if path.exists()), None
)
needs_token = pytest.mark.skipif(
    not (MODULE and shutil.which("softhsm2-util")), reason="SoftHSM2 is not installed"
)
FILE_KEY, HEADER = bytes(range(32)), b"h" * 32
WAYS = {"kek": "aes-kwp", "pair": "rsa-oaep"}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    """A token with an AES key and an RSA pair, each twice, and a key that may not wrap."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    (folder / "pin").write_text("1234\n")
    (folder / "wrong").write_text("4321\n")
    for name in ("pin", "wrong"):
        (folder / name).chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "conf"))
        patch.setenv("TORCHKEEP_PKCS11_MODULE", str(MODULE))
        patch.delenv("TORCHKEEP_PKCS11_PIN_FILE", raising=False)
        command = ["softhsm2-util", "--init-token", "--free", "--label", "models of us"]
        done = subprocess.run([*command, "--pin", "1234", "--so-pin", "5678"], capture_output=True)
        assert done.returncode == 0, done.stderr
        _fill()
        yield folder


def _fill() -> None:
    kinds, flags = library.KeyType, library.MechanismFlag
    both = flags.WRAP | flags.UNWRAP
    (found,) = library.lib(str(MODULE)).get_tokens(token_label="models of us")
    with found.open(user_pin="1234", rw=True) as session:
        for number, name in enumerate(("kek", "other kek")):
            session.generate_key(
                kinds.AES, 256, label=name, id=bytes([number]), store=True, capabilities=both
            )
        for name in ("pair", "other pair"):
            session.generate_keypair(kinds.RSA, 2048, label=name, store=True)
        session.generate_key(kinds.AES, 256, label="idle", store=True, capabilities=flags.ENCRYPT)
        for _ in range(2):
            session.generate_key(kinds.AES, 256, label="twin", store=True, capabilities=both)


def uri(home: Path, name: str, pin: str = "pin") -> str:
    return f"pkcs11:token=models%20of%20us;object={name}?pin-source=file:{home / pin}"


@needs_token
@pytest.mark.parametrize("name", WAYS)
def test_what_a_token_wraps_it_unwraps(home, name):
    text = uri(home, name)
    provider = providers.find(text)
    recipient, identity = provider.recipient(text), provider.identity(text)
    assert (recipient.type, recipient.way, recipient.is_alone) == ("pkcs11", WAYS[name], False)
    assert recipient.is_post_quantum == (name == "kek")
    assert recipient.id == identity.recipient_id
    stanza = recipient.wrap(FILE_KEY, HEADER)
    way = WAYS[name].encode()
    assert (stanza.type, stanza.body[: 1 + len(way)]) == ("pkcs11", bytes([len(way)]) + way)
    assert identity.unwrap(stanza, HEADER) == FILE_KEY
    assert stanza != recipient.wrap(FILE_KEY, HEADER)
    assert FILE_KEY not in stanza.body


@needs_token
@pytest.mark.parametrize("name", WAYS)
def test_a_stanza_is_for_one_file_and_one_key(home, name):
    identity = pkcs11.identity(uri(home, name))
    other = pkcs11.identity(uri(home, f"other%20{name}"))
    stanza = pkcs11.recipient(uri(home, name)).wrap(FILE_KEY, HEADER)
    assert other.recipient_id != identity.recipient_id
    assert identity.unwrap(stanza, b"g" * 32) is None  # moved to another file
    assert other.unwrap(stanza, HEADER) is None
    assert identity.unwrap(Stanza("aws-kms", stanza.body), HEADER) is None
    swapped = pkcs11.recipient(uri(home, name)).wrap(bytes(32), b"g" * 32).body
    start = 1 + len(WAYS[name])
    mixed = swapped[: start + 48] + stanza.body[start + 48 :]
    assert identity.unwrap(Stanza("pkcs11", mixed), HEADER) is None


@needs_token
@pytest.mark.parametrize("name", WAYS)
def test_a_changed_stanza_is_refused(home, name):
    identity = pkcs11.identity(uri(home, name))
    body = pkcs11.recipient(uri(home, name)).wrap(FILE_KEY, HEADER).body
    changed = [body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] for at in range(0, len(body), 7)]
    changed += [body[:-1], body + b"\0", body[:60], body[:10], b"", body + bytes(5000)]
    for one in changed:
        assert identity.unwrap(Stanza("pkcs11", one), HEADER) is None


@needs_token
@pytest.mark.parametrize("length", [0, 48, 48 + 2049])
def test_a_token_is_not_asked_for_what_it_cannot_have_wrapped(home, monkeypatch, length):
    identity = pkcs11.identity(uri(home, "kek"))
    monkeypatch.delenv("TORCHKEEP_PKCS11_MODULE")
    stanza = Stanza("pkcs11", b"\x07aes-kwp" + bytes(length))
    assert identity.unwrap(stanza, HEADER) is None
    with pytest.raises(UsageError, match="nothing says which library"):
        identity.unwrap(Stanza("pkcs11", b"\x07aes-kwp" + bytes(88)), HEADER)


@needs_token
def test_an_rsa_pair_seals_without_a_pin(home):
    recipient = pkcs11.recipient("pkcs11:token=models%20of%20us;object=pair")
    stanza = recipient.wrap(FILE_KEY, HEADER)
    assert unwrap([stanza], [pkcs11.identity(uri(home, "pair"))], HEADER)[0] == FILE_KEY
    with pytest.raises(UsageError, match="shows not exactly one"):
        pkcs11.identity("pkcs11:token=models%20of%20us;object=pair")


@needs_token
def test_a_key_is_found_by_its_id_and_its_token_by_all_it_says(home, monkeypatch):
    (found,) = library.lib(str(MODULE)).get_tokens(token_label="models of us")
    serial, model = token.text_of(found.serial), token.text_of(found.model)
    monkeypatch.setenv("TORCHKEEP_PKCS11_PIN_FILE", str(home / "pin"))
    said = f"pkcs11:serial={serial};model={model.replace(' ', '%20')};id=%01;type=secret-key"
    assert pkcs11.recipient(said).id == pkcs11.recipient(uri(home, "other%20kek")).id
    with pytest.raises(UsageError, match="there is no token 0000"):
        pkcs11.recipient("pkcs11:serial=0000;token=models%20of%20us;id=%01")


@needs_token
def test_a_file_for_a_token_opens_with_it(home, tmp_path):
    (tmp_path / "x").write_bytes(b"weights")
    key, spare = pkcs11.recipient(uri(home, "kek")), SecretKey.generate()[0]
    pinned = Policy(recipients=tuple(sorted([key.id])))
    sealing.seal(tmp_path / "x", tmp_path / "x.tks", [key], policy=pinned)
    with opening.open(tmp_path / "x.tks", [spare, pkcs11.identity(uri(home, "kek"))]) as sealed:
        assert bytes(sealed.bytes_of(sealed.layouts[0], 0)) == b"weights"
    with pytest.raises(Refused, match="none of the identities"):
        opening.open(tmp_path / "x.tks", [pkcs11.identity(uri(home, "other%20kek"))])
    rewrapping.rewrap(
        tmp_path / "x.tks",
        [pkcs11.identity(uri(home, "kek"))],
        [pkcs11.recipient(uri(home, "kek"))],
    )
    with opening.open(tmp_path / "x.tks", [pkcs11.identity(uri(home, "kek"))]):
        pass


# What is wrong is said in one line, without the PIN.


@needs_token
def test_a_wrong_pin(home):
    with pytest.raises(Refused, match="refuses the PIN") as caught:
        pkcs11.identity(uri(home, "kek", "wrong"))
    assert "4321" not in str(caught.value)


@needs_token
def test_a_pin_file_is_private(home):
    (home / "open").write_text("1234\n")
    with pytest.raises(Refused, match="others have access"):
        pkcs11.identity(uri(home, "kek", "open"))


@needs_token
def test_a_key_that_may_not_wrap(home):
    with pytest.raises(Refused, match="does not allow that key to wrap"):
        pkcs11.recipient(uri(home, "idle")).wrap(FILE_KEY, HEADER)
    stanza = pkcs11.recipient(uri(home, "kek")).wrap(FILE_KEY, HEADER)
    with pytest.raises(Refused, match="does not allow that key to wrap"):
        pkcs11.identity(uri(home, "idle")).unwrap(stanza, HEADER)


@needs_token
@pytest.mark.parametrize("name", ["none", "twin"])
def test_a_name_means_one_key(home, name):
    with pytest.raises(UsageError, match="shows not exactly one AES or RSA key"):
        pkcs11.recipient(uri(home, name))


@needs_token
def test_no_token(home):
    with pytest.raises(UsageError, match="there is no token elsewhere"):
        pkcs11.recipient("pkcs11:token=elsewhere;object=kek")


@pytest.mark.parametrize("module", ["", "libsofthsm2.so", "./libsofthsm2.so"])
def test_a_library_is_named_by_its_whole_path(monkeypatch, module):
    monkeypatch.setenv("TORCHKEEP_PKCS11_MODULE", module)
    with pytest.raises(UsageError, match="nothing says which library"):
        pkcs11.recipient("pkcs11:token=x;object=y")


def test_a_library_that_is_none(monkeypatch, tmp_path):
    (tmp_path / "x.so").write_bytes(b"")
    monkeypatch.setenv("TORCHKEEP_PKCS11_MODULE", str(tmp_path / "x.so"))
    with pytest.raises(UsageError, match="is no library of a token"):
        pkcs11.recipient("pkcs11:token=x;object=y")


WRONG = [
    "pkcs11:",
    "pkcs11:token=x",
    "pkcs11:object=y",
    "pkcs11:token=x;object=y;more=z",
    "pkcs11:token=x;object",
    "pkcs11:token=x;object=y?pin-value=1234",
    "pkcs11:token=x;object=y?module-path=/tmp/evil.so",
    "pkcs11:token=x;object=y?pin-source=/p&pin-value=1234",
    "pkcs11:token=x;object=y?pin-source=/p&module-path=/tmp/evil.so",
    "pkcs11:token=x;object=y?pin-source=",
    "pkcs11:token=x;pin-value=1234;object=y",
]


@pytest.mark.parametrize("text", WRONG)
def test_a_name_that_says_too_little_or_too_much(text):
    with pytest.raises(UsageError, match="name") as caught:
        token.parse(text)
    assert "1234" not in str(caught.value)
    assert "evil" not in str(caught.value)


def test_a_name_is_read_as_its_standard_has_it(monkeypatch):
    monkeypatch.setenv("TORCHKEEP_PKCS11_PIN_FILE", "/elsewhere")
    place = token.parse("pkcs11:token=a%20b;serial=01;id=%00%ff?pin-source=file:/a%20pin")
    assert place.token == {"label": "a b", "serial": "01"}
    assert (place.key, place.pin) == ({"ID": b"\0\xff"}, Path("/a pin"))
    assert token.parse("pkcs11:token=a;object=b").pin == Path("/elsewhere")


def test_without_its_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pkcs11", None)
    with pytest.raises(MissingExtra, match=r"torchkeep\[pkcs11\]"):
        pkcs11.recipient("pkcs11:token=x;object=y")
