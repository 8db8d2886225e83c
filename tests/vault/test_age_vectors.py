"""The published age test vectors (C2SP/CCTV): each opens, or is refused for the right reason."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest

from torchkeep.core.errors import Foreign, Refused
from torchkeep.core.source import BytesSource
from torchkeep.vault import age
from torchkeep.vault.age import header
from torchkeep.vault.errors import Damaged, NoIdentity
from torchkeep.vault.recipients import SecretKey

VECTORS = sorted(Path(__file__).with_name("age").joinpath("vectors").iterdir())

# By what `expect` says: class of the error, and words of it.
REFUSALS = {
    "no match": (NoIdentity, ("",)),
    "HMAC failure": (Damaged, ("its header is not what was written",)),
    "header failure": ((Refused, Foreign), ("its header", "no age file", "takes more memory")),
    "payload failure": (Damaged, ("its payload",)),
    "armor failure": ((Damaged, Foreign), ("its armor", "no age file")),
}


def parse(path: Path) -> tuple[dict[str, list[str]], bytes]:
    """What a vector says of itself, and its age file."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    said: dict[str, list[str]] = {}
    for line in head.decode().splitlines():
        key, _, value = line.partition(": ")
        said.setdefault(key, []).append(value)
    return said, zlib.decompress(body) if "compressed" in said else body


def identities(said: dict[str, list[str]]) -> list[age.Identity]:
    keys = [SecretKey(text) for text in said.get("identity", [])]
    return [*keys, *(age.Passphrase(text.encode()) for text in said.get("passphrase", []))]


def test_all_of_them_are_there():
    assert len(VECTORS) == 143
    assert {parse(path)[0]["expect"][0] for path in VECTORS} == {"success", *REFUSALS}


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.name)
def test_a_vector(tmp_path, path):
    said, data = parse(path)
    sealed, target = tmp_path / "file.age", tmp_path / "file"
    sealed.write_bytes(data)
    expected = said["expect"][0]
    if expected == "success":
        age.decrypt(sealed, target, identities(said))
        assert hashlib.sha256(target.read_bytes()).hexdigest() == said["payload"][0]
        return
    kind, words = REFUSALS[expected]
    with pytest.raises(kind) as caught:
        age.decrypt(sealed, target, identities(said))
    assert any(word in str(caught.value) for word in words)
    # What is wrong with a header is seen before its code, which would be wrong too.
    assert ("is not what was written" in str(caught.value)) == (expected == "HMAC failure")
    assert [path.name for path in tmp_path.iterdir()] == ["file.age"]


@pytest.mark.parametrize(
    "path",
    [path for path in VECTORS if parse(path)[0]["expect"] == ["success"]],
    ids=lambda path: path.name,
)
def test_a_header_is_written_as_it_was_read(path):
    said, data = parse(path)
    file = age._file(BytesSource(data))
    read = header.read(file)
    written = header.encode(read.stanzas, bytes.fromhex(said["file key"][0]))
    assert written == read.covered + b" " + header.encode64(read.code) + b"\n"
