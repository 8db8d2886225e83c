"""What torch.save writes is clean; storages and tensors that do not fit are told."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest
from doubles.zips import PAYLOAD, PLAIN, Record, archive, torch_like

from torchkeep import scan
from torchkeep.core.source import FileSource
from torchkeep.scan import Tier, Verdict, dispatch
from torchkeep.scan.job import Job
from torchkeep.scan.pickle.machine import Machine
from torchkeep.scan.pickle.policy import of
from torchkeep.scan.tensors import Storage, Tensor, tensors
from torchkeep.scan.verdict import FileReport

torch = pytest.importorskip("torch")

DTYPES = """
    float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e8m0fnu int64 int32 int16 int8
    uint64 uint32 uint16 uint8 bool complex128 complex64 complex32
""".split()


def saved(value, path, **settings):
    torch.save(value, path, **settings)
    return scan.file(path)


def training():
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    return state | {"rng": torch.get_rng_state(), "epoch": 3, "best": 0.5, "names": ["a", "b"]}


def views():
    base = torch.arange(10.0)
    return [base, base[2:5], base[::2], base.view(2, 5).t(), base[3], base[:0], base.expand(3, 10)]


def kinds():
    return [
        torch.sparse_coo_tensor([[0], [1]], [1.0], (2, 2)),
        torch.eye(2).to_sparse_csr(),
        torch.empty(3, device="meta"),
        torch.nn.Parameter(torch.ones(2)),
        torch.ones(2).untyped_storage(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8),
        torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8),
        torch.tensor(1 + 2j).conj(),
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [training, views, kinds, dict])
def test_what_torch_saves_is_clean(tmp_path, make, protocol, tier):
    path = tmp_path / "model.pt"
    torch.save(make(), path, pickle_protocol=protocol)
    report = scan.file(path, tier=tier)
    assert report.issues == []
    assert report.verdict is Verdict.CLEAN


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_is_clean_and_known(tmp_path, name):
    value = torch.zeros(3, dtype=getattr(torch, name))
    assert saved({"w": value}, tmp_path / "model.pt").issues == []


def test_a_module_is_clean_as_a_module_and_not_as_weights(tmp_path):
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()), tmp_path / "m.pt")
    assert scan.file(tmp_path / "m.pt").issues == []
    assert scan.file(tmp_path / "m.pt", tier=Tier.WEIGHTS).verdict is Verdict.NEEDS_REVIEW


def test_a_file_without_checksums_is_clean(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        assert saved(torch.ones(5), tmp_path / "model.pt").issues == []
    finally:
        torch.serialization.set_crc32_options(True)


@pytest.fixture
def huge(tmp_path):
    """More than four gigabytes of holes, written by torch itself."""
    path = tmp_path / "huge.pt"
    with torch.serialization.skip_data():
        torch.save(
            {f"{n}": torch.empty(150_000_000) for n in range(8)} | {"z": torch.empty(3)}, path
        )
    return path


def test_a_huge_file_is_clean_and_a_hundredth_of_it_is_read(huge):
    job = Job(FileReport(path="huge.pt"))
    with FileSource(huge) as source:
        dispatch.look(job, source)
        assert source.size > 1 << 32
        assert source.bytes_read < 1 << 20
        assert source.requests < 60
    assert job.report.issues == []


def values(data: bytes) -> list[Tensor]:
    from torchkeep.core.source import BytesSource

    with zipfile.ZipFile(io.BytesIO(data)) as made:
        name = next(name for name in made.namelist() if name.endswith("data.pkl"))
        content = BytesSource(made.read(name))
    return tensors(Machine(content, 0, of(Tier.WEIGHTS), persistent=lambda key: True).run().value)


def test_tensors_are_told_by_name():
    base = torch.arange(6.0)
    out = io.BytesIO()
    torch.save(
        {"a": base.view(2, 3).t(), "b": {"c": [base[1:]]}, "p": torch.nn.Parameter(base)}, out
    )
    storage = Storage("0", "float32", "cpu", 6)
    assert values(out.getvalue()) == [
        Tensor("a", storage, "float32", 0, (3, 2), (1, 3)),
        Tensor("b.c.0", storage, "float32", 1, (5,), (1,)),
        Tensor("p", storage, "float32", 0, (6,), (1,)),
    ]


def test_tensors_of_types_without_a_storage_class_are_told():
    out = io.BytesIO()
    torch.save({"a": torch.zeros(4, dtype=torch.uint16)}, out)
    (found,) = values(out.getvalue())
    assert (found.dtype, found.storage.size, found.fits()) == ("uint16", 8, True)


class Id:
    """Stands for a persistent id when a test writes a pickle by hand."""

    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


def written(value) -> bytes:
    out = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Id):
                return ("storage", obj.kind, obj.key, "cpu", obj.count)
            return None

    Pickler(out, 2).dump(value)
    return out.getvalue()


class Rebuild:
    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.args


def file_of(storage, offset, shape, stride, record=bytes(16), **records) -> bytes:
    value = Rebuild(storage, offset, shape, stride, False, {})
    extra = [Record(b"archive/data/0", record)] if record is not None else []
    more = [Record(b"archive/data/" + name.encode(), data) for name, data in records.items()]
    return archive(*torch_like(written({"w": value})), *extra, *more)


FOUR = Id(torch.FloatStorage, "0", 4)


def found(data: bytes) -> list[tuple[str, str]]:
    report = scan.data(data, "model.pt")
    return [(issue.rule, issue.severity.value) for issue in report.issues]


def test_the_control_file_is_clean():
    assert found(file_of(FOUR, 0, (2, 2), (2, 1))) == []
    assert found(file_of(FOUR, 3, (1,), (1,))) == []
    assert found(file_of(FOUR, 0, (0, 9), (9, 1))) == []
    assert found(file_of(FOUR, 0, (9,), (0,))) == []


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (4, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (2,), (1 << 62,)),
        (0, (1 << 63,), (0,)),
        (1 << 62, (1,), (1,)),
    ],
)
def test_a_tensor_outside_of_its_storage(offset, shape, stride):
    assert ("TK-SCAN-041", "malformed") in found(file_of(FOUR, offset, shape, stride))


@pytest.mark.parametrize("shape", [(2.0,), ("2",), (True,), [2], None])
def test_a_tensor_that_cannot_be_checked(shape):
    assert ("TK-SCAN-041", "malformed") in found(file_of(FOUR, 0, shape, (1,)))


@pytest.mark.parametrize("size", [0, 15, 17, 64])
def test_a_storage_of_another_size_than_its_record(size):
    """CVE-2026-24747."""
    data = file_of(FOUR, 0, (4,), (1,), record=bytes(size))
    assert ("TK-SCAN-040", "malformed") in found(data)


def test_one_storage_of_two_sizes():
    larger = Rebuild(Id(torch.FloatStorage, "0", 8), 0, (8,), (1,), False, {})
    smaller = Rebuild(FOUR, 0, (4,), (1,), False, {})
    data = archive(*torch_like(written([smaller, larger])), Record(b"archive/data/0", bytes(16)))
    assert ("TK-SCAN-040", "malformed") in found(data)


def test_a_missing_record():
    assert ("TK-SCAN-042", "malformed") in found(file_of(FOUR, 0, (4,), (1,), record=None))


def test_a_record_that_nothing_names():
    data = file_of(FOUR, 0, (4,), (1,), **{"7": bytes(range(200, 250))})
    assert found(data) == [("TK-SCAN-043", "needs-review")]


def test_a_storage_may_begin_like_anything():
    for head in (
        PAYLOAD[:16],
        b"PK\3\4" + bytes(12),
        b"\x7fELF" + bytes(12),
        b"\x1f\x8b" + bytes(14),
    ):
        assert found(file_of(FOUR, 0, (4,), (1,), record=head.ljust(16, b"\0")[:16])) == []


@pytest.mark.parametrize("key", ["../data.pkl", "../version", "0/../../version", "", "a b"])
def test_a_key_that_is_none_of_torch_names_no_raw_record(key):
    storage = Id(torch.ByteStorage, key, len(PAYLOAD))
    value = Rebuild(storage, 0, (1,), (1,), False, {})
    record = Record(b"archive/data/" + key.encode(), PAYLOAD)
    data = archive(*torch_like(written([value])), record)
    assert ("TK-SCAN-010", "dangerous") in found(data)


@pytest.mark.parametrize(
    "id",
    [("module", 1), ("storage", "FloatStorage", "0", "cpu", 4), ("other",), 5, ("storage",)],
)
def test_other_persistent_ids_are_not_known(id):
    out = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return id if isinstance(obj, Id) else None

    Pickler(out, 2).dump({"w": FOUR})
    assert ("TK-SCAN-017", "needs-review") in found(archive(*torch_like(out.getvalue())))


@pytest.mark.parametrize(
    ("name", "data"), [("version", b"x"), ("byteorder", b"middle"), ("version", b"9" * 200)]
)
def test_small_records_say_what_torch_writes(name, data):
    made = archive(Record(b"a/data.pkl", PLAIN), Record(f"a/{name}".encode(), data))
    assert ("TK-SCAN-045", "malformed") in found(made)


def test_every_folder_with_a_pickle_is_one_saved_object():
    made = archive(*torch_like(PLAIN), Record(b"archive/inner/data.pkl", PAYLOAD))
    assert ("TK-SCAN-010", "dangerous") in found(made)
