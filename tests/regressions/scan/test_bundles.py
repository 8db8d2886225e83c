"""Checkpoints bundled by tar: a zip archive near the end made the bundle malformed."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from doubles.scanning import verdict
from doubles.zips import PAYLOAD, archive, torch_like

from torchkeep.scan.verdict import Verdict

GOOD = archive(*torch_like(b"\x80\x02}."))
COVER = bytes(1000)
BAD = archive(*torch_like(PAYLOAD))


def bundle(*files: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as made:
        for number, content in enumerate(files):
            entry = tarfile.TarInfo(f"model{number}.pth")
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "tar.gz"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_bundle_of_clean_checkpoints_is_clean(pack, count):
    assert verdict(pack(bundle(*[GOOD] * count)), "model.tar.gz") is Verdict.CLEAN


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "tar.gz"])
@pytest.mark.parametrize("files", [(BAD,), (BAD, GOOD), (GOOD, BAD)])
def test_what_runs_code_in_a_bundle_is_found(pack, files):
    assert verdict(pack(bundle(*files)), "model.tar.gz") is Verdict.DANGEROUS


@pytest.mark.parametrize("behind", [GOOD, BAD], ids=["clean", "payload"])
def test_a_zip_behind_the_end_of_a_tar_is_never_clean(behind):
    assert verdict(bundle(GOOD) + behind, "model.tar") is not Verdict.CLEAN


def test_a_directory_that_only_some_readers_find_is_followed():
    """torch takes the place in the end record as it stands: here, that is in another member."""
    packed = archive(*torch_like(PAYLOAD, method=8))
    start = packed.rindex(b"PK\x05\x06")
    place = tarfile.BLOCKSIZE + len(COVER)  # of the archive within the bundle
    hidden = bytearray(packed[:start])
    entry = first = hidden.index(b"PK\x01\x02")
    while entry >= 0:
        offset = int.from_bytes(hidden[entry + 42 : entry + 46], "little")
        hidden[entry + 42 : entry + 46] = (offset + place).to_bytes(4, "little")
        entry = hidden.find(b"PK\x01\x02", entry + 4)
    end = bytearray(packed[start:])
    end[16:20] = (first + place).to_bytes(4, "little")
    assert verdict(bundle(COVER + hidden, COVER), "model.tar") is Verdict.NOT_SCANNED
    assert verdict(bundle(COVER + hidden, COVER + end), "model.tar") is Verdict.DANGEROUS
