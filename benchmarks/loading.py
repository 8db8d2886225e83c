"""What the guard adds to ``torch.load``.

Claim: a guarded load of a checkpoint of 100 MB and more takes at most 5 % longer than an unguarded
one. Files are in the page cache; that is the hardest case, since a disk would hide the scan.

Every pair loads the same file with and without the guard, in an order drawn anew. With
``mmap=True`` nothing is read but the pickle: there no claim is made, and milliseconds are shown.
fickling's hook is measured beside it where that is installed.

    python benchmarks/loading.py [--pairs 20] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
from measure import interval, verdict

from torchkeep import scan

LIMIT = 1.05
SIZES = ((100, 60), (1000, 300))  # 10^6 bytes, tensors
Guard = Callable[[], AbstractContextManager[object]]


def write(path: Path, megabytes: int, tensors: int, *, legacy: bool) -> None:
    each = megabytes * 1_000_000 // 4 // tensors
    state = {f"layers.{number}.weight": torch.randn(each) for number in range(tensors)}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)


def once(path: Path, guard: Guard, mmap: bool) -> tuple[float, float]:
    """Wall and CPU time of one load, in milliseconds; what the guard costs to enter counts too."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    with guard():
        torch.load(path, weights_only=True, mmap=mmap)
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def pairs(path: Path, guard: Guard, count: int, mmap: bool) -> dict[str, object]:
    chance = random.Random(0)
    ways = [("plain", nullcontext), ("guarded", guard)]
    taken: dict[str, list[tuple[float, float]]] = {"plain": [], "guarded": []}
    for number in range(count + 1):
        chance.shuffle(ways)
        for name, way in ways:
            sample = once(path, way, mmap)
            if number:
                taken[name].append(sample)
    plain, guarded = taken["plain"], taken["guarded"]
    both = list(zip(guarded, plain, strict=True))
    return {
        "plain_ms": interval([one[0] for one in plain]),
        "guarded_ms": interval([one[0] for one in guarded]),
        "added_cpu_ms": interval([a[1] - b[1] for a, b in both]),
        "ratio": interval([a[0] / b[0] for a, b in both]),
    }


@contextmanager
def _fickling():
    import fickling

    fickling.hook.activate_safe_ml_environment()
    try:
        yield
    finally:
        fickling.hook.deactivate_safe_ml_environment()


def show(name: str, found: dict[str, object]) -> None:
    plain, guarded, ratio = found["plain_ms"], found["guarded_ms"], found["ratio"]
    added = found["added_cpu_ms"]
    print(
        f"{name:38} {plain[0]:8.1f} {guarded[0]:8.1f} {added[0]:8.1f}"
        f"   {ratio[0]:.3f} ({ratio[1]:.3f}-{ratio[2]:.3f})"
    )


def measured(folder: Path, count: int) -> dict[str, dict[str, object]]:
    out = {}
    print(f"{'':38} {'plain':>8} {'guarded':>8} {'CPU more':>8}   guarded / plain, in pairs")
    for megabytes, tensors in SIZES:
        for form in ("zip", "legacy"):
            path = folder / f"{megabytes}-{form}.pt"
            write(path, megabytes, tensors, legacy=form == "legacy")
            for mmap in (False, True) if form == "zip" else (False,):
                name = f"{megabytes} MB, {tensors} tensors, {form}{', mmap' if mmap else ''}"
                out[name] = pairs(path, scan.guard, count, mmap)
                show(name, out[name])
            if find_spec("fickling") is not None and form == "zip":
                name = f"{megabytes} MB, {tensors} tensors, zip, fickling"
                out[name] = pairs(path, _fickling, count, False)
                show(name, out[name])
            path.unlink()
    if find_spec("fickling") is None:
        print(f"{'fickling':38} {'absent':>8}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20, help="pairs that count")
    parser.add_argument("--folder", help="where to write the files; 1 GB of room is needed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {os.cpu_count()} CPUs, 1 thread, {given.pairs} pairs, ms")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = measured(Path(folder), given.pairs)
    claimed = [name for name in found if name.endswith(("zip", "legacy"))]
    held = {name: found[name]["ratio"][1] <= LIMIT for name in claimed}
    load = (before, os.getloadavg()[0])
    for name, holds in held.items():
        print(f"claim: {name}: at most 5 % longer: {verdict(holds)}")
    print(f"load of the machine: {load[0]:.1f} before, {load[1]:.1f} after")
    print(
        json.dumps(
            {
                "benchmark": "loading",
                "pairs": given.pairs,
                "load": load,
                "files": found,
                "holds": held,
            }
        )
    )


if __name__ == "__main__":
    main()
