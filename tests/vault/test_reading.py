"""Tensors one by one, in part or into a module; and no more is read than that takes."""

from __future__ import annotations

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch
from doubles.http import FileServer
from makers.sealed import KEY, PUBLIC, SMALL, flip, stranger, tensors, write
from torch import nn

from torchkeep import vault
from torchkeep.core import safetensors as layout
from torchkeep.core.errors import Foreign, TorchkeepError, UsageError
from torchkeep.vault import opening, reading
from torchkeep.vault.reading import Level, Wanted
from torchkeep.vault.writing import Identification, Writer

LEVELS = (Level.TAGS, Level.FULL)
DTYPES = [
    getattr(torch, spelled)
    for name, spelled in layout.TORCH.items()
    if hasattr(torch, spelled) and name != "F4"
]
RANDOM = random.Random(5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.tks"


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def alike(one, two):
    """Equal to the bit, whatever their type."""
    return (
        one.dtype == two.dtype
        and one.shape == two.shape
        and torch.equal(*(t.contiguous().reshape(-1).view(torch.uint8) for t in (one, two)))
    )


# Tensors.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(path, dtype):
    raw = torch.tensor(list(RANDOM.randbytes(24 * dtype.itemsize)), dtype=torch.uint8)
    if dtype is torch.bool:
        raw %= 2
    state = tensors(path, {"w": raw.view(dtype).reshape(4, 6), "none": torch.empty(0, 3).to(dtype)})
    for level in LEVELS:
        with opening.open(path, KEY, level=level) as sealed:
            found = sealed.state_dict()
            assert found.keys() == state.keys()
            assert all(alike(found[name], state[name]) for name in state)
            assert alike(sealed.get_tensor("w"), state["w"])
            assert alike(sealed.get_slice("w")[1:3], state["w"][1:3])


def test_a_dtype_that_torch_lacks(path):
    header = b'{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}'
    with path.open("wb") as file, writer_of(file) as writer:
        writer.tensors("m.safetensors", header, [[b"abc"]])
        writer.finish()
    with opening.open(path, KEY) as sealed:
        assert sealed.names() == ["a"]
        for call in (sealed.get_tensor, lambda name: sealed.get_slice(name)[0]):
            with pytest.raises(Foreign, match="F6_E2M3"):
                call("a")
        with pytest.raises(Foreign):
            sealed.state_dict()
        sealed.unseal(path.with_name("m"))
    assert path.with_name("m").read_bytes()[8:] == header + b"abc"


def writer_of(file):
    return Writer(file, [PUBLIC], Identification(model="m"), chunk=16)


ROWS = [
    0, -1, 99, slice(None), slice(0, 0), slice(5, 2), slice(10, 20), slice(-3, None),
    slice(None, None, 7), slice(3, 90, 2), slice(0, 1000), (slice(2, 9), 3), (4, slice(1, 3)),
    (slice(None), slice(None), 0), (7, 2, 1), slice(33, 34),
]  # fmt: skip


@pytest.mark.parametrize("key", ROWS, ids=str)
@pytest.mark.parametrize("width", [1, 500])
def test_rows_are_those_that_torch_gives(path, key, width):
    """With 500 columns a row ends in the middle of a chunk, and most chunks hold several."""
    state = tensors(path, {"a": torch.ones(3), "w": numbers(100, 4, width)})
    for level in LEVELS:
        with opening.open(path, KEY, level=level) as sealed:
            part = sealed.get_slice("w")
            assert (part.shape, part.dtype) == ((100, 4, width), torch.float32)
            fitting = key if width > 1 or not isinstance(key, tuple) else key[:2]
            assert alike(part[fitting], state["w"][fitting])


@pytest.mark.parametrize("key", [100, -101])
def test_rows_that_are_not_there(path, key):
    tensors(path, {"w": numbers(100, 4)})
    with opening.open(path, KEY) as sealed, pytest.raises(IndexError):
        sealed.get_slice("w")[key]


def test_what_is_no_row(path):
    tensors(path, {"w": numbers(4, 4), "scalar": torch.tensor(1.0), "none": torch.empty(3, 0)})
    with opening.open(path, KEY) as sealed:
        for name, key in (("w", "x"), ("w", None), ("w", [1]), ("scalar", 0)):
            with pytest.raises(UsageError):
                sealed.get_slice(name)[key]
        with pytest.raises(UsageError, match="backwards"):
            sealed.get_slice("w")[::-1]
        assert sealed.get_slice("none")[1:].shape == (2, 0)
        for call in (sealed.get_tensor, sealed.get_slice):
            with pytest.raises(UsageError, match="holds no tensor"):
                call("v\x1b[2J")


def test_two_parts_with_one_name(path):
    data = safetensors.torch.save({"w": torch.ones(2)})
    with path.open("wb") as file, writer_of(file) as writer:
        for name in ("a", "b"):
            header = data[8 : 8 + int.from_bytes(data[:8], "little")]
            writer.tensors(name, header, [[data[8 + len(header) :]]])
        writer.finish()
    with opening.open(path, KEY) as sealed:
        for call in (lambda: sealed.get_tensor("w"), sealed.state_dict):
            with pytest.raises(UsageError, match="several tensors w"):
                call()
        sealed.unseal(path.with_name("out"))
    assert (path.with_name("out") / "b").read_bytes() == data


# Into a module.


class Model(nn.Module):
    def __init__(self, width=300):
        super().__init__()
        self.one = nn.Linear(width, 400)
        self.two = nn.Linear(400, 2)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


def sealed_model(path, **changes):
    torch.manual_seed(1)
    state = {name: tensor.clone() for name, tensor in Model().state_dict().items()}
    return tensors(path, state | changes)


@pytest.mark.parametrize("level", LEVELS)
def test_a_module_is_filled_where_it_lies(path, level):
    state, module = sealed_model(path), Model()
    places = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
    with opening.open(path, KEY, level=level) as sealed:
        sealed.load_into(module)
    found = module.state_dict()
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert {name: tensor.data_ptr() for name, tensor in found.items()} == places
    assert all(one.requires_grad for one in module.parameters())


def test_no_second_copy_is_made(path, monkeypatch):
    sealed_model(path)
    module = Model()
    monkeypatch.setattr(torch, "empty", None)
    with opening.open(path, KEY) as sealed:
        sealed.load_into(module)


def test_what_does_not_fit_is_copied(path):
    state = sealed_model(path)
    for module in (Model().double(), Model().half()):
        with opening.open(path, KEY) as sealed:
            sealed.load_into(module)
        assert torch.equal(module.one.weight, state["one.weight"].to(module.one.weight.dtype))
    turned = Model()
    turned.one.weight = nn.Parameter(torch.zeros(300, 400).t())
    with opening.open(path, KEY) as sealed:
        sealed.load_into(turned)
    assert torch.equal(turned.one.weight, state["one.weight"])
    assert not turned.one.weight.is_contiguous()


@pytest.mark.parametrize(
    "changes",
    [{"one.weight": torch.ones(400, 299)}, {"two.bias": torch.ones(2, 1)}, {"more": torch.ones(1)}],
)
def test_what_differs_is_refused_before_anything_is_touched(path, changes):
    sealed_model(path, **changes)
    module = Model()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with opening.open(path, KEY) as sealed, pytest.raises(UsageError):
        sealed.load_into(module)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_names_may_differ_where_that_is_wanted(path):
    state = sealed_model(path, more=torch.ones(1))
    module = Model()
    module.extra = nn.Linear(1, 1)
    with opening.open(path, KEY) as sealed:
        with pytest.raises(UsageError, match=r"lacks extra\.bias, and 1 more"):
            sealed.load_into(module)
        sealed.load_into(module, strict=False)
    assert torch.equal(module.one.weight, state["one.weight"])


# Damage.


def test_nothing_of_a_damaged_chunk_is_left_in_memory(path):
    data = RANDOM.randbytes(5 * SMALL)
    write(path, ("f", data))
    with opening.framed(path) as frame:
        at = frame.places.data + SMALL + 16 + 9
    flip(path, at)
    for level in LEVELS:
        with opening.open(path, KEY, level=level) as sealed:
            into = bytearray(b"\xff" * len(data))
            with pytest.raises(vault.Damaged):
                sealed.read([Wanted(sealed.layouts[0], 0, memoryview(into))])
            piece = into[SMALL : 2 * SMALL]
            assert piece in (bytes(SMALL), b"\xff" * SMALL)
            assert (piece == bytes(SMALL)) == (level is Level.TAGS)  # no digest stopped it before


def test_what_is_whole_can_still_be_read(path):
    state = tensors(path, {"bad": numbers(300, 300), "good": numbers(300, 300, seed=1)})
    with opening.open(path, KEY) as sealed:
        layout, number = sealed.layouts[0], sealed.names().index("bad")
        at = sealed.frame.places.data + layout.item(number).offset
    flip(path, at)
    with opening.open(path, KEY) as sealed:
        assert alike(sealed.get_tensor("good"), state["good"])
        for call in (lambda: sealed.get_tensor("bad"), sealed.state_dict, sealed.check_all):
            with pytest.raises(vault.Damaged):
                call()


@pytest.mark.parametrize("level", LEVELS)
def test_a_file_that_changes_while_it_is_open(path, level):
    write(path, ("f", RANDOM.randbytes(9 * SMALL)))
    with opening.open(path, KEY, level=level) as sealed:
        path.write_bytes(path.read_bytes()[: 3 * SMALL])
        with pytest.raises(TorchkeepError):
            sealed.check_all()


# How much is read.


def test_one_tensor_costs_little_in_a_file_a_thousand_times_larger(path):
    one = numbers(SMALL // 4, seed=3)
    state = {f"w{n:04}": one.clone() for n in range(1000)}
    tensors(path, state, chunk=20)
    for level in LEVELS:
        with opening.open(path, KEY, level=level) as sealed:
            index = sealed.frame.manifest.index
            sealed.get_tensor("w0500")
            read = sealed.frame.source.bytes_read
        assert read <= one.nbytes + (2 << 20) + index


def test_each_access_reads_its_own_chunks(path):
    tensors(path, {"w": numbers(3000, 512)}, chunk=16)
    for level in LEVELS:
        with opening.open(path, KEY, level=level) as sealed:
            sealed.get_slice("w")[0:1]
            before = sealed.frame.source.bytes_read
            sealed.get_slice("w")[1000:1010]
            read = sealed.frame.source.bytes_read - before
            pages = 2 * 36 * 1024 if level is Level.FULL else 0
            assert read <= 2 * (SMALL + 16) + pages


def test_an_object_takes_three_requests_more(path):
    tensors(path, {f"w{n}": numbers(300, 300, seed=n) for n in range(40)}, chunk=20)
    with FileServer(path.read_bytes()) as server:
        with opening.open(server.url, KEY) as sealed:
            opened = sealed.frame.source.requests
            found = sealed.get_tensor("w20")
            assert sealed.frame.source.requests - opened <= 3
        assert opened <= 5
    assert alike(found, numbers(300, 300, seed=20))


# The file that is open.


def test_a_file_that_is_open_says_what_it_is_and_goes_nowhere(path):
    write(path, ("f", b"x"))
    with opening.open(path, KEY) as sealed:
        assert repr(sealed) == f"<Sealed {path}, full of 1 parts>"
        with pytest.raises(TypeError, match="holds keys"):
            pickle.dumps(sealed)
        with pytest.raises(KeyError):
            sealed.layout("g")
    with pytest.raises(ValueError, match="closed"):
        sealed.bytes_of(sealed.layouts[0], 0)


def test_an_identity_of_somebody_else_opens_nothing(path):
    write(path, ("f", b"x"))
    for identity in (stranger()[0], stranger(post_quantum=True)[0], []):
        with pytest.raises(vault.NoIdentity):
            opening.open(path, identity)
    with pytest.raises(ValueError, match="verify"):
        opening.open(path, KEY, level=Level.PUBLIC)


def test_several_threads_read_at_once(path):
    state = tensors(path, {f"w{n}": numbers(90, 90, seed=n) for n in range(30)})
    with opening.open(path, KEY) as sealed, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(sealed.get_tensor, sorted(state) * 3))
    names = sorted(state) * 3
    assert all(alike(one, state[name]) for one, name in zip(found, names, strict=True))


def test_large_parts_come_in_windows(path, monkeypatch):
    monkeypatch.setattr(reading, "_WINDOW", 2 * SMALL)
    sizes = [0, 1, 5 * SMALL + 3, SMALL, 2 * SMALL, 0, 3]
    data = [RANDOM.randbytes(size) for size in sizes]
    write(path, ("r", data), ("f", data[2]))
    with opening.open(path, KEY) as sealed:
        found: dict[tuple[str, int], bytes] = {}
        for layout, number, piece in sealed.windows(sealed.layouts):
            assert len(piece) <= 2 * SMALL
            key = layout.part.path, number
            found[key] = found.get(key, b"") + bytes(piece)
    assert found == {("r", n): one for n, one in enumerate(data)} | {("f", 0): data[2]}
