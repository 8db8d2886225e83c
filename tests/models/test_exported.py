from __future__ import annotations

import io
import json
import logging
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from torchkeep import models
from torchkeep.core.errors import Foreign, Refused, UsageError
from torchkeep.models import exported, program

PROGRAM = "models/model.json"
INPUTS = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))


def export(module: nn.Module, *args: Any, shapes: Any = None, decomposed: bool = False) -> bytes:
    with warnings.catch_warnings():  # torch deprecates parts of itself
        warnings.simplefilter("ignore")
        made = torch.export.export(module, args, dynamic_shapes=shapes)
        made = made.run_decompositions() if decomposed else made
        out = io.BytesIO()
        torch.export.save(made, out)
    return out.getvalue()


@pytest.fixture(scope="module")
def plain() -> bytes:
    batch = torch.export.Dim("batch", min=2, max=1000)
    return export(net().eval(), torch.randn(8, 4), shapes=({0: batch},))


def parsed(data: bytes, record: str) -> Any:
    return json.loads(torch._C.PyTorchFileReader(io.BytesIO(data)).get_record(record))


def test_load(make, plain):
    found = models.load(make('weights = "m.pt2"\nclasses = 2', m__pt2=plain), "m")
    expected = net().eval()
    x = torch.randn(5, 4)
    torch.testing.assert_close(found.module(x), expected(x))
    assert not any(part.training for part in found.module.modules())
    assert found.module.eval() is found.module
    assert all(parameter.requires_grad for parameter in found.module.parameters())
    assert found.content == models.content_of(expected.state_dict())
    assert found.table.classes == 2


def test_gradients_reach_the_input(make, plain):
    found = models.load(make('weights = "m.pt2"', m__pt2=plain), "m")
    x = torch.randn(5, 4, requires_grad=True)
    found.module(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


class Sizes(nn.Module):
    """Sizes in the program, a constant, a part without gradient, several outputs, a keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("shift", torch.ones(4), persistent=False)
        self.scale = torch.arange(4.0)

    def forward(self, x, factor=None):
        with torch.no_grad():
            scaled = x * self.scale
        count = x.shape[0]
        padded = functional.pad(x, (0, count // 2))
        both = torch.cat([x, scaled]).reshape(2 * count, -1)[: count + 1]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.layer(x) + self.shift
        return {"out": out.float(), "both": [both, padded.sum() / (count * count + 3)]}


class Branch(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, tokens):
        x = self.layer(self.embed(tokens))
        image = functional.interpolate(x[:, None], scale_factor=2.0, mode="bilinear")
        return torch.einsum("bij,bkj->bik", x, x), image


BATCH = torch.export.Dim("batch", min=2, max=1000)
CASES = {
    "sizes": (Sizes, (torch.randn(6, 4),), ({0: BATCH},)),
    "still sizes": (Sizes, (torch.randn(6, 4), torch.ones(1)), None),
    "branch": (Branch, (torch.randn(4),), None),
    "attention": (Attention, (torch.randint(10, (3, 5)),), ({0: BATCH},)),
}


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_ordinary_programs_pass(case, decomposed):
    build, args, shapes = CASES[case]
    torch.manual_seed(0)
    module = build().eval()
    data = export(module, *args, shapes=shapes, decomposed=decomposed)
    found, state = exported.load(data, "m")
    torch.testing.assert_close(found(*args), module(*args), atol=2e-2, rtol=2e-2)
    assert models.content_of(state) == models.content_of(module.state_dict())


# What reaches a recorder where torch alone loads the file, and what this room says instead.


def a_pickled_input(data: bytes, marker: Path, recorder: bytes) -> dict[str, bytes]:
    return {INPUTS: recorder}


def a_pickled_weight(data: bytes, marker: Path, recorder: bytes) -> dict[str, bytes]:
    config = parsed(data, WEIGHTS)
    config["config"]["0.weight"]["use_pickle"] = True
    return {WEIGHTS: json.dumps(config).encode(), "data/weights/weight_0": recorder}


def a_pickled_constant(data: bytes, marker: Path, recorder: bytes) -> dict[str, bytes]:
    config = parsed(data, WEIGHTS)["config"]["0.weight"]
    config |= {"path_name": "tensor_0", "use_pickle": True}
    document = json.dumps({"config": {"c": config}}).encode()
    return {CONSTANTS: document, "data/constants/tensor_0": recorder}


def an_opaque_constant(data: bytes, marker: Path, recorder: bytes) -> dict[str, bytes]:
    config = parsed(data, WEIGHTS)["config"]["0.weight"]
    config |= {"path_name": "opaque_obj_0", "use_pickle": True}
    document = json.dumps({"config": {"c": config}}).encode()
    payload = f"cos\nmkdir\n(V{marker}\ntR.".encode()
    return {CONSTANTS: document, "data/constants/opaque_obj_0": payload}


def weights_of_the_older_layout(data: bytes, marker: Path, recorder: bytes) -> dict[str, bytes]:
    return {"data/weights/model.pt": recorder}


def constants_of_the_older_layout(data: bytes, marker: Path, recorder: bytes) -> dict[str, bytes]:
    return {"data/constants/model.pt": recorder}


def changed(change: Callable[[Any, str], None]) -> Callable[..., dict[str, bytes]]:
    def make(data: bytes, marker: Path, recorder: bytes) -> dict[str, bytes]:
        document = parsed(data, PROGRAM)
        change(document["graph_module"], f"__import__('os').mkdir({str(marker)!r})")
        return {PROGRAM: json.dumps(document).encode()}

    return make


def _size(module: Any, code: str) -> None:
    module["graph"]["tensor_values"]["input"]["sizes"][0]["as_expr"]["expr_str"] = code


def _size_of_a_tensor_called_metadata(module: Any, code: str) -> None:
    values = module["graph"]["tensor_values"]
    values["metadata"] = json.loads(json.dumps(values["input"]))
    _size(module, code)


def _argument(module: Any, code: str) -> None:
    # Valid where parameters stand and, the string closed, where they are used.
    name = f"x={code}, y='''):\n    pass#"
    module["module_call_graph"][0]["signature"]["forward_arg_names"] = [name]


def _placeholder(module: Any, code: str) -> None:
    name = f"input=[{code}, 0][1]"
    text = json.dumps(module).replace('"name": "input"}}', f'"name": {json.dumps(name)}}}}}')
    module |= json.loads(text)
    values = module["graph"]["tensor_values"]
    values[name] = values.pop("input")


def _module_of_a_tree(module: Any, code: str) -> None:
    context = {
        "default_factory_module": "planted_module",
        "default_factory_name": "f",
        "dict_context": [],
    }
    tree = {"type": "collections.defaultdict", "context": context, "children_spec": []}
    signature = module["module_call_graph"][0]["signature"]
    signature["out_spec"] = json.dumps([1, tree])


def _module_of_an_enum(module: Any, code: str) -> None:
    context = json.dumps([{"__enum__": 1, "fqn": "planted_module:f", "name": "x"}])
    tree = {"type": "builtins.dict", "context": context, "children_spec": []}
    signature = module["module_call_graph"][0]["signature"]
    signature["out_spec"] = json.dumps([1, tree])


RUN_BY_LOADING = {
    "a pickled input": (a_pickled_input, "its sample inputs hold more than tensors"),
    "a pickled weight": (a_pickled_weight, "0.weight is to be unpickled"),
    "a pickled constant": (a_pickled_constant, "c is to be unpickled"),
    "an opaque constant": (an_opaque_constant, "it holds data/constants/opaque_obj_0"),
    "older weights": (weights_of_the_older_layout, "it holds data/weights/model.pt"),
    "older constants": (constants_of_the_older_layout, "it holds data/constants/model.pt"),
    "a size": (changed(_size), "expr_str is"),
    "a size again": (changed(_size_of_a_tensor_called_metadata), "expr_str is"),
    "an argument": (changed(_argument), "forward_arg_names is"),
    "a placeholder": (changed(_placeholder), "name is|a name is"),
    "a module of a tree": (changed(_module_of_a_tree), "out_spec is"),
    "a module of an enum": (changed(_module_of_an_enum), "out_spec is"),
}


@pytest.fixture
def planted_module(tmp_path, marker, monkeypatch):
    (tmp_path / "planted_module.py").write_text(f"import os\nos.mkdir({str(marker)!r})\nf = dict")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("planted_module", None)


@pytest.mark.parametrize("case", RUN_BY_LOADING)
def test_what_torch_alone_would_run(
    case, make, plain, repacked, marker, recorder, planted_module, monkeypatch
):
    plant, said = RUN_BY_LOADING[case]
    data = repacked(plain, plant(plain, marker, recorder))
    with pytest.raises(Refused, match=said) as caught:
        exported.load(data, "m.pt2")
    assert "safetensors" in caught.value.next
    with pytest.raises(Refused):  # the scan, which comes first, or the same check
        models.load(make('weights = "m.pt2"', m__pt2=data), "m")
    assert not marker.exists()

    logging.disable()  # torch logs what it did
    try:
        torch.export.load(io.BytesIO(data)).module()
    except Exception:  # by then the recorder was reached
        pass
    finally:
        logging.disable(logging.NOTSET)
    assert marker.exists(), "the fault that was planted is none: torch does not run it any more"


def test_the_pickle_of_another_reader(make, plain, repacked, marker, recorder):
    """Where torch's reader fails it falls back to zipfile, which sees names outside the root."""
    config = parsed(plain, WEIGHTS)
    config["config"]["0.weight"]["tensor_meta"]["sizes"][0] = {"as_int": 1000}
    data = io.BytesIO(repacked(plain, {WEIGHTS: json.dumps(config).encode()}))
    from torch._export.serde.schema import SCHEMA_VERSION

    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
        archive.writestr(
            "serialized_exported_program.json", json.dumps(parsed(plain, PROGRAM)).encode()
        )
        for part in ("constants", "state_dict", "example_inputs"):
            archive.writestr(f"serialized_{part}.pt", recorder)
    with pytest.raises(Foreign, match="file in archive is not in a subdirectory"):
        exported.load(data.getvalue(), "m.pt2")
    with pytest.raises(Refused, match=r"m\.pt2 is dangerous"):
        models.load(make('weights = "m.pt2"', m__pt2=data.getvalue()), "m")
    assert not marker.exists()

    logging.disable()
    try:
        torch.export.load(io.BytesIO(data.getvalue()))
    except Exception:
        pass
    finally:
        logging.disable(logging.NOTSET)
    assert marker.exists()


def test_names_that_only_one_reader_sees(make, plain, repacked):
    records = torch._C.PyTorchFileReader(io.BytesIO(plain)).get_all_records()
    exported._check_names(plain, records, "m")
    for seen in (records[1:], [*records, "version"]):
        with pytest.raises(Refused, match="its directory can be read in two ways"):
            exported._check_names(plain, seen, "m")
    # One reader takes names for UTF-8, the other for the letters of an old PC.
    data = bytearray(repacked(plain, {"extra/é": b"x"}))
    name = "archive/extra/é".encode()
    for flags in (data.index(name) - 30 + 7, data.rindex(name) - 46 + 9):
        assert data[flags] == 8
        data[flags] = 0
    with pytest.raises(Refused, match="its directory can be read in two ways"):
        exported.load(bytes(data), "m.pt2")
    with pytest.raises((Foreign, Refused)):
        models.load(make('weights = "m.pt2"', m__pt2=bytes(data)), "m")


def test_guards_of_the_file_are_never_run(make, plain, repacked, marker):
    document = parsed(plain, PROGRAM)
    document["guards_code"] = [f"__import__('os').mkdir({str(marker)!r}) is None"]
    data = repacked(plain, {PROGRAM: json.dumps(document).encode()})
    found = models.load(make('weights = "m.pt2"', m__pt2=data), "m")
    found.module(torch.randn(3, 4))
    assert not marker.exists()
    torch.export.load(io.BytesIO(data)).module()(torch.randn(3, 4))
    assert marker.exists()


OPERATORS = {
    "torch.os.mkdir": False,
    "torch.load": False,
    "torch.hub.load": False,
    "torch.ops.load_library": False,
    "torch.ops.aten.from_file.default": False,
    "torch.ops.aten.from_file.out": False,
    "torch.ops.aten.name.format": False,
    "torch.ops.aten.__class__.mro": False,
    "torch.ops.aten.relu.__call__": False,
    "torch.ops.aten.relu.op": False,
    "torch.ops.aten.no_such.default": False,
    "torch.ops.c10d.broadcast_.default": False,
    "torch.ops.higher_order.triton_kernel_wrapper_mutation": False,
    "_operator.methodcaller": False,
    "_operator.call": False,
    "#planted:op": False,
    "math.floor": True,
    "_operator.mul": True,
    "torch.sym_max": True,
    "torch.ops.higher_order.cond": True,
    "torch.ops.aten.relu.default": True,
    "torch.ops.aten.add.Tensor": True,
    "torch.ops.aten._softmax.default": True,
}


@pytest.mark.parametrize(("operator", "passes"), OPERATORS.items())
@pytest.mark.parametrize("place", ["target", "as_operator"])
def test_operators(operator, passes, place):
    document = {"nodes": [{place: operator, "metadata": {"stack_trace": 'File "a b", line 1'}}]}
    if passes:
        program.check(document, "m")
    else:
        with pytest.raises(Refused, match=f"loading m could run code: {place} is"):
            program.check(document, "m")


SIZES = {
    "Symbol('s31', positive=True, integer=True)": True,
    "Mul(Integer(-4), Pow(Symbol('u0', integer=True), Rational(1, 2)))": True,
    "Piecewise(ExprCondPair(Integer(1), true), (Float('1.5', precision=53), false))": True,
    "FloorDiv(Add(Symbol('s0'), int_oo), Integer(2))": True,
    "__import__('os')": False,
    "Symbol('s0').func": False,
    "Symbol": True,
    "eval": False,
    "Add('eval(1)')": False,
    "Symbol('a b')": False,
    "Symbol(*[1])": False,
    "Symbol(**{})": False,
    "(lambda: 1)()": False,
    "[x for x in Symbol('s0')]": False,
    "f'{Symbol}'": False,
    "Integer(1) # Integer(2)": False,
    "Integer(\n1)": False,
    "Integer(1)\\": False,
    "Integer(1);Integer(2)": False,
    "Symbol('s0'": False,
    "-" * 100_000 + "Integer(1)": False,
    "": False,
}


@pytest.mark.parametrize(("size", "passes"), SIZES.items(), ids=range(len(SIZES)))
def test_sizes(size, passes):
    document = {"tensor_values": {"expr_str": {"as_expr": {"expr_str": size}}}}
    if passes:
        program.check(document, "m")
    else:
        with pytest.raises(Refused, match="could run code: expr_str is"):
            program.check(document, "m")


@pytest.mark.parametrize(
    "spec",
    ["", "7", "[1]", "[2, {}]", "[1, {}]", "[" * 9999]
    + [
        json.dumps([1, {"type": kind, "context": context, "children_spec": []}])
        for kind, context in [("planted", "null"), (None, "{}"), ("builtins.dict", '["a(b)"]')]
    ],
)
def test_malformed_trees(spec):
    with pytest.raises(Refused, match="in_spec is"):
        program.check({"in_spec": spec}, "m")


@pytest.mark.parametrize(
    "document",
    [
        {"any": "two words"},
        {"a(b)": 1},
        {"deep": [{"a": ["x", "f()"]}]},
        {"name": "a.b"},
        {"forward_arg_names": ["a-b"]},
    ],
)
def test_unknown_places_hold_words(document):
    with pytest.raises(Refused, match="could run code"):
        program.check(document, "m")


def test_native_code_is_refused(make, plain, repacked):
    for record in ("data/aotinductor/model/m.so", "data/constants/custom_obj_0", "models/b.json"):
        data = repacked(plain, {record: b"\x7fELF"})
        with pytest.raises(Refused, match=f"could run code: it holds {record}"):
            exported.load(data, "m.pt2")
        with pytest.raises((Foreign, Refused)):
            models.load(make('weights = "m.pt2"', m__pt2=data), "m")


def test_extra_files_do_no_harm(make, plain, repacked):
    data = repacked(plain, {"extra/labels.txt": b"a b c"})
    assert models.load(make('weights = "m.pt2"', m__pt2=data), "m")


def test_training_mode_is_told(make):
    data = export(net().train(), torch.randn(8, 4))
    with pytest.raises(UsageError, match=r"m\.pt2 was exported in training mode"):
        models.load(make('weights = "m.pt2"', m__pt2=data), "m")


def test_a_torch_without_the_switch(make, plain, monkeypatch):
    monkeypatch.setattr(exported.ExportedProgram, "module", lambda self: None)
    with pytest.raises(UsageError, match="cannot load an exported program without running strings"):
        models.load(make('weights = "m.pt2"', m__pt2=plain), "m")


@pytest.mark.parametrize(
    "changes",
    [
        {PROGRAM: b"{"},
        {PROGRAM: b"[" * 100_000},
        {PROGRAM: b"{}"},
        {PROGRAM: None},
        {WEIGHTS: b'{"config": []}'},
        {"data/weights/weight_0": b"1"},
        {"archive_format": b"other"},
        {"archive_version": b"99"},
        {INPUTS: b"", PROGRAM: b"\xff"},
    ],
    ids=str,
)
def test_damaged_archives(make, plain, repacked, changes, caplog):
    data = repacked(plain, changes)
    with pytest.raises(Foreign, match=r"m\.pt2 is no exported program that torch"):
        exported.load(data, "m.pt2")
    with pytest.raises((Foreign, Refused)):
        models.load(make('weights = "m.pt2"', m__pt2=data), "m")
    assert not caplog.records
    assert not logging.getLogger("torch.export").filters


def test_cut_archives(make, plain):
    for length in range(0, len(plain), len(plain) // 23):
        # Cut behind the sample inputs it ends with those: an archive of its own, a pickle.
        with pytest.raises((Foreign, Refused)):
            models.load(make('weights = "m.pt2"', m__pt2=plain[:length]), "m")


def test_the_recorder_is_what_it_says(recorder, marker):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(recorder), weights_only=True)
    assert not marker.exists()
