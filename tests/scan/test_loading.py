"""Under the guard nothing is loaded that is not clean, by whatever loader; the rest is as ever."""

from __future__ import annotations

import io
import pickle
import shutil
import sys
import tarfile
import threading
import types
import zipfile
from collections import OrderedDict

import pytest
from doubles.payloads import Payload, payload, ran
from doubles.zips import Record, archive, torch_like

from torchkeep import scan
from torchkeep.core import events
from torchkeep.core.errors import Refused
from torchkeep.scan import Tier, Unsafe, guard, loading
from torchkeep.scan.loading.patches import TABLE
from torchkeep.scan.pickle.policy import Grant, Use

torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")
joblib = pytest.importorskip("joblib", reason="joblib belongs to the test group: make test")
pytestmark = pytest.mark.filterwarnings("ignore")


class Early(pickle.Unpickler):
    """A class that was derived before any guard."""


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "mark"


def saved(thing, *, legacy=False) -> bytes:
    out = io.BytesIO()
    torch.save(thing, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def tarred(thing) -> bytes:
    """A file of torch as before 0.2: a tar archive of pickles."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in {
            "storages": pickle.dumps(0, 2) + pickle.dumps([], 2),
            "tensors": pickle.dumps(0, 2),
            "pickle": pickle.dumps(thing, 2),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def objects(mark) -> bytes:
    out = io.BytesIO()
    numpy.save(out, numpy.array([Payload(mark), None], dtype=object), allow_pickle=True)
    return out.getvalue()


def archived(mark) -> bytes:
    out = io.BytesIO()
    numpy.savez(out, x=numpy.array([Payload(mark), None], dtype=object))
    return out.getvalue()


def dumped(thing, compress=0) -> bytes:
    out = io.BytesIO()
    joblib.dump(thing, out, compress=compress)
    return out.getvalue()


def unrestricted(file):
    return torch.load(file, weights_only=False)


def early(path):
    with open(path, "rb") as file:
        return Early(file).load()


def opened(load):
    def run(path):
        with open(path, "rb") as file:
            return load(file)

    return run


def in_memory(load):
    return lambda path: load(io.BytesIO(path.read_bytes()))


class Slow(io.RawIOBase):
    """A stream that cannot go back, and gives few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._inner.readinto(memoryview(buffer)[:3])


def streamed(path):
    return pickle.load(io.BufferedReader(Slow(path.read_bytes())))


def last(path):
    """The second of two pickles in one file."""
    with open(path, "rb") as file:
        pickle.load(file)
        return pickle.load(file)


# What is loaded, how its bytes are made with a payload in it, and by what.
CASES = {
    "torch": (lambda mark: saved({"x": Payload(mark)}), unrestricted),
    "torch, open": (lambda mark: saved({"x": Payload(mark)}), opened(unrestricted)),
    "torch, memory": (lambda mark: saved({"x": Payload(mark)}), in_memory(unrestricted)),
    "torch, mmap": (
        lambda mark: saved({"x": Payload(mark)}),
        lambda path: torch.load(path, weights_only=False, mmap=True),
    ),
    "torch, own module": (
        lambda mark: saved({"x": Payload(mark)}),
        lambda path: torch.load(path, pickle_module=pickle, weights_only=False),
    ),
    "legacy": (lambda mark: saved({"x": Payload(mark)}, legacy=True), unrestricted),
    "legacy, open": (
        lambda mark: saved({"x": Payload(mark)}, legacy=True),
        opened(unrestricted),
    ),
    "legacy, memory": (
        lambda mark: saved({"x": Payload(mark)}, legacy=True),
        in_memory(unrestricted),
    ),
    "tar": (lambda mark: tarred(Payload(mark)), unrestricted),
    "load": (payload, opened(lambda file: pickle.load(file))),
    "loads": (payload, lambda path: pickle.loads(path.read_bytes())),
    "loads, writable": (payload, lambda path: pickle.loads(bytearray(path.read_bytes()))),
    "protocol 0": (lambda mark: payload(mark, 0), lambda path: pickle.loads(path.read_bytes())),
    "Unpickler": (payload, opened(lambda file: pickle.Unpickler(file).load())),
    "Unpickler, memory": (payload, in_memory(lambda file: pickle.Unpickler(file).load())),
    "interpreted": (payload, opened(lambda file: pickle._Unpickler(file).load())),
    "derived early": (payload, early),
    "a stream": (payload, streamed),
    "a stream, framed": (lambda mark: payload(mark, 4), streamed),
    "stacked": (lambda mark: pickle.dumps(1) + payload(mark), last),
    "npy": (objects, lambda path: numpy.load(path, allow_pickle=True)),
    "npy, open": (objects, opened(lambda file: numpy.load(file, allow_pickle=True))),
    "npz": (archived, lambda path: numpy.load(path, allow_pickle=True)["x"]),
    "npz, open": (archived, opened(lambda file: numpy.load(file, allow_pickle=True)["x"])),
    "numpy, pickle": (payload, lambda path: numpy.load(path, allow_pickle=True)),
    "joblib": (lambda mark: dumped({"x": Payload(mark)}), lambda path: joblib.load(path)),
    "joblib, gzip": (lambda mark: dumped(Payload(mark), 3), lambda path: joblib.load(path)),
    "joblib, open": (lambda mark: dumped(Payload(mark)), opened(lambda file: joblib.load(file))),
    "joblib, behind an array": (
        lambda mark: dumped([numpy.arange(9.0), Payload(mark)]),
        lambda path: joblib.load(path),
    ),
    "joblib, objects": (
        lambda mark: dumped(numpy.array([Payload(mark), None], dtype=object)),
        lambda path: joblib.load(path),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_payload_does_not_run(case, tmp_path, mark):
    make, load = CASES[case]
    path = tmp_path / "file"
    path.write_bytes(make(mark))
    with guard(), pytest.raises(Unsafe) as caught:
        load(path)
    assert not ran(mark)
    assert caught.value.report.verdict is scan.Verdict.DANGEROUS
    assert caught.value.exit_code == 1
    assert any("posix.mkdir" in str(issue.message) for issue in caught.value.report.issues)
    assert "\n" not in str(caught.value)
    load(path)
    assert ran(mark)  # without the guard it does


def rewritten(data: bytes, changes: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        root = made.namelist()[0].split("/")[0]
        records = {name.removeprefix(f"{root}/"): made.read(name) for name in made.namelist()}
    return archive(
        *(Record(f"{root}/{key}".encode(), data) for key, data in (records | changes).items())
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    module = torch.nn.Sequential(torch.nn.Linear(2, 3))
    torch.export.save(torch.export.export(module, (torch.zeros(1, 2),)), path)
    return path


def test_the_pickles_of_an_exported_program_do_not_run(exported, tmp_path, mark):
    """torch 2.13 loads a weight that its list calls pickled with weights_only off."""
    name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(exported) as made:
        config = made.read(f"{made.namelist()[0].split('/')[0]}/{name}")
    changes = {
        name: config.replace(b'"use_pickle": false', b'"use_pickle": true'),
        "data/weights/weight_0": saved(Payload(mark)),
    }
    assert changes[name] != config
    path = tmp_path / "model.pt2"
    path.write_bytes(rewritten(exported.read_bytes(), changes))
    with guard(), pytest.raises(Unsafe):
        torch.export.load(path)
    with guard(), pytest.raises(Unsafe):
        torch.export.load(io.BytesIO(path.read_bytes()))
    assert not ran(mark)
    with pytest.raises(Exception):  # noqa: B017, PT011 - what it gives is no tensor
        torch.export.load(path)
    assert ran(mark)


@pytest.fixture
def checkpoint(tmp_path):
    """A distributed checkpoint; its writer needs no process group."""
    from torch.distributed import checkpoint as dcp

    folder = tmp_path / "dcp"
    dcp.save({"w": torch.arange(6.0), "step": 7}, checkpoint_id=folder, no_dist=True)
    return folder


def restored(folder):
    from torch.distributed import checkpoint as dcp

    state = {"w": torch.zeros(6), "step": 0}
    dcp.load(state, checkpoint_id=folder, no_dist=True)
    return state


def test_a_distributed_checkpoint_is_loaded(checkpoint):
    with guard():
        state = restored(checkpoint)
    assert state["w"].tolist() == [0, 1, 2, 3, 4, 5]
    assert state["step"] == 7


def test_the_metadata_of_a_distributed_checkpoint_do_not_run(checkpoint, mark):
    (checkpoint / ".metadata").write_bytes(payload(mark))
    with guard(), pytest.raises(BaseException, match=r"posix\.mkdir"):
        restored(checkpoint)
    assert not ran(mark)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        restored(checkpoint)
    assert ran(mark)


def test_an_item_of_a_distributed_checkpoint_does_not_run(tmp_path, mark):
    from torch.distributed import checkpoint as dcp

    dcp.save({"step": Payload(mark)}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    state = {"step": 0}
    with guard(), pytest.raises(BaseException, match=r"posix\.mkdir"):
        dcp.load(state, checkpoint_id=tmp_path / "dcp", no_dist=True)
    assert not ran(mark)
    dcp.load(state, checkpoint_id=tmp_path / "dcp", no_dist=True)
    assert ran(mark)


@pytest.mark.parametrize("name", ["load", "list", "help"])
def test_repositories_run_no_code_unless_they_may(name, tmp_path, mark, monkeypatch):
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *args, **kwargs: str(tmp_path))
    (tmp_path / "hubconf.py").write_text(f"import os\nos.mkdir({str(mark)!r})\ndef m():\n    'x'\n")
    call = {"load": ("m",), "list": (), "help": ("m",)}[name]

    def run():
        return getattr(torch.hub, name)("owner/name", *call, trust_repo=True)

    with guard(), pytest.raises(Unsafe, match=f"torch.hub.{name} runs"):
        run()
    with guard(hub=True), guard(), pytest.raises(Unsafe):
        run()
    assert not ran(mark)
    with guard(hub=True):
        run()
    assert ran(mark)


def test_an_array_of_joblib_is_no_cover_where_nobody_knows_of_it(tmp_path):
    """The scan passes by the array; the unpickler of torch takes it for opcodes."""
    path = tmp_path / "file.pt"
    path.write_bytes(archive(*torch_like(dumped([numpy.arange(9.0)]))))
    assert scan.file(path).verdict is scan.Verdict.CLEAN
    with guard(), pytest.raises(Unsafe):
        unrestricted(path)


# What is clean comes out as without the guard.


def plain(thing):
    """What two loads can be compared by."""
    if isinstance(thing, torch.nn.Module):
        return type(thing).__name__, plain(dict(thing.state_dict()))
    if isinstance(thing, torch.Tensor | numpy.ndarray):
        return str(thing.dtype), thing.tolist()
    if isinstance(thing, dict):
        return type(thing), {key: plain(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [plain(part) for part in thing]
    return thing


def optimizer():
    model = torch.nn.Linear(3, 2)
    made = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    made.step()
    return made.state_dict()


BENIGN = {
    "weights": OrderedDict(a=torch.arange(4.0), b=torch.ones(2, 3, dtype=torch.bfloat16)),
    "shared": [torch.arange(8)[::2]] * 2,
    "optimizer": optimizer(),
    "module": torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)),
    "arrays": {"rng": numpy.random.default_rng(0).random(5), "n": 3},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", BENIGN)
def test_what_is_clean_is_loaded_as_ever(name, legacy, tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(saved(BENIGN[name], legacy=legacy))
    expected = plain(unrestricted(path))
    ways = [unrestricted, opened(unrestricted), in_memory(unrestricted)]
    ways += [] if legacy else [lambda path: torch.load(path, weights_only=False, mmap=True)]
    for load in ways:
        with guard():
            assert plain(load(path)) == expected


def test_a_file_that_is_open_is_left_behind_the_first_checkpoint(tmp_path):
    file = io.BytesIO(b"head" + saved({"a": torch.arange(3)}, legacy=True))
    file.seek(4)
    with guard():
        assert torch.load(file)["a"].tolist() == [0, 1, 2]
    assert file.tell() == len(file.getvalue())


def test_scripts_and_exported_programs_are_loaded_as_ever(exported, tmp_path):
    x, path = torch.ones(1, 2), tmp_path / "script.pt"
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    torch.jit.save(torch.jit.script(module), path)
    with guard():
        assert torch.equal(torch.jit.load(path)(x), module(x))
        assert torch.equal(unrestricted(path)(x), module(x))
        program = torch.export.load(exported).module()
    assert torch.equal(program(x), torch.export.load(exported).module()(x))


@pytest.mark.parametrize("compress", [0, 3, ("xz", 2)])
def test_joblib_is_loaded_as_ever(compress, tmp_path):
    thing = {"a": numpy.arange(6.0), "o": numpy.array([None, "x"], dtype=object), "n": [1]}
    path = tmp_path / "file.joblib"
    path.write_bytes(dumped(thing, compress))
    with guard():
        assert plain(joblib.load(path)) == plain(thing)
        assert plain(joblib.load(str(path), mmap_mode="r")) == plain(thing)
        assert plain(opened(joblib.load)(path)) == plain(thing)


def test_arrays_are_loaded_as_ever(tmp_path):
    numpy.savez(tmp_path / "x.npz", a=numpy.arange(3), o=numpy.array([1, None], dtype=object))
    numpy.save(tmp_path / "x.npy", numpy.arange(4))
    row = io.BytesIO()
    for number in range(2):
        numpy.save(row, numpy.array([number, None], dtype=object))
    row.seek(0)
    with guard():
        found = numpy.load(tmp_path / "x.npz", allow_pickle=True)
        assert [numpy.load(row, allow_pickle=True)[0] for _ in range(2)] == [0, 1]
        mapped = numpy.load(tmp_path / "x.npy", allow_pickle=True, mmap_mode="r")
        assert isinstance(mapped, numpy.memmap)
    assert found["o"].tolist() == [1, None]  # read when the guard is gone
    found.close()
    assert found.fid is None


# Unpicklers.


def test_the_memo_goes_from_one_pickle_to_the_next():
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 2)
    shared = ["x"]
    pickler.dump(shared)
    pickler.dump([shared, shared])
    with guard():
        unpickler = pickle.Unpickler(io.BytesIO(out.getvalue()))
        first = unpickler.load()
        assert unpickler.load()[1] is first
        with pytest.raises(EOFError):
            unpickler.load()


class Storage(pickle.Unpickler):
    def persistent_load(self, pid):
        return "fetched", pid


def test_an_object_from_outside_needs_somebody_who_fetches_it():
    data = b"\x80\x02X\x01\0\0\0aQ."
    with guard():

        class Late(pickle.Unpickler):
            def persistent_load(self, pid):
                return pid * 2

            def find_class(self, module, name):
                return super().find_class(module, name)

        assert Late(io.BytesIO(data)).load() == "aa"
        assert Storage(io.BytesIO(data)).load() == ("fetched", "a")
        unpickler = pickle.Unpickler(io.BytesIO(data))
        unpickler.persistent_load = str.upper
        assert unpickler.load() == "A"
        with pytest.raises(Unsafe):
            pickle.Unpickler(io.BytesIO(data)).load()
    assert Late(io.BytesIO(data)).load() == "aa"  # a class of that time goes on


def test_an_unpickler_from_before_the_guard_is_refused(mark):
    unpickler = Early(io.BytesIO(payload(mark)))
    with guard(), pytest.raises(Unsafe, match="before the guard"):
        unpickler.load()
    assert not ran(mark)
    unpickler.load()
    assert ran(mark)


def test_a_stream_is_read_to_the_end_of_its_pickle_and_no_further():
    data = pickle.dumps({"x": list(range(300)), "b": b"y" * 400_000}, 4)
    stream = Slow(data + b"rest")
    with guard():
        assert pickle.load(stream)["b"] == b"y" * 400_000
    assert stream._inner.read() == b"rest"
    for protocol in range(6):
        thing = ({1.5: "é\n", "n": -(10**20)}, frozenset([None, True]), bytearray(b"b"))
        with guard():
            assert pickle.load(Slow(pickle.dumps(thing, protocol))) == thing


@pytest.mark.parametrize("data", [b"\x80\x02]q", b"nothing at all", b"\x80\x02\x8e" + b"\x7f" * 8])
def test_what_is_no_pickle_is_malformed(data):
    for load in (lambda data: pickle.loads(data), lambda data: pickle.load(Slow(data))):
        with guard(), pytest.raises(Unsafe) as caught:
            load(data)
        assert caught.value.report.verdict is scan.Verdict.MALFORMED
    with guard(), pytest.raises(EOFError):
        pickle.load(io.BytesIO())


# weights_only.


def modes(monkeypatch):
    """Which unpickler was in use for each load of torch."""
    seen = []
    load = torch.serialization._load

    def spy(zip_file, map_location, module, *args, **kwargs):
        seen.append(module.__name__.rpartition(".")[2])
        return load(zip_file, map_location, module, *args, **kwargs)

    monkeypatch.setattr(torch.serialization, "_load", spy)
    return seen


def test_weights_are_loaded_with_weights_only_whatever_was_asked_for(tmp_path, monkeypatch):
    seen = modes(monkeypatch)
    storages = []
    read = torch._C.PyTorchFileReader.get_storage_from_record
    torch.save({"a": torch.arange(3.0)}, tmp_path / "weights.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with guard():
        unrestricted(tmp_path / "weights.pt")
        assert seen == ["_weights_only_unpickler"]
        del seen[:]

        class Reader(torch._C.PyTorchFileReader):
            def get_storage_from_record(self, *args):
                storages.append(args[0])
                return read(self, *args)

        monkeypatch.setattr(torch._C, "PyTorchFileReader", Reader)
        unrestricted(tmp_path / "module.pt")
    assert seen == ["_weights_only_unpickler", "pickle"]
    assert len(storages) == len(set(storages)) == 2  # nothing was read twice
    unrestricted(tmp_path / "weights.pt")
    assert seen[-1] == "pickle"


# Which names are let through.


def test_tiers_and_names(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    data = pickle.dumps(types.SimpleNamespace, 2)
    fraction = b"\x80\x02ccolorsys\nrgb_to_hsv\n."
    allowed = {("colorsys", "rgb_to_hsv"): Grant(Use.VALUE)}
    with guard():
        unrestricted(tmp_path / "module.pt")
        pickle.loads(data)
        with pytest.raises(Unsafe):
            pickle.loads(fraction)
    with guard(tier=Tier.WEIGHTS), pytest.raises(Unsafe):
        unrestricted(tmp_path / "module.pt")
    with guard(allowed=allowed):
        pickle.loads(fraction)
        with guard(allowed=allowed, tier=Tier.WEIGHTS):  # what all agree on
            pickle.loads(fraction)
            with pytest.raises(Unsafe):
                pickle.loads(data)
        with guard(), pytest.raises(Unsafe):
            pickle.loads(fraction)
        pickle.loads(fraction)


# Activation.


def places():
    """Every place that a guard changes, with what stands there."""
    out = {}
    for name, table in TABLE.items():
        for path in table:
            owner = sys.modules.get(name)
            *outer, attribute = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            if owner is not None and hasattr(owner, attribute):
                out[name, path] = getattr(owner, attribute)
    return out


def look_within(before):
    during = places()
    assert all(during[key] is not before[key] or "_unpickler" in key for key in before)
    assert torch.load is torch.serialization.load
    assert Early.__bases__ != (pickle.Unpickler,)
    with guard():
        assert places() == during
    assert places() == during
    raise ZeroDivisionError


def test_everything_is_put_back():
    before, finders = places(), list(sys.meta_path)
    assert len(before) > 15
    with pytest.raises(ZeroDivisionError), guard():
        look_within(before)
    assert places() == before
    assert sys.meta_path == finders
    assert Early.__bases__ == (pickle.Unpickler,)


def test_what_somebody_else_puts_in_a_place_is_not_lost(monkeypatch, mark):
    calls = []
    original = pickle.loads
    monkeypatch.setattr(pickle, "loads", lambda data: calls.append("before") or original(data))
    with guard():
        guarded = pickle.loads
        pickle.loads(pickle.dumps(1))
        pickle.loads = lambda data: calls.append("within") or guarded(data)
        with pytest.raises(Unsafe):
            pickle.loads(payload(mark))
    pickle.loads(payload(mark))
    assert calls == ["before", "within", "within", "before"]
    assert ran(mark)  # the guard is over for those who kept a reference


def test_all_threads_are_guarded(mark):
    found = []

    def work():
        try:
            pickle.loads(payload(mark))
        except Unsafe as error:
            found.append(error)

    with guard():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(found) == 1
    assert not ran(mark)


def test_a_refusal_is_told(mark):
    told = []
    end = events.subscribe(told.append)
    with guard(), pytest.raises(Refused):
        pickle.loads(payload(mark))
    end()
    assert [event.kind for event in told] == ["scan.refused"]
    assert told[0].details["verdict"] == "dangerous"
    assert told[0].details["rule"] == "TK-SCAN-010"
    assert not ran(mark)


def test_an_error_can_be_sent_to_another_process(mark):
    with guard(), pytest.raises(Unsafe) as caught:
        pickle.loads(payload(mark))
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.report.verdict is scan.Verdict.DANGEROUS
    assert issubclass(loading.Unsafe, Refused)


def test_a_file_of_safetensors_is_left_to_its_library(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({"a": torch.arange(3)}, tmp_path / "x.safetensors")
    with guard():
        assert torch.load(tmp_path / "x.safetensors")["a"].tolist() == [0, 1, 2]
    shutil.rmtree(tmp_path)
