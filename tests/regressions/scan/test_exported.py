"""Graphs of exported programs: torch walks along what a node calls its operator."""

from __future__ import annotations

import json

import pytest
from doubles.scanning import rules
from doubles.zips import Record, archive


def program(target: str) -> bytes:
    graph = json.dumps({"graph_module": {"graph": {"nodes": [{"target": target}]}}})
    return archive(
        Record(b"m/archive_format", b"pt2"), Record(b"m/models/model.json", graph.encode())
    )


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system", "torch.hub.load", "torch.load", "torch.ops.load_library",
        "math.__loader__", "torch.ops.aten.__dict__", "_operator.methodcaller",
        "_operator.attrgetter", "torchx.y",
        "torch.fx.experimental.symbolic_shapes.sys.exit",
    ],
)  # fmt: skip
def test_what_is_no_operator_is_told(target):
    assert rules(program(target), "model.pt2") == {44}


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.linear.default", "torch.ops.higher_order.cond", "torch.sym_max",
        "torch.ops._c10d_functional.all_reduce.default", "_operator.mul", "math.ceil", "w",
        "torch.autograd.grad_mode.set_grad_enabled", "#extension:x",
    ],
)  # fmt: skip
def test_operators_are_not(target):
    assert rules(program(target), "model.pt2") == set()
