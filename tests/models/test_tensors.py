from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from torchkeep.core import digest, source
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.source import BytesSource
from torchkeep.models import content_of
from torchkeep.models.tensors import DTYPES, from_safetensors, name_of

# Bits of one number, for every dtype that safetensors 0.8 knows and torch has.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 8),
    **dict.fromkeys(("F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "F4": 4,
}


def written(dtype: str, shape: list[int], data: bytes, header: str | None = None) -> bytes:
    text = header or json.dumps(
        {"t": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}
    )
    text += " " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text.encode() + data


@pytest.mark.parametrize("shape", [[2, 4], [3, 0], [2]])
@pytest.mark.parametrize("dtype", BITS)
def test_one_digest_for_the_file_and_for_the_tensors_in_it(tmp_path: Path, dtype, shape):
    count = BITS[dtype] * int(np.prod(shape)) // 8
    data = bytes(1 if dtype == "BOOL" else 37 * i % 251 for i in range(count))
    path = tmp_path / "t.safetensors"
    path.write_bytes(written(dtype, shape, data))
    with source.open(path) as opened:
        expected = digest.safetensors_content(opened)
    assert content_of(load_file(path)) == expected
    tensors, content = from_safetensors(path.read_bytes(), "t")
    assert content == content_of(tensors) == expected
    assert tensors["t"].dtype is DTYPES[dtype]
    assert torch.equal(*(each["t"].view(torch.uint8) for each in (tensors, load_file(path))))


def test_every_plain_dtype_of_torch_has_a_name():
    assert {*DTYPES} - {*BITS} == {"C32", "C128"}
    for dtype in (torch.complex128, torch.float8_e8m0fnu):
        assert len(content_of({"t": torch.zeros(2, 2, dtype=dtype)})) == 64
    assert name_of(torch.bfloat16) == "BF16"
    assert name_of(torch.quint8) == "quint8"


def test_digest_names_the_numbers_and_not_how_they_lie():
    base = torch.arange(24.0).reshape(4, 6)
    same = {"a": base.t(), "b": base[1:3], "c": base[0, 0], "d": base[:0], "e": base[::2, ::3]}
    plain = {name: tensor.contiguous().clone() for name, tensor in same.items()}
    assert content_of(same) == content_of(plain)
    assert content_of(dict(reversed(same.items()))) == content_of(same)
    assert content_of({"a": torch.nn.Parameter(base)}) == content_of({"a": base})
    lasting = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert content_of({"a": lasting}) == content_of({"a": lasting.contiguous()})
    number = torch.randn(3, dtype=torch.complex64)
    assert content_of({"a": number.conj()}) == content_of({"a": number.conj().resolve_conj()})
    assert content_of({"a": number.conj().imag}) == content_of({"a": -number.imag})
    assert content_of({"a": torch._neg_view(base)}) == content_of({"a": -base})


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(6)},
        {"b": torch.zeros(2, 3)},
        {"a": -torch.zeros(2, 3)},
        {"a": torch.zeros(2, 3, dtype=torch.int32)},
        {"a": torch.zeros(2, 3, dtype=torch.bfloat16)},
        {"a": torch.zeros(2, 3), "b": torch.zeros(0)},
    ],
)
def test_digest_tells_apart(other):
    assert content_of(other) != content_of({"a": torch.zeros(2, 3)})


def test_nan_payloads_count():
    bits = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    assert content_of({"a": bits}) != content_of({"a": bits.flip(0)})


def test_written_and_known_digest(tmp_path: Path):
    state = {"w": torch.arange(6, dtype=torch.float16).reshape(2, 3), "n": torch.tensor(7)}
    save_file(state, tmp_path / "w.safetensors")
    with source.open(tmp_path / "w.safetensors") as opened:
        assert content_of(state) == digest.safetensors_content(opened)
    example = content_of({"weight": torch.zeros(2, 3)})
    assert f"{example[:16]!r}" in (content_of.__doc__ or "")


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2).to_sparse(),
        torch.zeros(2, dtype=torch.uint8).view(torch.uint4),
        torch.empty(2, device="meta"),
        "text",
        None,
    ],
    ids=["sparse", "packed", "meta", "text", "none"],
)
def test_what_has_no_bytes_has_no_digest(value):
    with pytest.raises(UsageError, match="extra is no plain tensor"):
        content_of({"extra": value})


def test_big_endian_machine(monkeypatch):
    """Bytes of this machine, turned: what a machine of the other order has in memory."""
    for tensor, turned in [
        (torch.tensor([1, 2], dtype=torch.int32), torch.tensor([1 << 24, 2 << 24]).int()),
        (torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([1, 2], dtype=torch.uint8)),
        (torch.tensor([True, False]), torch.tensor([True, False])),
    ]:
        expected = content_of({"t": tensor})
        with monkeypatch.context() as patch:
            patch.setattr(sys, "byteorder", "big")
            assert content_of({"t": turned}) == expected
    number = torch.tensor([1 + 2j], dtype=torch.complex64)
    turned = torch.from_numpy(number.numpy().byteswap().copy())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "byteorder", "big")
        assert content_of({"t": turned}) == digest_of_little(number)
        loaded, _ = from_safetensors(written("F32", [2], np.float32([1, 2]).tobytes()), "t")
    assert loaded["t"].numpy().tobytes() == np.array([1, 2], ">f4").tobytes()


def digest_of_little(tensor: torch.Tensor) -> str:
    data = written("C64", list(tensor.shape), tensor.numpy().tobytes())
    return digest.safetensors_content(BytesSource(data))


@pytest.mark.parametrize("dtype", ["F6_E2M3", "F6_E3M2"])
def test_a_dtype_that_torch_lacks(dtype):
    with pytest.raises(Foreign, match=f"t in f has the dtype {dtype}, which torch"):
        from_safetensors(written(dtype, [2, 4], bytes(6)), "f")


TWICE = '{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},' * 2
BAD = {
    "empty": b"",
    "short": written("F32", [2], bytes(8))[:-1],
    "long": written("F32", [2], bytes(8)) + b"x",
    "length": (1 << 60).to_bytes(8, "little") + b"{",
    "no json": written("F32", [2], bytes(8), '{"t":'),
    "twice": written("U8", [2], bytes(2), TWICE.rstrip(",") + "}"),
    "overlap": written("F32", [3], bytes(8)),
    "unknown": written("F99", [2], bytes(8)),
    "deep": written("F32", [2], bytes(8), '{"t":' + "[" * 100_000),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_malformed_safetensors(data):
    with pytest.raises(Foreign, match="f is not a well-formed safetensors file"):
        from_safetensors(data, "f")
