"""What is sealed comes out again, whatever its size and kind, and no key serves twice."""

from __future__ import annotations

import io
import random
import sys
from contextlib import suppress

import pytest
import torch
from doubles.sealed import both
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.sealed import KEY, PUBLIC, SECRET, SMALL, contents, stranger, tensors, write

from torchkeep import vault
from torchkeep.core.errors import Foreign, MissingExtra, SourceError, UsageError
from torchkeep.core.source import BytesSource
from torchkeep.vault import opening, suite
from torchkeep.vault.manifest import Policy
from torchkeep.vault.reading import Level
from torchkeep.vault.recipients import Passphrase, PublicKey
from torchkeep.vault.signing import Signer
from torchkeep.vault.writing import Identification, Writer, spans

OWN = [("x25519", SECRET)]
EDGES = (0, 1, SMALL - 1, SMALL, SMALL + 1, 2 * SMALL - 1, 2 * SMALL, 3 * SMALL + 7)
RANDOM = random.Random(4)


def opened(path, level=Level.FULL):
    with opening.open(path, KEY, level=level) as sealed:
        return contents(sealed)


# Round trips.


@pytest.mark.parametrize("size", EDGES)
def test_a_file_of_every_length(tmp_path, size):
    data, path = RANDOM.randbytes(size), tmp_path / "x.tks"
    receipt = write(path, ("a/b.bin", data))
    assert receipt.size == path.stat().st_size
    for level in ("tags", "full"):
        facts = both(path, path.read_bytes(), OWN, level)
        assert facts is not None
        ((_, name, _, items),) = facts.content
        assert (name, items) == ("a/b.bin", [data])


@pytest.mark.parametrize("sizes", [EDGES, EDGES[::-1], (0,) * 5, (SMALL,) * 4, ()])
def test_records_of_every_length(tmp_path, sizes):
    records, path = [RANDOM.randbytes(size) for size in sizes], tmp_path / "x.tks"
    assert write(path, ("r", records)).items == len(records)
    facts = both(path, path.read_bytes(), OWN, "full")
    assert facts is not None
    assert facts.content[0][3] == records


@settings(max_examples=30)
@given(
    st.lists(
        st.one_of(st.binary(max_size=99), st.lists(st.binary(max_size=9), max_size=9)), max_size=5
    )
)
def test_parts_of_any_kind(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("x") / "x.tks"
    write(path, *((f"p{number}", one) for number, one in enumerate(content)))
    expected = [
        (f"p{number}", [one] if isinstance(one, bytes) else one)
        for number, one in enumerate(content)
    ]
    assert opened(path) == opened(path, Level.TAGS) == expected
    assert both(path, path.read_bytes(), OWN, "full") is not None


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_suite(tmp_path, number):
    path = tmp_path / "x.tks"
    data = RANDOM.randbytes(5 * SMALL + 1)
    write(path, ("f", data), suite_id=number)
    for level in (Level.TAGS, Level.FULL):
        assert opened(path, level) == [("f", [data])]
    assert opening.verify(path).is_verified
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    assert opening.verify(path).code == "damaged"
    with pytest.raises(vault.Damaged):
        opened(path)


def test_without_blake3_its_suites_say_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "x.tks"
    write(path, ("f", b"x"), suite_id=3)
    monkeypatch.setitem(sys.modules, "blake3", None)
    for call in (lambda: opened(path), lambda: write(tmp_path / "y", ("f", b""), suite_id=4)):
        with pytest.raises(MissingExtra, match="blake3"):
            call()


@pytest.mark.parametrize("chunk", range(16, 23))
def test_every_size_of_chunk(tmp_path, chunk):
    data = RANDOM.randbytes((1 << chunk) + 1)
    write(tmp_path / "x", ("f", data), ("r", [data[:9], data]), chunk=chunk)
    assert opened(tmp_path / "x") == [("f", [data]), ("r", [data[:9], data])]


def test_twenty_thousand_tensors(tmp_path):
    state = {f"layer.{n}.w": torch.full((n % 5,), n, dtype=torch.int32) for n in range(20_000)}
    tensors(tmp_path / "x", state, chunk=20)
    with opening.open(tmp_path / "x", KEY) as sealed:
        found = sealed.state_dict()
        assert sorted(sealed.names()) == sorted(state)
        assert torch.equal(sealed.get_tensor("layer.9.w"), state["layer.9.w"])
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    sizes = sum(tensor.nbytes for tensor in state.values())
    assert (tmp_path / "x").stat().st_size <= sizes + 160 * 20_000 + (16 << 10)


def test_sealing_adds_little(tmp_path):
    data = bytes(40 << 20)
    size = write(tmp_path / "x", ("f", data), chunk=20).size
    assert size - len(data) <= len(data) // 10_000 + (16 << 10)


def test_pieces_may_be_read_when_they_are_needed(tmp_path):
    data = RANDOM.randbytes(3 * SMALL + 5)
    source = BytesSource(data, "data")
    with (
        (tmp_path / "x").open("wb") as file,
        Writer(file, [PUBLIC], Identification(model="m"), chunk=16) as writer,
    ):
        writer.file("f", spans(source, 3, len(data) - 3, SMALL))
        writer.settle()
        source.close()  # nothing of it is needed any more
        writer.file("g", [b"x"])
        writer.finish()
    assert opened(tmp_path / "x") == [("f", [data[3:]]), ("g", [b"x"])]


def test_the_file_is_written_in_one_pass(tmp_path):
    class Pipe(io.RawIOBase):
        def write(self, data):
            written.append(bytes(data))
            return len(data)

    written: list[bytes] = []
    with Writer(Pipe(), [PUBLIC], Identification(model="m"), chunk=16) as writer:
        writer.file("f", [bytes(SMALL), b"x"])
        writer.finish()
    (tmp_path / "x").write_bytes(b"".join(written))
    assert opened(tmp_path / "x") == [("f", [bytes(SMALL) + b"x"])]


@pytest.mark.parametrize("pieces", [[b"x", b"x"], [bytes(SMALL + 1)], [bytes(SMALL), b"", b"x"]])
def test_pieces_that_are_no_chunks_are_refused(tmp_path, pieces):
    """They could be written, and never be read again."""
    with (
        (tmp_path / "x").open("wb") as file,
        Writer(file, [PUBLIC], Identification(model="m"), chunk=16) as writer,
        pytest.raises(ValueError, match="must have 65536 bytes"),
    ):
        writer.file("f", pieces)


@pytest.mark.parametrize("data", [[], [[b"xy"], [b"z"]], [[b"x"]], [[]], [[b"xyz"]]])
def test_tensors_that_are_not_those_of_the_header_are_refused(tmp_path, data):
    header = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    with (
        (tmp_path / "x").open("wb") as file,
        Writer(file, [PUBLIC], Identification(model="m"), chunk=16) as writer,
        pytest.raises(ValueError, match=r"zip|length"),
    ):
        writer.tensors("t", header, data)


# No key and nonce serve twice.


def test_no_nonce_comes_twice_under_a_key(tmp_path, monkeypatch):
    used: list[tuple[bytes, bytes]] = []

    class Noted:
        def __init__(self, key):
            self.key, self.cipher = key, suite.AESGCM(key)

        def encrypt_into(self, nonce, data, associated, into):
            used.append((self.key, bytes(nonce)))
            return self.cipher.encrypt_into(nonce, data, associated, into)

    monkeypatch.setitem(suite._CIPHERS, 1, ("AES-256-GCM", Noted))
    data = bytes(3 * SMALL + 1)
    for name in ("x", "y"):
        write(tmp_path / name, ("f", data), ("g", data), ("r", [data, data, b""]), suite_id=1)
    assert len(used) == 2 * (4 + 4 + 4 + 4 + 1 + 1)
    assert len(set(used)) == len(used)
    assert len({key for key, _ in used}) == 2 * 6


def test_equal_contents_look_different(tmp_path):
    for name in ("x", "y"):
        write(tmp_path / name, ("f", bytes(99)), ("g", bytes(99)))
    one, two = ((tmp_path / name).read_bytes() for name in ("x", "y"))
    with opening.framed(tmp_path / "x") as frame:
        at = frame.places.data
    assert one[at : at + 99] != two[at : at + 99]
    assert one[at : at + 99] != one[at + 115 : at + 214]


def test_nothing_of_the_content_is_in_the_file(tmp_path):
    words = b"the name of a tensor that nobody may see"
    write(tmp_path / "x", (words.decode(), words * 9), to=[PUBLIC, stranger()[1]])
    data = (tmp_path / "x").read_bytes()
    assert not any(words[at : at + 8] in data for at in range(len(words) - 8))


# What is refused.


@pytest.mark.parametrize("number", [5, 6, 255])
def test_suites_that_nobody_has(tmp_path, number):
    with pytest.raises(Foreign, match=f"suite {number}"):
        write(tmp_path / "x", suite_id=number)


def test_recipients_that_do_not_go_together(tmp_path):
    strong = stranger(post_quantum=True)[1]
    for to in ([], [PUBLIC, strong], [PUBLIC, Passphrase(b"words")]):
        with pytest.raises(UsageError):
            write(tmp_path / "x", to=to)
    write(tmp_path / "x", to=[PUBLIC, strong], mixed=True)
    assert opened(tmp_path / "x") == []


def test_what_was_not_finished_is_no_sealed_file(tmp_path):
    def broken():
        yield b"x" * SMALL
        raise ZeroDivisionError

    path = tmp_path / "x"
    with (
        suppress(ZeroDivisionError),
        path.open("wb") as file,
        Writer(file, [PUBLIC], Identification(model="m"), chunk=16) as writer,
    ):
        writer.file("f", broken())
    assert path.stat().st_size
    with pytest.raises(vault.Damaged):
        opening.open(path, KEY)


def test_a_source_that_fails_stops_the_sealing(tmp_path):
    """The failure comes from another thread."""
    source = BytesSource(bytes(9), "short")
    with (
        (tmp_path / "x").open("wb") as file,
        Writer(file, [PUBLIC], Identification(model="m"), chunk=16) as writer,
    ):
        writer.file("f", spans(source, 0, 10, SMALL))
        with pytest.raises(SourceError, match="short has 9 bytes"):
            writer.finish()


def test_a_header_that_lies_about_its_tensors_is_refused(tmp_path):
    with (
        (tmp_path / "x").open("wb") as file,
        Writer(file, [PUBLIC], Identification(model="m")) as writer,
        pytest.raises(ValueError, match="overlap"),
    ):
        writer.tensors("t", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', [[b"x"]])


def test_a_recipient_is_a_public_key():
    with pytest.raises(UsageError, match="no recipient"):
        PublicKey("AGE-SECRET-KEY-1" + "Q" * 58)


# What could be written, but never be read again.

AT_MOST = {
    "names": Identification(model="x" * 200),
    "versions": Identification(model="m", version=2**53 - 1),
}
TOO_MUCH = {
    "no model": {"of": Identification(model="")},
    "long model": {"of": Identification(model="x" * 201)},
    "version 0": {"of": Identification(model="m", version=0)},
    "large version": {"of": Identification(model="m", version=2**53)},
    "recipients": {"to": [PUBLIC] * 4097},
    "metadata": {"metadata": {"a": 1}},
    "much metadata": {"metadata": dict.fromkeys(map(str, range(10_001)), "")},
    "moment": {"policy": Policy(not_before=-1)},
    "part of a second": {"policy": Policy(not_after=1.5)},
    "versions": {"policy": Policy(versions=(3, 2))},
    "order": {"policy": Policy(recipients=(b"b" * 32, b"a" * 32))},
    "ids": {"policy": Policy(recipients=(b"x",))},
}


def sealed_with(path, to=(PUBLIC,), of=Identification(model="m"), signers=(), **closing):  # noqa: B008
    with path.open("wb") as file, Writer(file, to, of, signers=signers, chunk=16) as writer:
        writer.file("f", [b"x"])
        writer.finish(**closing)


@pytest.mark.parametrize("of", AT_MOST.values(), ids=AT_MOST)
def test_the_most_that_a_header_says_is_read(tmp_path, of):
    sealed_with(tmp_path / "x", of=of, metadata=dict.fromkeys(map(str, range(10_000)), ""))
    assert opened(tmp_path / "x") == [("f", [b"x"])]


@pytest.mark.parametrize("given", TOO_MUCH.values(), ids=TOO_MUCH)
def test_more_is_refused_before_it_is_written(tmp_path, given):
    with pytest.raises(UsageError):
        sealed_with(tmp_path / "x", **given)


def test_signers_are_counted_once_and_sixteen_are_enough(tmp_path):
    signers = [Signer.generate()[0] for _ in range(17)]
    sealed_with(tmp_path / "x", signers=[*signers[:16], signers[0]])
    assert len(opening.verify(tmp_path / "x").signers) == 16
    with pytest.raises(UsageError, match="signers"):
        sealed_with(tmp_path / "x", signers=signers)


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "../a", "a/..", ".", "a:b", "a\\b", "a\0b", "x" * 4097]
)
@pytest.mark.parametrize("kind", ["file", "records", "tensors"])
def test_paths_that_lead_elsewhere_are_refused(tmp_path, path, kind):
    with (
        (tmp_path / "x").open("wb") as file,
        Writer(file, [PUBLIC], Identification(model="m")) as writer,
    ):
        call = {"file": [[]], "records": [[]], "tensors": [b"{}", []]}[kind]
        with pytest.raises(UsageError, match="no name that a sealed file can hold"):
            getattr(writer, kind)(path, *call)
        getattr(writer, kind)("twice", *call)
        with pytest.raises(UsageError, match="there already"):
            writer.file("twice", [])
