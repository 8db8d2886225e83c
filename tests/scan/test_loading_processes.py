"""The guard in processes: libraries that are imported later, and workers."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from doubles.payloads import payload, ran

from torchkeep.scan import Unsafe, guard

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


def attempt(data):
    """What becomes of a payload in a worker."""
    try:
        pickle.loads(data)
    except Unsafe:
        return "refused"
    return "loaded"


class Items(torch.utils.data.Dataset):
    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.tensor([index, attempt(self.data) == "refused"])


def load_all(data, method):
    loader = torch.utils.data.DataLoader(Items(data), num_workers=1, multiprocessing_context=method)
    return torch.cat(list(loader)).tolist()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_are_guarded(method, tmp_path):
    data = payload(tmp_path / "mark")
    with guard():
        assert load_all(data, method) == [[0, 1], [1, 1]]
    assert not ran(tmp_path / "mark")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_pool_are_guarded(method, tmp_path):
    data, context = payload(tmp_path / "mark"), multiprocessing.get_context(method)
    with guard(), concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        assert pool.submit(attempt, data).result() == "refused"
    assert not ran(tmp_path / "mark")


def test_a_worker_without_a_guard_is_not_guarded(tmp_path):
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        assert pool.submit(attempt, payload(tmp_path / "mark")).result() == "loaded"
    assert ran(tmp_path / "mark")


LATE = """
import os, pickle, sys
from torchkeep.scan import Unsafe, guard, install
heavy = {"torch", "numpy", "joblib"}
mode, folder = sys.argv[1:]
def refused(load, *args, **kwargs):
    try:
        load(*args, **kwargs)
    except Unsafe:
        return True
def look():
    import joblib, numpy, torch
    import torch.distributed.checkpoint
    assert torch.load is torch.serialization.load
    out = [refused(torch.load, folder + "/x.pt", weights_only=False),
           refused(torch.jit.load, folder + "/x.pt"),
           refused(torch.hub.load, folder, "m", source="local"),
           refused(numpy.load, folder + "/x.npy", allow_pickle=True),
           refused(joblib.load, folder + "/x.joblib")]
    assert out == [True] * 5, out
    import multiprocessing.reduction
    assert multiprocessing.reduction.pickle is not pickle
if mode == "guard":
    with guard():
        assert not heavy & sys.modules.keys()
        look()
    import torch, numpy, joblib
    for load in (torch.load, torch.serialization.load, torch.jit.load, torch.hub.load, numpy.load,
                 joblib.load, joblib.numpy_pickle.load, pickle.load, pickle.loads):
        assert "torchkeep" not in load.__code__.co_filename if hasattr(load, "__code__") else True
    assert pickle.Unpickler.__module__ == "_pickle"
    assert torch.__spec__.loader is torch.__loader__
    assert "torchkeep" not in type(torch.__loader__).__module__
else:
    install()
    look()
assert not os.path.exists(folder + "/mark")
"""


@pytest.mark.parametrize("mode", ["guard", "install"])
def test_what_is_imported_later_is_guarded(mode, tmp_path):
    pytest.importorskip("joblib", reason="joblib belongs to the test group: make test")
    data = payload(tmp_path / "mark", 2)
    for name in ("x.pt", "x.npy", "x.joblib"):
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LATE, mode, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


SCRIPT = """
import multiprocessing, sys
from torchkeep.scan import install
install()
class Sent:
    def __init__(self, value):
        self.value = value
def work(sent, queue):
    queue.put(Sent(sent.value + 1))
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    process = context.Process(target=work, args=(Sent(1), queue))
    process.start()
    print(queue.get().value)
    process.join()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_talks_to_its_children_as_ever(method, tmp_path: Path):
    """A script that installs the guard when it is imported, as a child does with it."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", method], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
