"""age files: what goes in comes out, also through the program age, and nothing else does."""

from __future__ import annotations

import base64
import tracemalloc
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from makers import age as program

from torchkeep.core.errors import Foreign, Refused, SourceError, UsageError
from torchkeep.core.source import BytesSource
from torchkeep.vault import age
from torchkeep.vault.age import header, payload
from torchkeep.vault.errors import Damaged, NoIdentity
from torchkeep.vault.recipients import PublicKey, SecretKey

CHUNK = payload.CHUNK
SIZES = [0, 1, 47, 48, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 20 * CHUNK + 7]
WORDS = b"correct horse battery staple"


def cheap(words: bytes = WORDS) -> age.Passphrase:
    return age.Passphrase(words, work=4)


CLASSIC, CLASSIC_TEXT = SecretKey.generate(post_quantum=False)
XWING, XWING_TEXT = SecretKey.generate()
KEYS = {
    "x25519": (PublicKey(CLASSIC.public), CLASSIC),
    "xwing": (PublicKey(XWING.public), XWING),
    "scrypt": (cheap(), cheap()),
}


def content(size: int) -> bytes:
    return (b"0123456789abcdefghijklmnopqrstuvwxyz\n" * (size // 37 + 1))[:size]


def sealed(data: bytes, kind: str = "x25519", *, armored: bool = False) -> bytes:
    pieces = age.ciphertext(BytesSource(data), [KEYS[kind][0]], armored=armored)
    return b"".join(bytes(piece) for piece in pieces)


def opened(data: bytes, *identities: age.Identity) -> bytes:
    pieces = age.plaintext(BytesSource(data), identities or [CLASSIC])
    return b"".join(bytes(piece) for piece in pieces)


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("armored", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(tmp_path, kind, armored, size):
    plain, there, back = (tmp_path / name for name in ("plain", "there", "back"))
    plain.write_bytes(content(size))
    recipient, identity = KEYS[kind]
    age.encrypt(plain, there, [recipient], armored=armored)
    age.decrypt(there, back, [identity])
    assert back.read_bytes() == content(size)
    assert there.read_bytes().startswith(b"-----BEGIN AGE" if armored else b"age-encryption.org/v1")


def test_every_recipient_opens_it_and_nobody_else(tmp_path):
    others = [SecretKey.generate(post_quantum=False)[0] for _ in range(3)]
    pieces = age.ciphertext(BytesSource(b"x"), [PublicKey(one.public) for one in others])
    data = b"".join(bytes(piece) for piece in pieces)
    assert [opened(data, one) for one in others] == [b"x"] * 3
    assert opened(data, CLASSIC, XWING, others[2]) == b"x"
    for wrong in ([], [CLASSIC], [XWING], [cheap()]):
        with pytest.raises(NoIdentity, match="none of the identities"):
            list(age.plaintext(BytesSource(data), wrong))


def test_a_file_never_has_a_key_or_a_nonce_twice():
    assert len({sealed(b"same") for _ in range(20)}) == 20


# With the program age.


@program.needed
@pytest.mark.parametrize("armored", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_program_age_opens_what_we_write(tmp_path, size, armored):
    key, public = program.keygen()
    Path(tmp_path / "key").write_text(key)
    Path(tmp_path / "plain").write_bytes(content(size))
    age.encrypt(tmp_path / "plain", tmp_path / "there", [PublicKey(public)], armored=armored)
    assert program.run("-d", "-i", tmp_path / "key", tmp_path / "there") == (0, content(size))


@program.needed
@pytest.mark.parametrize("armored", [[], ["-a"]])
@pytest.mark.parametrize("size", SIZES)
def test_we_open_what_the_program_age_writes(tmp_path, size, armored):
    key, public = program.keygen()
    Path(tmp_path / "plain").write_bytes(content(size))
    done = program.run(*armored, "-r", public, "-o", tmp_path / "there", tmp_path / "plain")
    assert done == (0, b"")
    identity = SecretKey(key.splitlines()[-1])
    assert identity.public == public
    age.decrypt(tmp_path / "there", tmp_path / "back", [identity])
    assert (tmp_path / "back").read_bytes() == content(size)


@program.needed
def test_a_passphrase_does_in_both_programs(tmp_path):
    (tmp_path / "plain").write_bytes(b"text")
    age.encrypt(tmp_path / "plain", tmp_path / "ours", [cheap()])
    words = WORDS.decode()
    assert program.run("-d", tmp_path / "ours", answers=(words,)) == (0, b"text")

    arguments = ("-p", "-a", "-o", tmp_path / "theirs", tmp_path / "plain")
    assert program.run(*arguments, answers=(words, words)) == (0, b"")
    age.decrypt(tmp_path / "theirs", tmp_path / "back", [age.Passphrase(WORDS)])
    assert (tmp_path / "back").read_bytes() == b"text"


# What was changed, cut or extended.


@pytest.mark.parametrize("armored", [False, True])
def test_no_byte_can_be_changed(armored):
    data = sealed(content(100), armored=armored)
    # The line end behind armor is white space, which may follow it.
    for at in range(len(data) - armored):
        for bit in (1, 0x20, 0x80):
            changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            with pytest.raises((Refused, Foreign)):
                opened(changed)


@pytest.mark.parametrize("armored", [False, True])
@pytest.mark.parametrize("size", [0, 100])
def test_nothing_can_be_cut_off_or_added(size, armored):
    data = sealed(content(size), armored=armored)
    for length in range(len(data) - armored):
        with pytest.raises((Refused, Foreign)):
            opened(data[:length])
    for more in (b"x", b"\0", data):
        with pytest.raises(Damaged):
            opened(data + more)


def test_chunks_cannot_be_dropped_doubled_or_moved():
    data = sealed(content(3 * CHUNK + 5))
    head, size = len(data) - 3 * (CHUNK + 16) - 21, CHUNK + 16
    start = data[:head]
    first, second, third = (data[head + n * size : head + (n + 1) * size] for n in range(3))
    last = data[head + 3 * size :]
    assert opened(start + first + second + third + last) == content(3 * CHUNK + 5)
    for order in (
        (first, second, third),
        (first, second, last),
        (second, first, third, last),
        (first, first, second, third, last),
        (first, second, third, last, last),
        (last,),
        (),
    ):
        with pytest.raises(Damaged, match="payload"):
            opened(start + b"".join(order))


def test_of_a_damaged_file_nothing_appears(tmp_path):
    data = bytearray(sealed(content(5 * CHUNK)))
    data[-1] ^= 1
    (tmp_path / "there").write_bytes(data)
    (tmp_path / "back").write_bytes(b"before")
    with pytest.raises(Damaged):
        age.decrypt(tmp_path / "there", tmp_path / "back", [CLASSIC], overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"there", "back"}
    assert (tmp_path / "back").read_bytes() == b"before"


def test_an_empty_last_chunk_behind_a_full_one_is_refused():
    """Else one content could be spelled in two ways."""
    key, nonce = bytes(16), bytes(16)
    file = BytesSource(content(CHUNK)).file()
    cipher = ChaCha20Poly1305(header.derive(key, nonce, b"payload"))
    full = cipher.encrypt(payload._nonce(0, False), file.read(), None)
    empty = cipher.encrypt(payload._nonce(1, True), b"", None)
    with pytest.raises(ValueError, match="cut short"):
        list(payload.decrypted(BytesSource(full + empty).file(), key, nonce))


def wrapped(data: bytes, *lengths: int) -> bytes:
    """Armor with lines for so many bytes each, and one for the rest."""
    lines, at = [], 0
    for length in (*lengths, len(data)):
        lines.append(base64.b64encode(data[at : at + length]))
        at += length
    text = b"\n".join(lines)
    return b"-----BEGIN AGE ENCRYPTED FILE-----\n" + text + b"\n-----END AGE ENCRYPTED FILE-----\n"


def test_armor_has_one_spelling():
    data = sealed(content(70))
    text = sealed(content(70), armored=True)
    even = [48] * ((len(data) - 1) // 48)
    assert opened(wrapped(data, *even)) == opened(text.replace(b"\n", b"\r\n")) == content(70)
    for changed in (
        wrapped(data, 45, *even[1:]),  # a short line is the last one
        wrapped(data, 47, *even[1:]),  # and so is one with padding
        wrapped(data, *even[1:]),
        text.replace(b"\n", b"\r\n", 1),
        text.replace(b"\n", b"\r\n").replace(b"\r\n", b"\n", 2),
        text.replace(b"FILE-----\n", b"FILE----- \n", 1),
        text.replace(b"FILE-----\n", b"FILE-----x\n"),
        b" " * 2000 + text,
        text + b" " * 2000,
    ):
        with pytest.raises((Damaged, Foreign)):
            opened(changed)


# Limits.


def stanza(type: str, *arguments: str) -> header.Stanza:
    return header.Stanza((type, *arguments), bytes(32))


def test_a_passphrase_costs_no_more_than_the_reader_pays():
    salt = header.encode64(bytes(16)).decode()
    for work in ("21", "99", "9" * 5000):
        data = header.encode([stanza("scrypt", salt, work)], bytes(16)) + bytes(32)
        with pytest.raises(Refused, match="takes more memory"):
            opened(data, age.Passphrase(WORDS))
    dear = age.Passphrase(WORDS, work=5)
    data = b"".join(bytes(piece) for piece in age.ciphertext(BytesSource(b"x"), [dear]))
    assert opened(data, age.Passphrase(WORDS, most_work=5)) == b"x"
    with pytest.raises(Refused, match="takes more memory"):
        opened(data, age.Passphrase(WORDS, most_work=4))


def test_a_passphrase_stands_alone():
    salt = header.encode64(bytes(16)).decode()
    both = [stanza("scrypt", salt, "4"), stanza("other")]
    for stanzas in (both, both[::-1], [both[0]] * 2):
        with pytest.raises(Damaged, match="does not stand alone"):
            opened(header.encode(stanzas, bytes(16)) + bytes(32), CLASSIC)
    with pytest.raises(UsageError, match="stands alone"):
        age.ciphertext(BytesSource(b""), [cheap(), KEYS["x25519"][0]])


def test_recipients_go_together_or_are_refused():
    pair = [KEYS["x25519"][0], KEYS["xwing"][0]]
    with pytest.raises(UsageError, match="as weak"):
        age.ciphertext(BytesSource(b""), pair)
    data = b"".join(map(bytes, age.ciphertext(BytesSource(b"x"), pair, mixed=True)))
    assert opened(data, CLASSIC) == opened(data, XWING) == b"x"
    with pytest.raises(UsageError, match="nobody"):
        age.ciphertext(BytesSource(b""), [])


def test_headers_without_end_are_refused(monkeypatch):
    many = [stanza("grease")] * (header.MOST_STANZAS + 1)
    with pytest.raises(Damaged, match="too many recipients"):
        opened(header.encode(many, bytes(16)))
    assert header.read(BytesSource(header.encode(many[1:], bytes(16))).file())
    monkeypatch.setattr(header, "MOST_BYTES", 1000)
    for data in (header.encode(many[:50], bytes(16)), header.INTRO + b"-> " + b"x" * 2000):
        with pytest.raises(Damaged, match=r"its header is (too large|not well-formed)"):
            opened(data)


@pytest.mark.parametrize("more", [b"A", b"*", b"\r"])
def test_a_line_of_a_header_ends_where_it_should(more):
    good = header.encode([header.Stanza(("x",), bytes(48))], bytes(16))
    assert header.read(BytesSource(good).file()).is_made_with(bytes(16))
    longer = good.replace(b"A" * 64 + b"\n", b"A" * 64 + more)
    with pytest.raises(ValueError, match="not well-formed"):
        header.read(BytesSource(longer).file())


def test_a_header_has_a_recipient():
    with pytest.raises(Damaged, match="not well-formed"):
        opened(header.encode([], bytes(16)) + bytes(48))


@pytest.mark.parametrize("armored", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, armored):
    monkeypatch.setattr(age, "_BUFFER", CHUNK)
    (tmp_path / "plain").write_bytes(bytes(5 << 20))
    tracemalloc.start()
    try:
        age.encrypt(tmp_path / "plain", tmp_path / "there", [KEYS["x25519"][0]], armored=armored)
        age.decrypt(tmp_path / "there", tmp_path / "back", [CLASSIC])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 << 19


# What is no age file, and where it goes.


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"PK\x03\x04", b"age-encryption", b"-----BEGIN PGP MESSAGE-----\n", bytes(5000)],
)
def test_another_file_is_foreign(data):
    with pytest.raises(Foreign, match="is no age file"):
        opened(data)


def test_an_existing_file_is_kept(tmp_path):
    plain, there = tmp_path / "plain", tmp_path / "there"
    plain.write_bytes(b"text")
    there.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        age.encrypt(plain, there, [KEYS["x25519"][0]])
    assert there.read_bytes() == b"mine"
    age.encrypt(plain, there, [KEYS["x25519"][0]], overwrite=True)
    with pytest.raises(UsageError, match="exists already"):
        age.decrypt(there, plain, [CLASSIC])
    for call, keys in ((age.encrypt, [KEYS["x25519"][0]]), (age.decrypt, [CLASSIC])):
        with pytest.raises(UsageError, match="at once"):
            call(there, there, keys, overwrite=True)
    with pytest.raises(SourceError):
        age.encrypt(tmp_path / "missing", tmp_path / "new", [KEYS["x25519"][0]])
    assert not (tmp_path / "new").exists()


def test_a_passphrase_is_told_from_recipients():
    assert age.has_passphrase(BytesSource(sealed(b"", "scrypt", armored=True)))
    assert not age.has_passphrase(BytesSource(sealed(b"", "xwing")))


def test_a_wrong_passphrase_says_so_and_shows_none():
    with pytest.raises(NoIdentity, match="this passphrase") as caught:
        opened(sealed(b"x", "scrypt"), cheap(b"hunter2"))
    assert "hunter2" not in str(caught.value) + repr(cheap(b"hunter2"))
