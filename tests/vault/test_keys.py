"""Keys: what is made is found and loaded again, by nobody else, and is shown to nobody."""

from __future__ import annotations

import os
import stat
import traceback
from pathlib import Path

import pytest
from makers import age as program

from torchkeep.core.errors import Foreign, Refused, SourceError, TorchkeepError, UsageError
from torchkeep.vault import age, bech32, home, keyfile, keys, trust
from torchkeep.vault.errors import Damaged, NoIdentity
from torchkeep.vault.recipients import PublicKey, SecretKey
from torchkeep.vault.signing import Signature

WORDS = b"correct horse battery staple"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A key home and a working folder of our own, and passphrases that are cheap to guess."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TORCHKEEP_KEYS", str(tmp_path / "home" / "keys"))
    monkeypatch.setattr(age, "WORK", 4)
    return tmp_path / "here"


def ask(name: str) -> bytes:
    return WORDS


def never(name: str) -> bytes:
    raise AssertionError("nobody should be asked")


def windows(text: str) -> set[str]:
    """Pieces of the part of a key that is secret."""
    secret = text.rpartition("1")[2]
    return {secret[at : at + 6].lower() for at in range(len(secret) - 5)}


def leaks(secret: str, *texts: object) -> bool:
    """Whether something of a key stands in one of the texts, spelled, in hex or as bytes."""
    data = bech32.decode(secret)[1]
    said = "\n".join(map(str, texts)).lower()
    pieces = [data[at : at + 4] for at in range(0, len(data), 4)]
    raw = [piece.hex() for piece in pieces] + [repr(piece)[2:-1].lower() for piece in pieces]
    return any(piece in said for piece in [*windows(secret), *raw])


def secret_of(path: Path) -> str:
    return path.read_text().splitlines()[-1]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Made and loaded.


@pytest.mark.parametrize("post_quantum", [True, False])
@pytest.mark.parametrize("words", [WORDS, None])
def test_an_identity(here, words, post_quantum):
    path = here / "alice.key"
    public = keys.new_identity(path, passphrase=words, post_quantum=post_quantum)
    assert PublicKey(public).is_post_quantum == post_quantum
    (found,) = keys.identity("alice.key", ask if words else never)
    assert found.public == public
    assert keys.public(path, never) == public
    assert (mode(path), (here / "alice.key.pub").read_text()) == (0o600, f"{public}\n")


@pytest.mark.parametrize("words", [WORDS, None])
def test_a_signing_key(here, words):
    path = here / "release.key"
    public = keys.new_signer(path, passphrase=words)
    signer = keys.signer("release.key", ask if words else never)
    assert trust.spell(signer.public) == public == keys.public(path, never)
    assert Signature.decode(signer.sign(b"x")).verifies(b"x")
    (entry,) = trust.load(here / "release.key.pub").entries
    assert entry.public == signer.public
    assert mode(path) == 0o600


def test_a_secret_is_opened_by_each_who_shares_it(here):
    pairs = [SecretKey.generate()[0] for _ in range(2)]
    keys.new_secret(here / "shared", [PublicKey(one.public) for one in pairs])
    first, second = (keys.secret("shared", [one], "mark") for one in pairs)
    assert first == second
    assert len(first) == 32
    assert mode(here / "shared") == 0o600
    stranger = SecretKey.generate()[0]
    with pytest.raises(NoIdentity):
        keys.secret("shared", [stranger], "mark")


def test_a_secret_has_one_key_for_each_purpose(here):
    one, _ = SecretKey.generate()
    for name in ("shared", "other"):
        keys.new_secret(here / name, [PublicKey(one.public)])
    found = {
        keys.secret(name, [one], label)
        for name in ("shared", "other")
        for label in ("mark", "deid", "mark ", "")
    }
    assert len(found) == 8


def test_the_text_of_a_key_file(here):
    public = keys.new_identity(here / "key", passphrase=None, post_quantum=False)
    created, said, secret = (here / "key").read_text().splitlines()
    assert created.startswith("# created: 20")
    assert said == f"# public key: {public}"
    assert secret.startswith("AGE-SECRET-KEY-1")
    keys.new_signer(here / "signer", passphrase=None)
    _, said, secret = (here / "signer").read_text().splitlines()
    assert said.startswith("# public key: torchkeep-signer-1")
    assert secret.startswith("TORCHKEEP-SIGNER-SECRET-1")


def test_nothing_of_an_encrypted_key_lies_in_the_clear(here):
    keys.new_identity(here / "key", passphrase=WORDS)
    keys.new_signer(here / "signer", passphrase=WORDS)
    for name in ("key", "signer"):
        assert (here / name).read_bytes().startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
        (line,) = keyfile.secrets(keyfile.read(here / name), lambda: [age.Passphrase(WORDS)])
        assert not leaks(line.text, *(path.read_text() for path in here.iterdir()))


# With the program age.


@program.needed
@pytest.mark.parametrize("words", [WORDS, None])
def test_the_program_age_takes_our_identities(here, words):
    keys.new_identity(here / "key", passphrase=words, post_quantum=False)
    (here / "plain").write_bytes(b"text")
    assert program.run("-R", "key.pub", "-o", "there", "plain") == (0, b"")
    answers = (words.decode(),) if words else ()
    assert program.run("-d", "-i", "key", "there", answers=answers) == (0, b"text")
    age.decrypt("there", "back", keys.identity("key", ask))
    assert (here / "back").read_bytes() == b"text"


@program.needed
def test_we_take_the_identities_of_the_program_age(here):
    text, public = program.keygen()
    other, _ = program.keygen()
    (here / "key").write_text(text + other)
    (here / "key").chmod(0o600)
    first, _ = keys.identity("key", never)
    assert first.public == public


# Names.


def test_a_bare_name_is_one_of_the_key_home(here):
    keys.new_identity(home.make() / "alice", passphrase=None)
    assert home.find("alice") == home.folder() / "alice"
    assert (mode(home.folder()), (home.folder() / ".gitignore").read_text()) == (0o700, "*\n")
    keys.new_identity(here / "bob", passphrase=None)
    assert home.find("bob").samefile(here / "bob")
    assert home.find("./alice") == Path("alice")


def test_nobody_guesses_which_of_two_keys_is_meant(here):
    keys.new_identity(home.make() / "alice", passphrase=None)
    keys.new_identity(here / "alice", passphrase=None)
    with pytest.raises(UsageError, match=r"is a key in .* and a file in this folder") as caught:
        keys.identity("alice", never)
    assert "./alice" in caught.value.next
    assert keys.identity("./alice", never)
    (here / "alice").unlink()
    (here / "alice").symlink_to(home.folder() / "alice")
    assert keys.identity("alice", never)


@pytest.mark.parametrize("name", ["", ".", "..", "nobody", "\x1b[2J"])
def test_a_name_that_is_none(name):
    with pytest.raises(UsageError) as caught:
        home.find(name)
    assert str(caught.value).isprintable()


def test_the_key_home_follows_the_system(monkeypatch):
    monkeypatch.delenv("TORCHKEEP_KEYS")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert home.folder() == Path("/x/torchkeep/keys")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/y")
    assert home.folder() == Path("/y/.config/torchkeep/keys")


# Never written over.


@pytest.mark.parametrize("taken", ["key", "key.pub"])
@pytest.mark.parametrize("is_link", [False, True])
def test_a_key_is_never_written_over(here, taken, is_link):
    if is_link:
        (here / taken).symlink_to("nowhere")
    else:
        (here / taken).write_bytes(b"mine")
    one = PublicKey(SecretKey.generate()[0].public)
    for make in (
        lambda: keys.new_identity(here / "key", passphrase=None),
        lambda: keys.new_signer(here / "key", passphrase=WORDS),
        lambda: keys.new_secret(here / "key", [one]),
    ):
        with pytest.raises(UsageError, match="exists already"):
            make()
    assert [path.name for path in here.iterdir()] == [taken]
    assert is_link or (here / taken).read_bytes() == b"mine"


def test_an_empty_passphrase_is_refused(here):
    with pytest.raises(UsageError, match="empty passphrase"):
        keys.new_identity(here / "key", passphrase=b"")
    assert list(here.iterdir()) == []


# Who can read it.


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])
@pytest.mark.parametrize("words", [WORDS, None])
def test_a_key_that_others_can_reach_is_refused_and_left_as_it_is(here, bits, words):
    keys.new_identity(here / "key", passphrase=words)
    (here / "key").chmod(bits)
    with pytest.raises(Refused, match="others") as caught:
        keys.identity("key", never)
    (here / "key.pub").unlink()
    with pytest.raises(Refused, match="others"):
        keys.public("key", never)
    assert caught.value.next.startswith("run: chmod ")
    assert mode(here / "key") == bits
    os.system(caught.value.next.removeprefix("run: "))  # as a user would paste it
    assert keys.identity("key", ask)


def test_a_passphrase_file_that_others_can_read_is_refused(here):
    (here / "words").write_bytes(WORDS + b"\n")
    with pytest.raises(Refused, match="others have access"):
        keys.passphrase(here / "words")
    (here / "words").chmod(0o600)
    assert keys.passphrase(here / "words") == WORDS


def test_what_is_no_secret_may_be_read_and_not_changed_by_others(here):
    keys.new_identity(here / "key", passphrase=WORDS)
    (one,) = keys.identity("key", ask)
    keys.new_secret(here / "shared", [PublicKey(one.public)])
    for name, call in (
        ("shared", lambda: keys.secret("shared", [one], "x")),
        ("key.pub", lambda: keys.public("key", never)),
    ):
        (here / name).chmod(0o644)
        assert call()
        (here / name).chmod(0o646)
        with pytest.raises(Refused, match="others can change it") as caught:
            call()
        assert caught.value.next.startswith("run: chmod go-w ")


# What is wrong.


def test_a_wrong_passphrase_is_one_line(here):
    keys.new_identity(here / "key", passphrase=WORDS)
    wrong = WORDS[::-1]
    with pytest.raises(NoIdentity, match="key does not open with this passphrase") as caught:
        keys.identity("key", lambda name: wrong)
    assert caught.value.exit_code == 1
    assert wrong.decode() not in "".join(traceback.format_exception(caught.value))


def test_a_key_of_another_kind_is_named(here):
    keys.new_identity(here / "key", passphrase=WORDS)
    keys.new_signer(here / "signer", passphrase=WORDS)
    (one,) = keys.identity("key", ask)
    keys.new_secret(here / "shared", [PublicKey(one.public)])
    for call, said, flag in (
        (lambda: keys.identity("signer", ask), "is a signing key, expected an identity", "--sign"),
        (lambda: keys.signer("key", ask), "is an identity, expected a signing key", "--identity"),
        (lambda: keys.identity("shared", never), "is a secret, expected an identity", "--key"),
        (lambda: keys.secret("key", [one], "x"), "is no secret", "--secret"),
        (lambda: keys.public("shared", never), "has no public part", "identity"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            call()
        assert flag in caught.value.next


def test_a_file_with_two_signing_keys_is_refused(here):
    """Nobody guesses which of them was meant."""
    for name in ("one", "two"):
        keys.new_signer(here / name, passphrase=None)
    with (here / "one").open("a") as file:
        file.write((here / "two").read_text())
    with pytest.raises(Foreign, match="holds 2 keys, expected one"):
        keys.signer("one", never)


def test_an_identity_that_is_sealed_is_no_secret(here):
    """Whoever writes such a file must not get a key out of somebody's identity."""
    one, text = SecretKey.generate()
    (here / "file").write_bytes(keyfile.encrypted(f"{text}\n".encode(), [PublicKey(one.public)]))
    with pytest.raises(UsageError, match="is an identity, expected a secret"):
        keys.secret(here / "file", [one], "x")


KEY = bech32.encode("AGE-SECRET-KEY-", bytes(range(32))).encode()
BROKEN = {
    "cut": KEY[:-1],
    "longer": KEY + b"q",
    "a letter": KEY[:20] + b"b" + KEY[21:],
    "not UTF-8": b"\xff" + KEY,
    "both cases": KEY[:30].lower() + KEY[30:],
    "more behind": KEY + b"\nrubbish\n",
    "a comment": b"#" + KEY,
    "empty": b"",
    "empty lines": b"\n\n",
    "zeros": bytes(1000),
    "31 bytes": bech32.encode("AGE-SECRET-KEY-", bytes(31)).encode(),
    "a plug-in": bech32.encode("AGE-PLUGIN-YUBIKEY-", bytes(32)).encode(),
    "half a signer": bech32.encode("TORCHKEEP-SIGNER-SECRET-", bytes(32)).encode(),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_key_says_nothing_of_what_it_holds(here, content):
    (here / "key").write_bytes(content)
    (here / "key").chmod(0o600)
    for call in (keys.identity, keys.signer, keys.public):
        with pytest.raises(Foreign, match="is no key file") as caught:
            call("key", never)
        said = "".join(traceback.format_exception(caught.value))
        assert not any(piece in said.lower() for piece in windows(KEY.decode()))


def test_every_change_of_an_encrypted_key_is_refused(here):
    keys.new_identity(here / "key", passphrase=WORDS, post_quantum=False)
    data = (here / "key").read_bytes()
    for at in range(0, len(data) - 1, 5):
        (here / "key").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(TorchkeepError):
            keys.identity("key", ask)
    (here / "key").write_bytes(data[:-60])
    with pytest.raises(Damaged):
        keys.identity("key", ask)


def test_a_file_that_is_far_too_large_or_none(here):
    (here / "large").write_bytes(bytes(keyfile.LONGEST + 1))
    os.mkfifo(here / "pipe")
    (here / "folder").mkdir()
    for name in ("large", "pipe", "folder"):
        (here / name).chmod(0o700)
        with pytest.raises(SourceError):
            keys.identity(f"./{name}", never)


@pytest.mark.parametrize("text", ["", "\n", "a\nb\n", "\r\n"])
def test_a_passphrase_file_holds_one_line(here, text):
    (here / "words").write_text(text, newline="")
    (here / "words").chmod(0o600)
    with pytest.raises(UsageError, match="one line"):
        keys.passphrase(here / "words")


def test_line_ends_are_no_part_of_a_passphrase(here):
    for text in (" a b ", " a b \n", " a b \r\n"):
        (here / "words").write_text(text, newline="")
        (here / "words").chmod(0o600)
        assert keys.passphrase(here / "words") == b" a b "


# What is said of keys.


def test_a_key_in_place_of_a_name_is_not_repeated():
    made = [SecretKey.generate(post_quantum=kind)[1] for kind in (True, False)]
    for text in (*made, *map(str.lower, made)):
        for call in (home.find, PublicKey, lambda text: keys.identity(text, never)):
            with pytest.raises(UsageError) as caught:
                call(text)
            said = "".join(traceback.format_exception(caught.value))
            assert not leaks(text.upper(), caught.value, said)


def test_what_was_loaded_shows_nothing(here):
    keys.new_identity(here / "key", passphrase=None)
    keys.new_signer(here / "signer", passphrase=None)
    identity, signer = keys.identity("key", never)[0], keys.signer("signer", never)
    lines = [keyfile.secrets(keyfile.read(here / name), list)[0] for name in ("key", "signer")]
    for name in ("key", "signer"):
        assert not leaks(secret_of(here / name), repr(identity), repr(signer), *map(repr, lines))
        assert leaks(secret_of(here / name), (here / name).read_text())  # it would be seen


def test_the_public_part_is_unlocked_where_it_is_missing(here):
    for make, name in ((keys.new_identity, "key"), (keys.new_signer, "signer")):
        public = make(here / name, passphrase=WORDS)
        (here / f"{name}.pub").unlink()
        assert keys.public(name, ask) == public
        with pytest.raises(NoIdentity):
            keys.public(name, lambda name: b"wrong")


def test_a_secret_in_the_clear_has_no_public_part(here):
    (here / "key").write_text(bech32.encode("TORCHKEEP-SECRET-", bytes(32)))
    (here / "key").chmod(0o600)
    with pytest.raises(UsageError, match="has no public part"):
        keys.public("key", never)


def test_a_public_file_can_be_named(here):
    public = keys.new_signer(here / "key", passphrase=None)
    assert keys.public("key.pub", never) == public
    (here / "bad.pub").write_text(secret_of(here / "key"))
    with pytest.raises(UsageError, match="holds no public key") as caught:
        keys.public("bad.pub", never)
    assert not leaks(secret_of(here / "key"), caught.value)


def test_the_list_of_the_key_home(here):
    assert keys.entries() == []
    place = home.make()
    public = keys.new_identity(place / "a", passphrase=WORDS)
    signer = keys.new_signer(place / "b", passphrase=None)
    keys.new_secret(place / "c", [PublicKey(public)])
    keys.new_identity(place / "d", passphrase=WORDS)
    (place / "d.pub").unlink()
    (place / "b").chmod(0o644)
    (place / "c").chmod(0o644)
    (place / "e").write_text("rubbish")
    found = keys.entries()
    assert [(one.name, one.kind, one.public, one.is_encrypted) for one in found] == [
        ("a", "identity", public, True),
        ("b", "signer", signer, False),
        ("c", "secret", "", True),
        ("d", None, "", True),
        ("e", None, "", False),
    ]
    assert [one.problem for one in found[:4]] == ["", "others have access to it", "", ""]
    assert "is no key file" in found[4].problem
    assert found[0].to_json()["kind"] == "identity"


def test_a_key_home_that_is_no_folder(here, monkeypatch):
    (here / "file").write_bytes(b"")
    monkeypatch.setenv("TORCHKEEP_KEYS", str(here / "file"))
    for call in (keys.entries, home.make):
        with pytest.raises(TorchkeepError, match="file"):
            call()
