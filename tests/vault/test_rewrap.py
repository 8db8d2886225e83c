"""Sealed for others: kilobytes, whatever the size, and never torn."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from doubles import crash
from doubles.sealed import both
from makers.sealed import KEY, PUBLIC, SECRET, contents, flip, stranger, write

from torchkeep import vault
from torchkeep.core import files
from torchkeep.core.errors import Foreign, SourceError, UsageError
from torchkeep.vault import blocks, opening, rewrapping
from torchkeep.vault.manifest import Policy
from torchkeep.vault.recipients import Passphrase
from torchkeep.vault.writing import Identification, Writer

DATA = bytes(range(256)) * 40
BOB, TO_BOB = stranger()
CAROL, TO_CAROL = stranger()


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "x.tks", ("f", DATA))
    return tmp_path / "x.tks"


def opens(path, key) -> bool:
    try:
        with opening.open(path, key) as sealed:
            assert contents(sealed) == [("f", [DATA])]
    except vault.NoIdentity:
        return False
    return True


def test_others_open_it_and_only_they(path):
    before = path.read_bytes()
    written = rewrapping.rewrap(path, KEY, [TO_BOB, TO_CAROL])
    assert path.read_bytes()[: len(before)] == before
    assert path.stat().st_size == len(before) + written
    assert [opens(path, key) for key in (KEY, BOB, CAROL)] == [False, True, True]
    assert both(path, path.read_bytes(), [("x25519", SECRET)], "public") is not None
    rewrapping.rewrap(path, [KEY, CAROL], [PUBLIC])
    assert [opens(path, key) for key in (KEY, BOB, CAROL)] == [True, False, False]
    assert both(path, path.read_bytes(), [("x25519", SECRET)], "full") is not None
    assert {one.name for one in path.parent.iterdir()} == {"x.tks"}


@pytest.mark.parametrize("size", [0, 9 << 20])
@pytest.mark.parametrize(("strong", "each"), [(False, 160), (True, 1331)])
def test_it_costs_kilobytes_whatever_the_size(tmp_path, size, strong, each):
    path = tmp_path / "x"
    write(path, ("f", bytes(size)), chunk=20)
    to = [stranger(post_quantum=strong)[1] for _ in range(100)]
    with crash.recording(tmp_path) as disk:
        written = rewrapping.rewrap(path, KEY, to)
    assert written <= 100 * each + 8192
    put = sum(len(entry.data) for entry in disk.log if isinstance(entry, crash.Write))
    assert put <= 100 * each + 8192  # of the note as well
    with opening.framed(path) as frame:
        assert len(frame.block.stanzas) == 100


def test_hundreds_of_generations(path):
    keys = [(BOB, TO_BOB), (CAROL, TO_CAROL)]
    rewrapping.rewrap(path, KEY, [TO_CAROL])
    for number in range(60):
        rewrapping.rewrap(path, keys[(number + 1) % 2][0], [keys[number % 2][1]])
    with opening.framed(path) as frame:
        assert frame.block.generation == 62
    assert opens(path, CAROL)
    assert opening.verify(path, identity=CAROL).is_verified


def test_a_file_that_is_full_says_so(path, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_BYTES", 500)
    rewrapping.rewrap(path, KEY, [PUBLIC])
    before = path.read_bytes()
    with pytest.raises(UsageError, match="too often"):
        rewrapping.rewrap(path, KEY, [PUBLIC])
    assert path.read_bytes() == before


def test_a_strange_key_and_wrong_recipients_change_nothing(path):
    before = path.read_bytes()
    for identity, to, error in (
        (BOB, [TO_BOB], vault.NoIdentity),
        (KEY, [], UsageError),
        (KEY, [TO_BOB, stranger(post_quantum=True)[1]], UsageError),
        (KEY, [TO_BOB, Passphrase(b"words")], UsageError),
    ):
        with pytest.raises(error):
            rewrapping.rewrap(path, identity, to)
    with pytest.raises(SourceError):
        rewrapping.rewrap(path.with_name("missing"), KEY, [TO_BOB])
    assert path.read_bytes() == before


def test_a_policy_says_for_whom(tmp_path):
    path, allowed = tmp_path / "x", tuple(sorted([PUBLIC.id, TO_BOB.id]))
    with path.open("wb") as file, Writer(file, [PUBLIC], Identification(model="m")) as writer:
        writer.file("f", [DATA])
        writer.finish(policy=Policy(recipients=allowed))
    with pytest.raises(vault.Withheld, match="its policy lists who may"):
        rewrapping.rewrap(path, KEY, [TO_BOB, TO_CAROL])
    rewrapping.rewrap(path, KEY, [TO_BOB])
    assert opens(path, BOB)
    # Whoever has the key can write a block; who is not allowed is refused all the same.
    with opening.open(path, BOB) as sealed:
        frame = sealed.frame
        before = path.read_bytes()[frame.block.immutable :]
        stanza = TO_CAROL.wrap(sealed.file_key, frame.header_hash)
        block = blocks.following(frame.block, before, [stanza]).encode(sealed.schedule)
    files.append(path, block, path.stat().st_size)
    with pytest.raises(vault.Withheld, match="does not name this identity"):
        opening.open(path, CAROL)


# Interrupted.


def note(path, length):
    path.with_name(path.name + ".append").write_bytes(
        b"torchkeep-append-v1\n" + length.to_bytes(8, "little")
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_half_of_a_block_is_as_none_while_the_note_is_there(path, share):
    old = path.read_bytes()
    rewrapping.rewrap(path, KEY, [TO_BOB])
    new = path.read_bytes()
    path.write_bytes(new[: len(old) + int(share * (len(new) - len(old)))])
    if share:
        with pytest.raises(vault.Damaged):
            opening.open(path, KEY)
    note(path, len(old))
    assert opens(path, KEY)
    assert opening.verify(path, identity=KEY).is_verified
    rewrapping.rewrap(path, KEY, [TO_CAROL])
    assert opens(path, CAROL)
    assert files.pending(path) is None


def test_a_block_that_was_written_counts_though_its_note_is_there(path):
    """The kill came between the last write and the removal of the note."""
    length = path.stat().st_size
    rewrapping.rewrap(path, KEY, [TO_BOB])
    note(path, length)
    assert opens(path, BOB)
    rewrapping.rewrap(path, BOB, [TO_CAROL])
    assert [opens(path, key) for key in (KEY, BOB, CAROL)] == [False, False, True]


def test_a_note_that_outlived_its_file_does_no_harm(path):
    note(path, 100)
    assert opens(path, KEY)
    rewrapping.rewrap(path, KEY, [TO_BOB])
    assert opens(path, BOB)


@pytest.mark.parametrize("length", [0, 11, 1 << 62])
def test_a_note_cannot_make_a_damaged_file_good(path, length):
    flip(path, path.stat().st_size - 3)
    note(path, length)
    with pytest.raises((vault.Damaged, Foreign)):
        opening.open(path, KEY)


def test_a_crash_leaves_the_old_or_the_new_recipients(path, tmp_path_factory):
    old = path.read_bytes()
    with crash.recording(path.parent, chunk=50) as disk:
        rewrapping.rewrap(path, KEY, [TO_BOB])
        disk.promise("done")
    seen = set()
    for state in disk.states(most=12):
        place = tmp_path_factory.mktemp("after")
        state.lay_out(place)
        after = place / path.name
        keys = opens(after, KEY), opens(after, BOB)
        assert keys in ({(False, True)} if state.promises else {(True, False), (False, True)})
        seen.add(keys)
        rewrapping.rewrap(after, [KEY, BOB], [TO_CAROL])  # and it can go on from there
        assert opens(after, CAROL)
    assert seen == {(True, False), (False, True)}
    assert path.read_bytes()[: len(old)] == old


# At the same time.


def test_many_at_once_lose_nothing(path):
    to = [PUBLIC]
    threads = [threading.Thread(target=rewrapping.rewrap, args=(path, KEY, to)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opening.framed(path) as frame:
        assert frame.block.generation == 9
    assert opening.verify(path, identity=KEY).is_verified


def test_processes_too(path):
    code = (
        "import sys\nfrom makers.sealed import KEY, PUBLIC\n"
        "from torchkeep.vault import rewrapping\n"
        "for _ in range(10):\n    rewrapping.rewrap(sys.argv[1], KEY, [PUBLIC])\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    children = [
        subprocess.Popen([sys.executable, "-c", code, path], env=environment) for _ in range(2)
    ]
    while any(child.poll() is None for child in children):
        try:
            assert opens(path, KEY)
        except SourceError as error:
            assert "changed while it was read" in error.message  # noqa: PT017 - or nothing
    assert [child.wait() for child in children] == [0, 0]
    with opening.framed(path) as frame:
        assert frame.block.generation == 21
