"""Damaged files of every format have a verdict: nothing crashes, nothing hangs."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pickle
import random
import zlib
from pathlib import Path

import pytest
from doubles.scanning import look
from doubles.streams import mutated
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.scan.verdict import Verdict

COUNT = 100_000 if os.environ.get("TORCHKEEP_SOAK") else 1_500
GOOD = pickle.dumps({"a": [1.5, "x", (1, 2)]})


def tar():
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("d" * 120)
        info.size = len(GOOD)
        archive.addfile(info, io.BytesIO(GOOD))
    return out.getvalue()[:4096]


TENSOR = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
HEADER = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}\n"
FILES = {
    "tar": tar(),
    "gzip": gzip.compress(GOOD),
    "bzip2": bz2.compress(GOOD),
    "xz": lzma.compress(GOOD),
    "lzma": lzma.compress(GOOD, lzma.FORMAT_ALONE),
    "zlib": zlib.compress(GOOD),
    "npy": b"\x93NUMPY\x01\x00" + bytes([len(HEADER), 0]) + HEADER + bytes(8),
    "safetensors": len(TENSOR).to_bytes(8, "little") + TENSOR + bytes(8),
    "gguf": b"GGUF\x03\0\0\0" + bytes(8) + b"\x01" + bytes(7) + b"\x01" + bytes(7) + b"a\x08\0\0\0"
    + b"\x02" + bytes(7) + b"{{",
    "onnx": b"\x08\x08\x3a\x0b\x0a\x05\x0a\x01x\x22\x00\x12\x02gg\x42\x04\x0a\x00\x10\x11",
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(40) + b'model_config{"class_name": "A", "config": {}}',
    "json": json.dumps({"chat_template": "{{ x['a'] }}", "auto_map": None}).encode(),
    "joblib": (Path(__file__).with_name("fixtures") / "arrays.joblib").read_bytes(),
}  # fmt: skip


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_have_a_verdict(kind):
    rng = random.Random(kind)
    seen = set()
    for _ in range(COUNT):
        seen.add(look(mutated(rng, FILES[kind]), f"model.{kind}").verdict)
    assert len(seen) > 1


@given(st.sampled_from(sorted(FILES)), st.integers(0, 5000), st.binary(max_size=40))
def test_cut_and_continued(kind, length, rest):
    assert isinstance(look(FILES[kind][:length] + rest, "model.bin").verdict, Verdict)
