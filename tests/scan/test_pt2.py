"""Exported programs and distributed checkpoints: each pickle in them is found."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from doubles.zips import PAYLOAD, Record, archive, torch_like

from torchkeep import scan
from torchkeep.scan import Tier, Verdict
from torchkeep.scan.formats.pt2 import is_arithmetic

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.register_buffer("part", torch.ones(4)[::2])
        self.constant = torch.arange(3.0)

    def forward(self, x):
        return self.linear(x) + self.constant + self.part.sum() * x.shape[0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    shapes = ({0: torch.export.Dim("n", min=2, max=64)},)
    program = torch.export.export(Model(), (torch.zeros(4, 2),), dynamic_shapes=shapes)
    torch.export.save(program, path, extra_files={"notes.txt": "some notes"})
    return path.read_bytes()


def rewritten(data: bytes, changes: dict[str, bytes]) -> bytes:
    """The archive with other content in some of its records; new ones are added."""
    records = []
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        root = made.namelist()[0].split("/")[0]
        for name in made.namelist():
            record = name.removeprefix(f"{root}/")
            records.append(Record(name.encode(), changes.pop(record, made.read(name))))
    records += [Record(f"{root}/{name}".encode(), value) for name, value in changes.items()]
    return archive(*records)


def rules(data: bytes) -> set[str]:
    return {issue.rule for issue in scan.data(data, "model.pt2").issues}


@pytest.mark.parametrize("tier", Tier)
def test_what_torch_exports_is_clean(exported, tier):
    assert scan.data(exported, "model.pt2", tier=tier).issues == []
    assert scan.data(rewritten(exported, {}), "model.pt2", tier=tier).issues == []


PLACES = [
    "data/sample_inputs/model.pt",
    "data/constants/opaque_obj_0",
    "data/constants/custom_obj_0",
    "data/weights/weight_9",
    "data/weights/other.pt",
    "extra/notes.txt",
    "archive_version",
    "models/model.bin",
    "data/weights/model_weights_config.json",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "payload",
    [PAYLOAD, b"cposix\nsystem\n(S'true'\ntR.", archive(*torch_like(PAYLOAD))],
    ids=["pickle", "protocol 0", "torch file"],
)
def test_a_payload_is_found_wherever_it_is_loaded_from(exported, place, payload):
    assert "TK-SCAN-010" in rules(rewritten(exported, {place: payload}))


def test_a_weight_that_its_list_calls_pickled_is_found(exported):
    """torch 2.13 loads it without weights_only."""
    name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(io.BytesIO(exported)) as made:
        config = json.loads(made.read(f"model/{name}"))
    assert rules(rewritten(exported, {"data/weights/weight_0": PAYLOAD})) == set()  # raw numbers
    assert rules(rewritten(exported, {"data/weights/weight_0": bytes(23)})) == {"TK-SCAN-041"}
    config["config"]["linear.weight"]["use_pickle"] = True
    changes = {name: json.dumps(config).encode(), "data/weights/weight_0": PAYLOAD}
    assert "TK-SCAN-010" in rules(rewritten(exported, changes))


@pytest.mark.parametrize("path", ["weight_0", "WEIGHT_0"])
@pytest.mark.parametrize("name", ["other_weights_config.json", "a/b_weights_config.json"])
def test_lists_that_contradict_each_other_make_nothing_raw(exported, path, name):
    listed = json.dumps({"config": {"x": {"path_name": path, "use_pickle": True}}}).encode()
    changes = {f"data/weights/{name}": listed, "data/weights/weight_0": PAYLOAD}
    assert "TK-SCAN-010" in rules(rewritten(exported, changes))


@pytest.mark.parametrize("folder", ["data/", "data/constants/", ""])
def test_a_pickle_of_torch_makes_nothing_raw_that_is_unpickled(exported, folder):
    """The records of another saved object in the same archive are no cover."""
    key, size = "opaque_obj_0", len(PAYLOAD)
    storage = b"\x80\x02(X\x07\0\0\0storagectorch\nByteStorage\nX\x0c\0\0\0" + key.encode()
    cover = storage + b"X\x03\0\0\0cpuK" + bytes([size]) + b"tQ."
    changes = {f"data/constants/{key}": PAYLOAD, f"{folder}constants.pkl": cover}
    assert "TK-SCAN-010" in rules(rewritten(exported, changes))


def test_machine_code_is_told(exported):
    library = b"\x7fELF" + bytes(200)
    found = rules(rewritten(exported, {"data/aotinductor/model/kernel.so": library}))
    assert found == {"TK-SCAN-046"}


def test_a_graph_that_is_no_json_is_malformed(exported):
    assert "TK-SCAN-045" in rules(rewritten(exported, {"models/model.json": b"{"}))
    deep = b"[" * 100_000
    assert "TK-SCAN-045" in rules(rewritten(exported, {"models/model.json": deep}))


def test_a_graph_that_reads_files_is_told(exported):
    graph = json.dumps({"nodes": [{"target": "torch.ops.aten.from_file.default"}]}).encode()
    assert rules(rewritten(exported, {"models/model.json": graph})) == {"TK-SCAN-044"}


@pytest.mark.parametrize(
    "text",
    [
        "s0", "2*s77 + 1", "Mod(s0, 4)", "Max(1, s0 - 1)", "s0//2", "4",
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(2), Symbol('s0', integer=True))", "Float('1.5', precision=53)",
    ],
)  # fmt: skip
def test_sizes_are_arithmetic(text):
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "os.system('true')", "eval('1')", "s0.__class__",
        "(lambda: 0)()", "open(1)", "exec(chr(49))", "[x for x in s0]", "s0[0]", "print('a')",
        "eval (s0)", "Symbol('a').func", "'a'", "Symbol('a b')", "Symbol('s0')('x')",
        "breakpoint()", "input()", "f(x)", "Lambda(x, x)", "sympify('1')", "S('1')", "",
    ],
)  # fmt: skip
def test_anything_else_is_not(exported, text):
    assert not is_arithmetic(text)
    graph = json.dumps({"a": [{"as_expr": {"expr_str": text}}]}).encode()
    assert "TK-SCAN-047" in rules(rewritten(exported, {"models/model.json": graph}))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch.distributed.checkpoint as dcp

    path = tmp_path_factory.mktemp("dcp") / "step"
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    dcp.save(state | {"step": 3, "name": "x", "list": [1, torch.ones(2)]}, checkpoint_id=path)
    return path


def test_a_distributed_checkpoint_is_clean(checkpoint):
    files = sorted(checkpoint.iterdir())
    assert [path.name for path in files] == [".metadata", "__0_0.distcp"]
    for path in files:
        assert scan.file(path).issues == []


def test_metadata_with_any_other_name_are_told(checkpoint):
    data = (checkpoint / ".metadata").read_bytes()
    assert scan.data(PAYLOAD + data, ".metadata").verdict is Verdict.DANGEROUS
    assert scan.data(data[:-1] + b"0" + PAYLOAD[2:], ".metadata").verdict is Verdict.DANGEROUS


def test_a_shard_with_a_payload_is_told(checkpoint):
    data = (checkpoint / "__0_0.distcp").read_bytes()
    extra = archive(*torch_like(PAYLOAD))
    assert scan.data(data + extra, "x.distcp").verdict is Verdict.DANGEROUS
    assert scan.data(extra + data, "x.distcp").verdict is Verdict.DANGEROUS
