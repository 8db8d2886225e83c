"""A file that is changed in place between the look and the load: what was scanned is loaded."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile

import pytest
from doubles.payloads import payload, ran
from doubles.zips import Record, archive

from torchkeep.scan import Unsafe, guard
from torchkeep.scan.loading import refusal

torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")
joblib = pytest.importorskip("joblib", reason="joblib belongs to the test group: make test")
pytestmark = pytest.mark.filterwarnings("ignore")

NOTE = "x" * 400  # stands in a pickle, and leaves room for a payload


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "mark"


def spoil(path, mark):
    """Write a payload over the pickle that holds the note, in place."""
    data = path.read_bytes()
    start = data.rindex(b"\x80", 0, data.index(NOTE.encode()))
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(payload(mark))


@pytest.fixture
def change(monkeypatch, mark):
    """Spoils a file as soon as it has been scanned."""

    def arm(path):
        scan = refusal.files.opened

        def opened(*args, **kwargs):
            report = scan(*args, **kwargs)
            monkeypatch.undo()
            spoil(path, mark)
            return report

        monkeypatch.setattr(refusal.files, "opened", opened)

    return arm


THING = {"note": NOTE, "w": [1, 2, 3]}
ARRAY = numpy.array([NOTE, None], dtype=object)


def unrestricted(path, **kwargs):
    return torch.load(path, weights_only=False, **kwargs)


def in_file(load):
    def run(path):
        with open(path, "rb") as file:
            return load(file)

    return run


def keyed(path):
    with numpy.load(path, allow_pickle=True) as found:
        return found["x"].tolist()


CASES = {
    "zip": (lambda path: torch.save(THING, path), unrestricted, THING),
    "zip, weights": (lambda path: torch.save(THING, path), lambda path: torch.load(path), THING),
    "zip, open": (lambda path: torch.save(THING, path), in_file(unrestricted), THING),
    "legacy": (
        lambda path: torch.save(THING, path, _use_new_zipfile_serialization=False),
        unrestricted,
        THING,
    ),
    "joblib": (lambda path: joblib.dump(THING, path), lambda path: joblib.load(path), THING),
    "npy": (
        lambda path: numpy.save(path.open("wb"), ARRAY),
        lambda path: numpy.load(path, allow_pickle=True).tolist(),
        ARRAY.tolist(),
    ),
    "npz": (lambda path: numpy.savez(path.open("wb"), x=ARRAY), keyed, ARRAY.tolist()),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_scanned_is_loaded(case, tmp_path, mark, change):
    make, load, expected = CASES[case]
    path = tmp_path / "file"
    make(path)
    change(path)
    with guard():
        assert load(path) == expected
    assert not ran(mark)
    if case not in ("zip, weights", "npz"):  # which look at more than the pickle themselves
        with contextlib.suppress(Exception):
            load(path)
        assert ran(mark)  # what lies there now


def test_a_file_that_torch_maps_is_looked_at_again(tmp_path, mark, change):
    path = tmp_path / "file.pt"
    torch.save(THING, path)
    change(path)
    with guard(), pytest.raises(Unsafe):
        unrestricted(path, mmap=True)
    assert not ran(mark)
    unrestricted(path, mmap=True)
    assert ran(mark)


def test_raw_numbers_come_from_the_file(tmp_path, monkeypatch):
    """Only they do: nothing of a gigabyte is read twice."""
    path = tmp_path / "file.pt"
    torch.save({"w": torch.arange(50_000.0)}, path)
    numbers = torch.arange(50_000.0).numpy().tobytes()
    data = path.read_bytes()
    path.write_bytes(data)
    scan = refusal.files.opened

    def opened(*args, **kwargs):
        report = scan(*args, **kwargs)
        with open(path, "r+b") as file:
            file.seek(data.index(numbers) + 100_000)
            file.write(bytes(4))
        return report

    monkeypatch.setattr(refusal.files, "opened", opened)
    with guard():
        loaded = torch.load(path)["w"]
    assert loaded[25_000] == 0
    assert loaded[24_999] == 24_999


class Counts(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.note = NOTE

    def forward(self) -> int:
        return self.note.count("y")


def test_a_script_is_the_one_that_was_scanned(tmp_path, monkeypatch):
    """Its unpickler is native code, so that nothing looks at it again."""
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(Counts()), path)
    scan = refusal.files.opened

    def opened(*args, **kwargs):
        report = scan(*args, **kwargs)
        path.write_bytes(path.read_bytes().replace(NOTE.encode(), b"y" * len(NOTE)))
        return report

    monkeypatch.setattr(refusal.files, "opened", opened)
    with guard():
        assert torch.jit.load(path)() == 0
    assert torch.jit.load(path)() == len(NOTE)


@pytest.fixture
def exported(tmp_path):
    """An exported program of which a weight is pickled, as torch itself does with some."""
    path = tmp_path / "model.pt2"
    program = torch.export.export(torch.nn.Linear(2, 3), (torch.zeros(1, 2),))
    torch.export.save(program, path)
    name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(path) as made:
        root = made.namelist()[0].split("/")[0]
        records = {key.removeprefix(f"{root}/"): made.read(key) for key in made.namelist()}
    weight = io.BytesIO()
    torch.save({"note": NOTE}, weight)
    records[name] = records[name].replace(b'"use_pickle": false', b'"use_pickle": true')
    records |= {key: weight.getvalue() for key in records if key.startswith("data/weights/weight")}
    path.write_bytes(archive(*(Record(f"{root}/{k}".encode(), v) for k, v in records.items())))
    return path


def test_an_exported_program_is_the_one_that_was_scanned(exported, mark, change):
    change(exported)
    with guard(), pytest.raises(Exception, match=r"(?i)dict|tensor|expected") as caught:
        torch.export.load(exported)  # what is loaded is the note, and no weight
    assert not isinstance(caught.value, Unsafe)
    assert not ran(mark)
    with pytest.raises(Exception):  # noqa: B017, PT011
        torch.export.load(exported)
    assert ran(mark)


def test_a_pickle_is_read_once(tmp_path, mark, monkeypatch):
    from torchkeep.scan.loading import unpickle

    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(THING, 2))
    judge = unpickle.require_clean

    def clean(report):
        judge(report)
        spoil(path, mark)

    monkeypatch.setattr(unpickle, "require_clean", clean)
    with open(path, "rb") as file, guard():
        assert pickle.load(file) == THING
    with open(path, "rb") as file:
        pickle.load(file)
    assert ran(mark)
