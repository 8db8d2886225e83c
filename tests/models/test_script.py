from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from torchkeep import models
from torchkeep.core.errors import Foreign, Refused
from torchkeep.models import script


@pytest.fixture(autouse=True)
def deprecated():
    """Making TorchScript is deprecated, and only tests do it; loading must not warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.(script|save|trace)\w*` is deprecated")
        yield


def saved(module: nn.Module, **extra) -> bytes:
    out = io.BytesIO()
    torch.jit.save(module, out)
    return out.getvalue()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
        self.register_buffer("shift", torch.ones(1))

    def forward(self, x):
        return self.layers(x).flatten(1) + self.shift


@pytest.mark.parametrize("way", ["script", "trace"])
@pytest.mark.parametrize("name", ["m.pt", "m.jit", "m.pt2"])
def test_load(make, way, name):
    torch.manual_seed(0)
    module, x = Net(), torch.randn(2, 1, 5, 5)
    made = torch.jit.script(module) if way == "script" else torch.jit.trace(module.eval(), x)
    project = make(f'weights = "{name}"')
    (project.root / name).write_bytes(saved(made))
    found = models.load(project, "m")
    torch.testing.assert_close(found.module(x), module.eval()(x))
    assert not any(part.training for part in found.module.modules())
    assert found.content == models.content_of(module.state_dict())


@pytest.mark.parametrize(
    "module",
    [nn.LSTM(3, 4), nn.TransformerEncoderLayer(16, 2, 32), nn.MultiheadAttention(8, 2)],
    ids=lambda module: type(module).__name__,
)
def test_ordinary_archives_pass(module):
    data = saved(torch.jit.script(module.eval()))
    found, state = script.load(data, "m")
    assert models.content_of(state) == models.content_of(module.state_dict())
    assert not found.training


def test_quantised_archives_pass():
    module = nn.Sequential(nn.Linear(4, 4)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(module, {nn.Linear})
        data = saved(torch.jit.script(quantised))
    script.check(torch._C.PyTorchFileReader(io.BytesIO(data)), "m")


class Writes(nn.Module):
    """Writes a file when it is loaded, without a pickle that runs anything."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save([torch.zeros(1)], self.path)


class Maps(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x):
        return x + torch.from_file(self.path, True, 4).sum()


def test_writing_while_loading(make, marker):
    data = saved(torch.jit.script(Writes(str(marker))))
    with pytest.raises(Refused, match=r"could do more than compute: save in code/__torch__.*\.py"):
        script.load(data, "m.jit")
    with pytest.raises(Refused, match=r"m\.jit is needs-review: the code uses save"):
        models.load(make('weights = "m.jit"', m__jit=data), "m")
    assert not marker.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.load(io.BytesIO(data))
    assert marker.exists()


def test_mapping_while_running(make, marker):
    data = saved(torch.jit.script(Maps(str(marker))))
    with pytest.raises(Refused, match="could do more than compute: from_file in code/"):
        script.load(data, "m.jit")
    with pytest.raises(Refused, match=r"m\.jit is needs-review: the code uses from_file"):
        models.load(make('weights = "m.jit"', m__jit=data), "m")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(io.BytesIO(data))
    module(torch.zeros(1))
    assert marker.exists()


HIDDEN = {
    "spaces": "torch . save([input], PATH)",
    "an alias": "myself = torch\n    myself.save([input], PATH)",
    "self": "self = torch\n    self.save([input], PATH)",
    "a string in pieces": 'getattr(torch, "sa" "ve")([input], PATH)',
    "an escaped string": r'getattr(torch, "\163ave")([input], PATH)',
}


@pytest.mark.parametrize("code", HIDDEN.values(), ids=HIDDEN)
def test_hidden_calls(make, repacked, marker, code):
    """Every way that torch 2.13 was found to follow."""
    plain = saved(torch.jit.script(nn.ReLU()))
    record = "code/__torch__/torch/nn/modules/activation.py"
    text = torch._C.PyTorchFileReader(io.BytesIO(plain)).get_record(record).decode()
    head = text[: text.index("(self: ")]
    code = code.replace("PATH", f'"{marker}"')
    planted = f"{head}(self: __torch__.torch.nn.modules.activation.ReLU,\n    input: Tensor)"
    planted += f" -> Tensor:\n    {code}\n    return input\n"
    data = repacked(plain, {record: planted.encode()})
    with pytest.raises(Refused, match=r"could do more than compute: (save|getattr) in"):
        script.load(data, "m.jit")
    with pytest.raises(Refused):  # the scan, which comes first, or the same search
        models.load(make('weights = "m.jit"', m__jit=data), "m")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.load(io.BytesIO(data))(torch.zeros(1))
    assert marker.exists()


CODE = {
    "torch.save(x, path)": "save",
    "torch .\n  save (x, path)": "save",
    "t = torch\n    t.save(x, path)": "save",
    "torch.from_file(path)": "from_file",
    "ops.aten.save(x, path)": "save",
    "ops.prim.rpc_sync(to, name)": "rpc_sync",
    "ops.c10d.send(x)": "ops",
    "o = ops": "ops",
    "ops. aten.add(x)": "ops",
    "__torch__.torch.classes.dist_c10d.TCPStore": "classes",
    'getattr(torch, "save")(x)': "save",
    r'getattr(torch, "\x73ave")(x)': "getattr",
    'getattr(torch, "sa" "ve")(x)': "getattr",
    'getattr(torch,  "x")': "getattr",
    'getattr(self.layers, "0")': None,
    "self.save(x)": "save",
    "myself = torch\n    myself.save(x, path)": "save",
    "self.classes + 1": "classes",
    "ops.prim.NumToTensor(1)": None,
    "ops.quantized.linear(x)": None,
    "__torch__.torch.classes.quantized.LinearPackedParamsBase": None,
    "torch.add(x, saved)": None,
}


@pytest.mark.parametrize(("code", "word"), CODE.items())
@pytest.mark.parametrize("record", ["code/__torch__.py", "CODE/__torch__/a/b.PY"])
def test_words(repacked, record, code, word):
    data = repacked(saved(torch.jit.script(nn.ReLU())), {record: code.encode()})
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    if word is None:
        script.check(reader, "m")
    else:
        with pytest.raises(Refused, match=f"m could do more than compute: {word} in"):
            script.check(reader, "m")


@pytest.mark.parametrize("split", [b".", b"\n"])
@pytest.mark.parametrize("record", ["data.pkl", "constants.pkl"])
def test_classes_in_pickles(repacked, record, split):
    pickled = b"c__torch__.torch" + split + b"classes.dist_c10d\nTCPStore\n"
    data = repacked(saved(torch.jit.script(nn.ReLU())), {record: pickled})
    with pytest.raises(Refused, match=f"classes in {record}"):
        script.check(torch._C.PyTorchFileReader(io.BytesIO(data)), "m")


def test_the_form_of_old(repacked):
    data = repacked(saved(torch.jit.script(nn.ReLU())), {"Model.json": b"{}"})
    with pytest.raises(Refused, match="old code in"):
        script.check(torch._C.PyTorchFileReader(io.BytesIO(data)), "m")


def test_a_checkpoint_with_a_name_of_torchscript(make, repacked, recorder, marker):
    """The record that tells TorchScript makes torch.jit.load read it, which unpickles no Python."""
    data = repacked(recorder, {"constants.pkl": b"\x80\x02)."})
    with pytest.raises((Foreign, Refused)):
        models.load(make('weights = "m.pt"', m__pt=data), "m")
    assert not marker.exists()


@pytest.mark.parametrize("part", range(0, 100, 7))
def test_cut_archives(make, part):
    data = saved(torch.jit.script(Net()))
    project = make('weights = "m.jit"', m__jit=data[: len(data) * part // 100])
    with pytest.raises((Foreign, Refused)):
        models.load(project, "m")


def test_damaged_archives(make, repacked, tmp_path: Path):
    data = saved(torch.jit.script(Net()))
    for changes in ({"data.pkl": b"\x80\x02"}, {"data.pkl": None}, {"constants.pkl": b""}):
        damaged = repacked(data, changes)
        with pytest.raises(Foreign, match=r"m\.jit is no TorchScript archive that torch"):
            script.load(damaged, "m.jit")
        with pytest.raises((Foreign, Refused)):
            models.load(make('weights = "m.jit"', m__jit=damaged), "m")
