"""TorchScript: its classes are legal where its own code defines them, and there only."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from doubles.zips import PAYLOAD, PLAIN, Record, archive

from torchkeep import scan
from torchkeep.scan import Tier, Verdict

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
DATA = os.environ.get("TORCHKEEP_DATA")


class Many(torch.nn.Module):
    """Has an attribute of each kind that TorchScript pickles in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.ints, self.floats, self.bools, self.texts = [1, 2], [1.5], [True], ["x"]
        self.tensors, self.table, self.pair = [torch.zeros(2)], {"a": 1}, (1, "x")
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x + self.weight, self.ints, self.floats, self.bools, self.tensors, self.table


def many():
    return torch.jit.script(Many())


def frozen():
    linear = torch.nn.Linear(2, 2).eval()
    return torch.jit.freeze(torch.jit.trace(linear, torch.zeros(1, 2)))


def traced():
    return torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))


def quantized():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    return torch.jit.script(torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}))


def function():
    def double(x):
        return x * 2 + torch.tensor([1.0])

    return torch.jit.trace(double, torch.zeros(2))


def writes():
    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor, path: str):
            torch.save(x, path)
            return x

    return torch.jit.script(Writes())


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("make", [many, traced, frozen, quantized, function])
def test_what_torch_writes_is_clean(tmp_path, make, tier):
    make().save(str(tmp_path / "model.jit"))
    assert scan.file(tmp_path / "model.jit", tier=tier).issues == []


def test_files_beside_the_code_are_clean(tmp_path):
    many().save(str(tmp_path / "model.jit"), _extra_files={"labels.json": '{"a": 1}'})
    assert scan.file(tmp_path / "model.jit").issues == []


def test_code_for_phones_is_clean(tmp_path):
    many()._save_for_lite_interpreter(str(tmp_path / "model.ptl"))
    assert scan.file(tmp_path / "model.ptl").issues == []


def test_a_file_of_others_is_clean():
    if DATA is None:
        pytest.skip("set TORCHKEEP_DATA to a folder with the files that `make data` lists")
    path = Path(DATA, "weights-silero-vad", "silero_vad.jit")
    assert scan.file(path).issues == []


@pytest.mark.parametrize("phone", [False, True])
def test_code_that_writes_a_file_is_told(tmp_path, phone):
    path = str(tmp_path / "model.jit")
    writes()._save_for_lite_interpreter(path) if phone else writes().save(path)
    report = scan.file(path)
    assert report.verdict is Verdict.NEEDS_REVIEW
    assert {issue.rule for issue in report.issues} == {"TK-SCAN-044"}


def script(code: str, data: bytes = PLAIN, path: str = "archive/code/__torch__.py") -> bytes:
    return archive(
        Record(b"archive/data.pkl", data),
        Record(path.encode(), code.encode()),
        Record(b"archive/constants.pkl", b"\x80\x02)."),
        Record(b"archive/version", b"3\n"),
    )


def rules(data: bytes) -> set[str]:
    return {issue.rule for issue in scan.data(data, "model.jit").issues}


CLASS = "class M(Module):\n  __parameters__ = []\n"
MADE = b"\x80\x02c__torch__\nM\n)\x81}b."


def test_a_class_is_legal_where_the_code_defines_it():
    assert rules(script(CLASS, MADE)) == set()
    assert rules(script(CLASS.replace("M(", "N("), MADE)) == {"TK-SCAN-011"}
    assert rules(script(CLASS, MADE, "archive/extra/__torch__.py")) == {"TK-SCAN-011"}
    assert rules(script("# class M(Module):\n", MADE)) == {"TK-SCAN-011"}


def test_a_class_is_not_legal_outside_of_such_an_archive():
    bare = archive(Record(b"archive/data.pkl", MADE), Record(b"archive/version", b"3\n"))
    assert rules(bare) == {"TK-SCAN-011"}
    assert scan.data(MADE, "model.pkl").verdict is Verdict.NEEDS_REVIEW


@pytest.mark.parametrize("module", ["posix", "os", "__torch__x", "torch"])
def test_code_makes_no_other_name_legal(module):
    data = f"\x80\x02c{module}\nsystem\n)\x81.".encode("latin-1")
    code = "class system(Module):\n  pass\n"
    found = rules(script(code, data, f"archive/code/{module}.py"))
    assert found & {"TK-SCAN-010", "TK-SCAN-011"}


def test_a_payload_beside_code_is_found():
    assert "TK-SCAN-010" in rules(script(CLASS, PAYLOAD))


@pytest.mark.parametrize(
    "line",
    [
        "torch.save(x, p)",
        "torch . save(x, p)",
        "torch.# note\n    save(x, p)",
        "torch.from_file(p)",
        'getattr(torch, "save")(x, p)',
        "ops.aten.from_file(p)",
        "ops.image.write_file(p, x)",
        "ops.custom.run(x)",
        "t = torch\n    t.save(x, p)",
        "a : __torch__.torch.classes.custom.Runner",
    ],
)
def test_operators_that_reach_out_are_told(line):
    code = f"{CLASS}  def forward(self, x: Tensor, p: str) -> Tensor:\n    {line}\n    return x\n"
    assert rules(script(code)) == {"TK-SCAN-044"}


def test_operators_of_known_libraries_are_clean():
    lines = ["ops.prim.RaiseException(a)", "ops.torchvision.nms(a, b, 0.5)", "ops.aten.sin(a)"]
    code = CLASS + "  def forward(self, a: Tensor) -> Tensor:\n    " + "\n    ".join(lines) + "\n"
    assert rules(script(code)) == set()


def test_operators_of_torchvision_are_clean(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    torch.jit.script(torchvision.models.resnet18()).save(str(tmp_path / "model.jit"))
    assert scan.file(tmp_path / "model.jit").issues == []


def test_code_that_is_no_text_is_not_taken_for_clean(tmp_path):
    many().save(str(tmp_path / "model.jit"))
    with zipfile.ZipFile(tmp_path / "model.jit", "a") as made:
        made.writestr("model/code/__torch__/x.py", PAYLOAD)
    assert scan.file(tmp_path / "model.jit").verdict is Verdict.DANGEROUS
