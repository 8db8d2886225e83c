"""What ``convert`` writes is what ``torch.load`` gives, and what the safetensors library writes."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
import sys
from collections import OrderedDict, defaultdict
from importlib import import_module
from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeep import scan
from torchkeep.core import digest
from torchkeep.core.errors import SourceError
from torchkeep.core.source import FileSource
from torchkeep.scan import Verdict
from torchkeep.scan.conversion import gather
from torchkeep.scan.conversion.forms import DTYPES

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")

from makers.checkpoints import bits, expected, save  # noqa: E402 (they import torch)

WRITE = import_module("torchkeep.scan.conversion.write")  # its function has that name too
DATA = os.environ.get("TORCHKEEP_DATA")
FORMS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def converted(value, folder, *, legacy=False, protocol=2, **settings):
    """The conversion of ``value``, after its output was held against the safetensors library."""
    source = save(value, folder / "model.pt", legacy=legacy, protocol=protocol)
    return scan.convert(source, folder / "out.safetensors", overwrite=True, **settings)


def agrees(value, folder, tensors=None, **settings):
    done = converted(value, folder, **settings)
    names = value if tensors is None else tensors
    assert (folder / "out.safetensors").read_bytes() == expected(names, folder)
    assert done.tensors == len(names)
    assert done.bytes == sum(t.numel() * t.element_size() for t in names.values())
    return done


def numbers(dtype, count=24):
    """Every byte differs, so that none can be swapped for another unseen."""
    kind = getattr(torch, dtype)
    size = torch.empty(0, dtype=kind).element_size()
    raw = torch.arange(count * size, dtype=torch.int64).remainder(251).to(torch.uint8)
    return raw.remainder(2).bool() if dtype == "bool" else raw.view(kind)


@FORMS
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_type_of_safetensors(tmp_path, dtype, legacy):
    data = numbers(dtype)
    done = agrees(
        {"a": data[5:], "b": data.reshape(4, 6).t(), "c": data[:1]}, tmp_path, legacy=legacy
    )
    assert done.format == ("torch-legacy" if legacy else "torch-zip")
    assert done.verdict is Verdict.CLEAN


def test_all_types_and_odd_names_stand_in_the_order_of_the_library(tmp_path):
    tensors = {f"{name}-{dtype}": numbers(dtype, 2) for dtype in DTYPES for name in "zaZ"}
    names = ["", '"\\\n\x01\x7f', "é\u2028😀", "ﬀ", "a.b", "a", "B"]
    agrees(tensors | {name: torch.zeros(1) for name in names}, tmp_path)


BASE = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
STRIDED = {
    "transposed": BASE.transpose(1, 3),
    "permuted": BASE.permute(3, 0, 2, 1),
    "channels_last": BASE.contiguous(memory_format=torch.channels_last),
    "sliced": BASE[:, 1:, ::2, 1:4],
    "expanded": BASE[0, 0, 0].expand(4, 3, 5),
    "expanded inside": BASE[0, 0, 0][:, None].expand(5, 7),
    "one number": torch.tensor(7.0).expand(3, 4),
    "one of many": BASE[1, 2, 3, 4],
    "column": BASE.reshape(-1)[3::7],
    "windows": BASE.reshape(-1).unfold(0, 10, 3),
    "length one": BASE.as_strided((1, 3), (999, 2), 5),
    "empty": BASE[:0],
    "empty within": torch.zeros(3, 0, 2),
    "no dimension": torch.tensor(1.5),
    "row": BASE[1, 2],
}


@FORMS
@pytest.mark.parametrize("name", STRIDED)
def test_every_way_to_lie_in_a_storage(tmp_path, name, legacy):
    agrees({"w": STRIDED[name]}, tmp_path, legacy=legacy)


@FORMS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_all_of_them_on_one_storage(tmp_path, protocol, legacy):
    done = agrees(STRIDED, tmp_path, legacy=legacy, protocol=protocol)
    on_base = sorted(n for n, t in STRIDED.items() if _on_base(t))
    assert list(done.shared) == [tuple(on_base)]


def _on_base(tensor):
    return tensor.untyped_storage().data_ptr() == BASE.untyped_storage().data_ptr()


@st.composite
def layouts(draw):
    """A storage, and a tensor that lies in it in any way that torch allows."""
    dtype = draw(st.sampled_from(["uint8", "int16", "float32", "complex64"]))
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    stride = [draw(st.integers(0, 12)) for _ in shape]
    offset = draw(st.integers(0, 9))
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True) if n)
    data = numbers(dtype, last + 1 + draw(st.integers(0, 3)))
    return data.as_strided(shape, stride, offset)


@given(
    layouts(),
    st.booleans(),
    st.sampled_from([8, 24, 64]),
    st.sampled_from([0, 8]),
    st.integers(1, 3),
)
def test_any_strides(tmp_path_factory, tensor, legacy, window, small, sparse):
    """Windows of a few bytes, so that tensors of a few bytes are cut in every way."""
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "_WINDOW", window)
        patch.setattr(gather, "_SMALL", small)
        patch.setattr(gather, "_SPARSE", sparse)
        patch.setattr(gather, "_REPEATED", 2)
        patch.setattr(WRITE, "_CHUNK", 7)
        agrees({"w": tensor}, folder, legacy=legacy)


def test_no_more_is_read_than_a_few_times_what_is_taken(tmp_path):
    """Many thin views of a large storage must not each read all of it."""
    column = torch.zeros(4096, 2048, dtype=torch.uint8)[:, 5]
    path = save({"w": column}, tmp_path / "model.pt")
    place = path.read_bytes().index(bytes(4096))
    source = FileSource(path)
    with source:
        gather.gather(source, place, _tensor(path))
    assert source.bytes_read <= 4096 * 2048
    wide = torch.zeros(64, 1 << 17, dtype=torch.uint8)[:, :16]
    path = save({"w": wide}, tmp_path / "model.pt")
    source = FileSource(path)
    with source:
        gather.gather(source, place, _tensor(path))
    assert source.bytes_read == 64 * 16


def _tensor(path):
    from torchkeep.scan.conversion.choose import choose
    from torchkeep.scan.conversion.locate import locate

    with FileSource(path) as source:
        return choose(locate(source, "zip"), "", False).tensors[0]


def test_parameters_buffers_and_their_attributes(tmp_path):
    weight = torch.nn.Parameter(BASE.t() if BASE.dim() == 2 else BASE[0, 0].t())
    weight.note = "mine"
    values = {"p": torch.nn.Parameter(BASE[0]), "q": weight, "b": torch.nn.Buffer(BASE[1])}
    agrees(values, tmp_path)
    agrees(values, tmp_path, legacy=True)


@pytest.mark.parametrize("make", [dict, OrderedDict, lambda v: defaultdict(dict, v)])
def test_every_kind_of_dict(tmp_path, make):
    agrees(make({"a": BASE, "b": BASE[0]}), tmp_path, tensors={"a": BASE, "b": BASE[0]})


def test_an_ordered_dict_of_python_2(tmp_path):
    """``OrderedDict([[name, tensor], ...])``, which is how Python 2 pickled one."""

    class Old(OrderedDict):
        def __reduce__(self):
            return OrderedDict, ([[key, value] for key, value in self.items()],)

    agrees(Old(a=BASE, b=BASE[0]), tmp_path, tensors={"a": BASE, "b": BASE[0]})


def test_a_dict_of_dicts_gets_dotted_names(tmp_path):
    value = {"a": {"w": BASE, "deep": {"v": BASE[0]}}, "b": BASE[1], "none": {}}
    agrees(value, tmp_path, tensors={"a.w": BASE, "a.deep.v": BASE[0], "b": BASE[1]})


def test_a_tensor_alone(tmp_path):
    agrees(BASE, tmp_path, tensors={"tensor": BASE})
    agrees({"x": {"y": BASE}, "n": 1}, tmp_path, tensors={"y": BASE}, key="x.y")
    agrees([BASE, BASE[0]], tmp_path, tensors={"1": BASE[0]}, key="1")


class Net(torch.nn.Module):
    """Buffers of both kinds, tied and missing parameters, a missing module."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 3)
        self.norm = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.ReLU())
        self.tied = torch.nn.Linear(3, 3, bias=False)
        self.tied.weight = self.first.weight
        self.nothing = None
        self.register_module("absent", None)
        self.register_parameter("unset", None)
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("passing", torch.arange(4), persistent=False)
        self.register_buffer("none", None)
        self.parts = torch.nn.ParameterDict({"a": torch.ones(2)})


@FORMS
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.filterwarnings("ignore::UserWarning")  # the source of a class that has none
def test_a_whole_module_has_the_names_of_its_state_dict(tmp_path, protocol, legacy):
    net = Net()
    assert "passing" not in net.state_dict()
    done = agrees(net, tmp_path, tensors=net.state_dict(), protocol=protocol, legacy=legacy)
    assert done.module == f"{Net.__module__}.Net"
    assert done.verdict is Verdict.NEEDS_REVIEW
    assert done.shared == (("first.weight", "tied.weight"),)


@FORMS
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_module_that_the_policy_knows(tmp_path, legacy):
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.BatchNorm2d(3))
    done = agrees(net, tmp_path, tensors=net.state_dict(), legacy=legacy)
    assert (done.verdict, done.module) == (
        Verdict.CLEAN,
        "torch.nn.modules.container.Sequential",
    )


def training():
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    ema = {"shadow.weight": model.weight.detach() * 2}
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "state": {"ema": ema, "steps": 7},
        "epoch": 3,
    }


@FORMS
def test_a_key_picks_one_part_of_a_checkpoint(tmp_path, legacy):
    value = training()
    done = agrees(value, tmp_path, tensors=value["model"], key="model", legacy=legacy)
    assert (done.key, done.left_behind) == ("model", ("optimizer", "state", "epoch"))
    ema = value["state"]["ema"]
    done = agrees(value, tmp_path, tensors=ema, key="state.ema", legacy=legacy)
    assert done.left_behind == ("model", "optimizer", "epoch", "state.steps")
    moments = {
        name: value["optimizer"]["state"][0][name] for name in ("step", "exp_avg", "exp_avg_sq")
    }
    agrees(value, tmp_path, tensors=moments, key="optimizer.state.0", legacy=legacy)


def test_a_key_with_dots_of_its_own(tmp_path):
    agrees({"a.b": {"w": BASE}, "c": 1}, tmp_path, tensors={"w": BASE}, key="a.b")
    agrees({"a": {"b.c": {"w": BASE}}, "d": 1}, tmp_path, tensors={"w": BASE}, key="a.b.c")


def test_the_result_says_what_was_done(tmp_path):
    done = converted(training(), tmp_path, key="model")
    assert done.to_json() == {
        "schema_version": 1,
        "source": str(tmp_path / "model.pt"),
        "target": str(tmp_path / "out.safetensors"),
        "format": "torch-zip",
        "verdict": "clean",
        "key": "model",
        "salvage": False,
        "tensors": 2,
        "bytes": 48,
        "shared": [],
        "left_behind": ["optimizer", "state", "epoch"],
        "left_behind_count": 3,
        "module": "",
    }
    value = {f"n{number}": number for number in range(50)} | {"w": BASE}
    many = converted(value, tmp_path, salvage=True).to_json()
    assert (len(many["left_behind"]), many["left_behind_count"]) == (20, 50)


def test_the_statement_names_both_files_and_one_content(tmp_path):
    done = converted({"w": BASE.transpose(0, 1)}, tmp_path)
    statement = done.statement()
    with FileSource(done.source) as source, FileSource(done.target) as target:
        hashes = digest.sha256(source), digest.sha256(target)
        content = digest.safetensors_content(target)
    result = statement.result
    assert (result["from"]["digest"], result["to"]["digest"]) == tuple(
        {"sha256": one, "content": content} for one in hashes
    )
    assert (statement.kind, result["verb"]) == ("derivation", "convert")
    assert result["settings"] == {"key": "", "salvage": False}
    (subject,) = statement.subjects
    assert subject.content == content


@pytest.mark.parametrize("name", ["model.pt", "out.safetensors"])
def test_no_statement_about_what_has_changed_since(tmp_path, name):
    done = converted({"w": BASE}, tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(1, 1))  # whatever the tick of the clock
    with pytest.raises(SourceError, match="has changed since"):
        done.statement()


def test_the_library_opens_what_was_written(tmp_path):
    converted({"w": BASE.transpose(0, 2), "n": numbers("int8")}, tmp_path)
    with safetensors.safe_open(tmp_path / "out.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
        assert sorted(opened.keys()) == ["n", "w"]
        assert torch.equal(opened.get_tensor("w"), BASE.transpose(0, 2))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    """Nor is anything of torch imported: the names of a pickle stay words."""
    path = save({"w": BASE, "p": torch.nn.Parameter(BASE)}, tmp_path / "model.pt")

    def refused(*args, **kwargs):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refused)
    for name in ("exec", "eval"):
        monkeypatch.setattr(builtins, name, refused)
    scan.convert(path, tmp_path / "out.safetensors")
    code = (
        "import sys; from torchkeep import scan; scan.convert(*sys.argv[1:]); "
        "sys.exit(str({'torch', 'numpy', 'pickle', 'safetensors'} & set(sys.modules)))"
    )
    target = tmp_path / "again.safetensors"
    done = subprocess.run([sys.executable, "-c", code, path, target], capture_output=True)
    assert (done.stderr.strip(), target.exists()) == (b"set()", True)


MEMORY = """
import resource, sys
from torchkeep import scan
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scan.convert(*sys.argv[1:])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("strided", [False, True])
def test_memory_is_bounded_by_the_largest_tensor(tmp_path, strided):
    side = 4096
    weight = torch.zeros(side, side)  # 64 MiB
    path = save({"a": weight.t() if strided else weight, "b": weight[1:]}, tmp_path / "model.pt")
    command = [sys.executable, "-c", MEMORY, path, tmp_path / "out.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < (prod(weight.shape) * 4 if strided else 0) + (64 << 20)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("weights-advertorch-mnist/mlp.pkl", ""),
        ("weights-advertorch-mnist/mnist_lenet5_advtrained.pt", ""),
        ("weights-advertorch-mnist/mnist_lenet5_clntrained.pt", ""),
    ],
)
def test_real_weights(tmp_path, name, key):
    if not DATA:
        pytest.skip("set TORCHKEEP_DATA to a folder with the files that `make data` lists")
    path = Path(DATA, name)
    scan.convert(path, tmp_path / "out.safetensors", key=key)
    loaded = torch.load(path, weights_only=True, map_location="cpu")
    assert (tmp_path / "out.safetensors").read_bytes() == expected(loaded, tmp_path)
    with safetensors.safe_open(tmp_path / "out.safetensors", "pt") as opened:
        for tensor in loaded:
            assert torch.equal(bits(opened.get_tensor(tensor)), bits(loaded[tensor]))
