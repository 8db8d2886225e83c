"""``save`` and ``load``: training states come back as they were, and no pickle is anywhere."""

from __future__ import annotations

import json
import math
import pickle
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from makers.sealed import KEY, PUBLIC, stranger, tensors, write
from torch import nn

from torchkeep import vault
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.vault import opening, states
from torchkeep.vault.writing import Identification, Writer

DTYPES = [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.uint8]


def alike(one, two) -> bool:
    """Equal, of equal types, and to the bit."""
    if type(one) is not type(two):
        return False
    if isinstance(one, torch.Tensor):
        described = [(t.dtype, t.shape, t.requires_grad) for t in (one, two)]
        raw = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (one, two)]
        return described[0] == described[1] and torch.equal(*raw)
    if isinstance(one, dict):
        pairs = zip(one.items(), two.items(), strict=False)
        return len(one) == len(two) and all(alike(a, c) and alike(b, d) for (a, b), (c, d) in pairs)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(alike, one, two))
    return one == two or (isinstance(one, float) and math.isnan(one) and math.isnan(two))


def tensor_of(dtype, shape, seed):
    raw = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed))
    return raw.to(dtype)


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec="utf-8")),
    st.binary(max_size=9), st.binary(max_size=9).map(bytearray),
    st.sampled_from([torch.float16, torch.device("cpu"), torch.device("cuda:1"), torch.Size([2])]),
)  # fmt: skip
tensor = st.builds(
    tensor_of, st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3), st.integers(0, 9)
)
keys = st.one_of(st.integers(), st.text(max_size=4), st.booleans(), st.tuples(st.integers()))
nested = st.recursive(
    st.one_of(plain, tensor),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
        st.sets(st.integers(), max_size=3),
    ),
    max_leaves=8,
)


@given(nested)
def test_a_state_comes_back(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("s") / "x.tks"
    states.save(state, path, [PUBLIC])
    assert alike(states.load(path, KEY), state)


def test_training_goes_on_where_it_stopped(tmp_path):
    def build():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def step(model, optimizer, scheduler):
        optimizer.zero_grad()
        model(torch.linspace(-1, 1, 24).reshape(6, 4)).square().sum().backward()
        optimizer.step()
        scheduler.step()

    first, second = build(), build()
    for _ in range(3):
        step(*first)
    states.save([part.state_dict() for part in first], tmp_path / "x", [PUBLIC])
    for part, state in zip(second, states.load(tmp_path / "x", KEY), strict=True):
        part.load_state_dict(state)
    for parts in (first, second):
        step(*parts)
    one, two = (parts[0].state_dict() for parts in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_is_one_stays_one(tmp_path):
    shared = torch.ones(3)
    base = torch.arange(12.0)
    state = {"a": shared, "b": [shared], "view": base[2:5], "turned": base.reshape(3, 4).t()}
    states.save(state, tmp_path / "x", [PUBLIC])
    found = states.load(tmp_path / "x", KEY)
    assert found["a"] is found["b"][0]
    assert torch.equal(found["view"], base[2:5])
    assert torch.equal(found["turned"], state["turned"])
    parameter = nn.Parameter(torch.ones(2))
    states.save(parameter, tmp_path / "x", [PUBLIC])
    assert isinstance(states.load(tmp_path / "x", KEY), nn.Parameter)


def test_a_conjugate_is_written_as_what_it_stands_for(tmp_path):
    value = torch.tensor([1 + 2j, 3 - 1j]).conj()
    states.save(value, tmp_path / "x", [PUBLIC])
    assert torch.equal(states.load(tmp_path / "x", KEY), value.resolve_conj())


def test_a_large_tree_has_more_than_one_chunk(tmp_path):
    state = {"text": "x" * (3 << 20), "more": list(range(1000))}
    states.save(state, tmp_path / "x", [PUBLIC])
    assert states.load(tmp_path / "x", KEY) == state


class Odd:
    pass


class MyDict(dict):
    pass


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Odd(), "Odd"),
        (MyDict(), "MyDict"),
        (lambda: None, "function"),
        (1j, "complex"),
        (frozenset(), "frozenset"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.empty(2, device="meta"), "tensor"),
    ],
)
def test_what_a_state_cannot_hold_is_named_by_its_place(tmp_path, value, what):
    with pytest.raises(UsageError) as caught:
        states.save({"model": [1, {"odd\x1b": value}]}, tmp_path / "x", [PUBLIC])
    assert "state.model.1.odd" in str(caught.value)
    assert what in str(caught.value)
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_what_is_nested_too_deep_is_refused(tmp_path):
    deep: list = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(UsageError, match="200 levels"):
        states.save(deep, tmp_path / "x", [PUBLIC])
    itself: list = []
    itself.append(itself)
    with pytest.raises(UsageError, match="200 levels"):
        states.save(itself, tmp_path / "x", [PUBLIC])


def test_nothing_is_a_pickle(tmp_path, monkeypatch):
    for name in ("dumps", "dump", "loads", "load"):
        monkeypatch.setattr(pickle, name, None)
    states.save({"w": torch.ones(2), "n": 1}, tmp_path / "x", [PUBLIC])
    assert states.load(tmp_path / "x", KEY)["n"] == 1


def test_who_may_not_load_it(tmp_path):
    states.save({"n": 1}, tmp_path / "x", [PUBLIC])
    with pytest.raises(vault.NoIdentity):
        states.load(tmp_path / "x", stranger()[0])
    with pytest.raises(UsageError, match="never overwritten"):
        states.save({"n": 2}, tmp_path / "x", [PUBLIC], overwrite=False)
    states.save({"n": 3}, tmp_path / "x", [PUBLIC])
    assert states.load(tmp_path / "x", KEY) == {"n": 3}


def test_another_sealed_file_is_no_state(tmp_path):
    write(tmp_path / "f", ("f", b"x"))
    tensors(tmp_path / "t", {"w": torch.ones(2)})
    for name in ("f", "t"):
        with pytest.raises(Foreign, match="no training state"):
            states.load(tmp_path / name, KEY)


TREES = [
    ["tensor", 5, False], ["tensor"], ["system", "ls"], ["dtype", "load"], ["dtype", "nn"],
    ["dict", [[1]]], ["dict", [[["list", []], 1]]], ["list"], ["list", 5], [], ["device", "rm -rf"],
    ["bytes", "zz"], ["float", "x"], ["size", ["x"]], {"a": 1}, ["set", [["list", []]]],
]  # fmt: skip


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_a_tree_of_somebody_else_makes_nothing(tmp_path, tree):
    path = tmp_path / "x"
    with path.open("wb") as file, Writer(file, [PUBLIC], Identification(model="m")) as writer:
        writer.tensors("state.safetensors", b"{}", [])
        writer.file("state.json", [json.dumps(tree).encode()])
        writer.finish()
    with opening.open(path, KEY) as sealed:
        assert sealed.names() == []
    with pytest.raises(Foreign):
        states.load(path, KEY)
