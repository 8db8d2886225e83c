from __future__ import annotations

import io
import pickle
import zipfile
from datetime import date
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from torchkeep import models, scan
from torchkeep.core import digest, files
from torchkeep.core.errors import Foreign, ProjectError, Refused, SourceError, UsageError
from torchkeep.core.messages import message
from torchkeep.core.source import BytesSource
from torchkeep.models import loaded

ENTRY = 'build = "model:build"\nweights = "m.safetensors"\n'


def trained() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 2))
    module(torch.randn(8, 4))  # moves the running mean
    return module.eval()


def test_load(make):
    module = trained()
    data = save(module.state_dict())
    project = make(ENTRY + "range = [0, 1]\nclasses = 2", m__safetensors=data)
    found = models.load(project, "m")
    x = torch.randn(5, 4)
    assert torch.equal(found.module(x), module(x))
    assert not any(part.training for part in found.module.modules())
    assert all(parameter.requires_grad for parameter in found.module.parameters())
    assert found.content == digest.safetensors_content(BytesSource(data))
    assert found.content == models.content_of(found.module.state_dict())
    assert found.subject == project.subject("m.safetensors")
    assert (found.table.range, found.table.classes) == ([0, 1], 2)


def test_the_bytes_that_are_hashed_are_those_that_are_loaded(make, monkeypatch):
    """The file is exchanged after each look at it; loading looks once."""
    first, second = save(trained().state_dict()), save(nn.Linear(4, 3).state_dict())
    project = make(ENTRY, m__safetensors=first)
    path, looks = project.root / "m.safetensors", []

    def read(name, **options):
        data = real(name, **options)
        looks.append(name)
        Path(name).write_bytes(second)
        return data

    real = files.read
    monkeypatch.setattr(files, "read", read)
    found = models.load(project, "m")
    assert looks == [path]
    assert found.content == digest.safetensors_content(BytesSource(first))
    assert torch.equal(found.module[0].weight, trained()[0].weight)


def test_requires_grad_and_dtype_are_kept(make):
    model = """
from torch import nn


def build():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    return module
"""
    module = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2).double())
    project = make(ENTRY, model=model, m__safetensors=save(module.state_dict()))
    found = models.load(project, "m").module
    assert [p.requires_grad for p in found.parameters()] == [False, False, True, True]
    assert [p.dtype for p in found.parameters()] == [torch.bfloat16] * 2 + [torch.float64] * 2
    assert torch.equal(found[0].weight, module[0].weight)


TIED = """
from torch import nn


def build():
    module = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    module["b"].weight = module["a"].weight
    return module
"""


def tied(**changes) -> bytes:
    full = {"a.weight": torch.eye(3), "a.bias": torch.ones(3), "b.bias": torch.zeros(3)}
    return save(full | changes)


def test_tied_tensors_may_stand_in_the_file_once(make):
    found = models.load(make(ENTRY, model=TIED, m__safetensors=tied()), "m").module
    assert found["b"].weight is found["a"].weight
    assert torch.equal(found["b"].weight, torch.eye(3))


def test_tied_tensors_that_differ_in_the_file(make):
    data = tied(**{"b.weight": 2 * torch.eye(3)})
    with pytest.raises(Foreign, match=r"does not hold what .* says"):
        models.load(make(ENTRY, model=TIED, m__safetensors=data), "m")


def test_a_module_that_changes_weights_while_loading(make):
    model = """
from torch import nn


class Sly(nn.Linear):
    def _load_from_state_dict(self, state_dict, prefix, *rest):
        state_dict[prefix + "weight"] = state_dict[prefix + "weight"] * 2
        super()._load_from_state_dict(state_dict, prefix, *rest)


def build():
    return Sly(2, 2)
"""
    project = make(ENTRY, model=model, m__safetensors=save(nn.Linear(2, 2).state_dict()))
    with pytest.raises(Foreign, match="the module of model:build does not hold what"):
        models.load(project, "m")


def other(change) -> bytes:
    state = trained().state_dict()
    change(state)
    return save(state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("0.bias"), "1 missing in the file: 0.bias"),
        (lambda s: [s.pop(k) for k in list(s)[:5]], "0.bias, 2.weight, and 2 more"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unknown to the module: extra"),
        (
            lambda s: s.update({"0.weight": torch.zeros(4, 3)}),
            r"1 different: 0.weight \(module F32 \[3, 4\], file F32 \[4, 3\]\)",
        ),
        (
            lambda s: s.update({"0.weight": torch.zeros(3, 4).char()}),
            r"0.weight \(module F32 \[3, 4\], file I8 \[3, 4\]\)",
        ),
        (
            lambda s: s.update({"2.num_batches_tracked": torch.tensor(1.0)}),
            r"2.num_batches_tracked \(module I64 \[\], file F32 \[\]\)",
        ),
    ],
)
def test_weights_that_do_not_fit(make, change, said):
    project = make(ENTRY, m__safetensors=other(change))
    with pytest.raises(Foreign, match=said):
        models.load(project, "m")


@pytest.mark.parametrize(
    ("entry", "line", "said"),
    [
        ('build = "model:build"', 3, "models.m: names no weights; add weights"),
        ('weights = "m.safetensors"', 3, "models.m: m.safetensors holds weights only, and no"),
        ('\n\nbuild = "model:build"\nweights = "m.jit"', 6, "models.m.build: m.jit is TorchScript"),
    ],
)
def test_wrong_entries_are_shown_where_they_stand(make, entry, line, said):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("m/constants.pkl", b"\x80\x02).")
    data = save(trained().state_dict())
    project = make(entry, m__safetensors=data, m__jit=archive.getvalue())
    with pytest.raises(ProjectError, match=said) as caught:
        models.load(project, "m")
    assert caught.value.line == line


def test_no_such_model(make):
    with pytest.raises(UsageError, match="names no model 'x'; it names: m"):
        models.load(make(ENTRY), "x")


def test_no_such_file(make):
    with pytest.raises(SourceError):
        models.load(make(ENTRY), "m")


def saved(value, **options) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt2", "m.npz", "weights"])
@pytest.mark.parametrize("build", ["", 'build = "model:build"\n'])
def test_pickles_are_refused_whatever_their_name(make, recorder, marker, name, build):
    payload = pickle.loads(pickle.dumps(recorder))
    for data in (
        recorder,
        saved({"w": torch.zeros(2)}),
        saved({"w": torch.zeros(2)}, _use_new_zipfile_serialization=False),
        pickle.dumps({"w": 1}, protocol=2),
        payload,
    ):
        project = make(f'{build}weights = "{name}"')
        (project.root / name).write_bytes(data)
        with pytest.raises(Refused, match="is a pickle") as caught:
            models.load(project, "m")
        assert caught.value.next == "run: torchkeep explain TK-SCAN-001"
    assert not marker.exists()


def test_the_planted_pickle_would_run(recorder, marker):
    torch.load(io.BytesIO(recorder), weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "looks like: empty"),
        (b"hello, world, this is text", "looks like: text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "looks like: hdf5"),
        (b"GGUF" + bytes(40), "looks like: gguf"),
        (b"PK\x05\x06" + bytes(18), "looks like: zip"),
        (b"\x80\x04\x95" + bytes(5) + b"{" + bytes(9), "is a pickle"),
    ],
)
def test_other_files_are_foreign(make, data, said):
    project = make(ENTRY, m__safetensors=data)
    with pytest.raises((Foreign, Refused), match=said):
        models.load(project, "m")


def test_a_picture_that_begins_like_safetensors_is_foreign(make):
    """The scan finds nothing wrong with it, since by its name no loader would open it."""
    project = make(
        'build = "model:build"\nweights = "w"', w=b"BM" + bytes(6) + b"{" + bytes(30_000)
    )
    with pytest.raises(Foreign, match="is none of safetensors"):
        models.load(project, "m")


def gap(data: bytes) -> bytes:
    """A safetensors file that says of its first tensor that it begins one byte later."""
    return data.replace(b'"data_offsets":[0,', b'"data_offsets":[1,', 1)


def test_nothing_is_loaded_before_its_very_bytes_were_scanned(make, monkeypatch):
    """The file is exchanged for a clean one as soon as it was read."""
    clean = save(trained().state_dict())
    project = make(ENTRY, m__safetensors=gap(clean))

    def read(name, **options):
        data = real(name, **options)
        Path(name).write_bytes(clean)
        return data

    real = files.read
    monkeypatch.setattr(files, "read", read)
    monkeypatch.setattr(loaded, "from_safetensors", None)
    with pytest.raises(Foreign, match=r"m\.safetensors is malformed") as caught:
        models.load(project, "m")
    assert caught.value.next == "run: torchkeep explain TK-SCAN-032"


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (scan.Verdict.DANGEROUS, Refused),
        (scan.Verdict.MALFORMED, Foreign),
        (scan.Verdict.NEEDS_REVIEW, Refused),
        (scan.Verdict.NOT_SCANNED, Refused),
    ],
)
def test_only_what_is_clean_is_loaded(make, monkeypatch, verdict, error):
    issue = scan.Issue(rule="TK-SCAN-099", severity=verdict, message=message("scan.clean"))
    report = scan.FileReport(path="m", issues=[issue])
    monkeypatch.setattr(scan, "data", lambda *args, **options: report)
    project = make(ENTRY, m__safetensors=save(trained().state_dict()))
    with pytest.raises(error, match=f"m.safetensors is {verdict}: nothing in it") as caught:
        models.load(project, "m")
    assert caught.value.next == "run: torchkeep explain TK-SCAN-099"


def test_the_terms_of_the_project_hold_for_what_is_loaded(make, monkeypatch):
    seen = []
    real = scan.data
    monkeypatch.setattr(
        scan, "data", lambda data, name, **options: seen.append(options) or real(data, name)
    )
    policy = """
[policy.scan]
tier = "weights"
[[policy.scan.allow]]
name = "mine.Thing"
use = "class"
reason = "ours"
expires = {}
"""
    until = date.today()
    data = save(trained().state_dict())
    models.load(make(ENTRY, more=policy.format(until), m__safetensors=data), "m")
    assert [options["tier"] for options in seen] == [scan.Tier.WEIGHTS]
    assert [list(options["allowed"]) for options in seen] == [[("mine", "Thing")]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 7", "model:build returned int, expected a torch.nn.Module"),
        ("return nn.Linear(4, 3, device='meta')", "on the meta device"),
        ("raise ValueError('wid\\x1bth')", r"failed in model:build\(\): ValueError: wid\\x1bth"),
        ("raise SystemExit(3)", r"failed in model:build\(\): SystemExit: 3"),
    ],
)
def test_a_build_that_fails(make, body, said):
    model = f"from torch import nn\n\n\ndef build():\n    {body}\n"
    project = make(ENTRY, model=model, m__safetensors=save(trained().state_dict()))
    with pytest.raises(UsageError, match=said):
        models.load(project, "m")


def test_a_module_that_refuses(make):
    model = """
from torch import nn


class Proud(nn.Linear):
    def load_state_dict(self, *args, **kwargs):
        raise RuntimeError("never")


def build():
    return Proud(2, 2)
"""
    project = make(ENTRY, model=model, m__safetensors=save(nn.Linear(2, 2).state_dict()))
    with pytest.raises(Foreign, match=r"did not take .*: never"):
        models.load(project, "m")
