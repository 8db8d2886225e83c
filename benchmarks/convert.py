"""How fast ``convert`` is beside a plain copy of the same bytes, and how much memory it takes.

Claims: converting a checkpoint takes at most 1 / 0.7 of the time of a copy with fsync, for files of
``torch.save`` of today and of before torch 1.6, and at most 64 MB of memory beyond the largest
tensor, contiguous or not.

Each is a process of its own, so that what Python needs to start counts. They run in turn, in an
order drawn anew for each round; the first round fills the page cache and is thrown away. The peer
is what people do without it: ``torch.load``, then ``safetensors.torch.save_file``.

    python benchmarks/convert.py [--runs 20] [--megabytes 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Sample, interval, rounds, verdict

TENSORS = 200
LEAST = 0.7  # of the speed of a copy
MOST_MB = 64  # beyond the largest tensor

MAKE = """
import sys, torch
folder, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
side = int((size / count / 4) ** 0.5)
torch.manual_seed(0)
state = {f"layers.{n}.weight": torch.randn(side, side) for n in range(count)}
torch.save(state, folder + "/zip.pt")
torch.save(state, folder + "/legacy.pt", _use_new_zipfile_serialization=False)
side = int((size / 5 / 4) ** 0.5)
torch.save({"w": torch.randn(side, side).t()}, folder + "/strided.pt")
print(side * side * 4)
"""
CONVERT = """
import sys
from torchkeep import scan
scan.convert(*sys.argv[1:], overwrite=True)
"""
COPY = """
import os, sys
buffer = memoryview(bytearray(4 << 20))
with open(sys.argv[1], "rb", 0) as old, open(sys.argv[2] + ".tmp", "wb", 0) as new:
    while count := old.readinto(buffer):
        new.write(buffer[:count])
    os.fsync(new.fileno())
os.replace(sys.argv[2] + ".tmp", sys.argv[2])
"""
PEER = """
import os, sys, torch
from safetensors.torch import save_file
state = torch.load(sys.argv[1], weights_only=True)
save_file(state, sys.argv[2], metadata={"format": "pt"})
os.fsync(os.open(sys.argv[2], os.O_RDONLY))
"""
NOTHING = "import sys; from torchkeep import scan; scan.convert"
STATED = """
import sys
from torchkeep import scan
scan.convert(*sys.argv[1:], overwrite=True).statement()
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def commands(folder: str) -> dict[str, list[str]]:
    zipped, legacy, strided = (f"{folder}/{name}.pt" for name in ("zip", "legacy", "strided"))
    target = f"{folder}/out.safetensors"
    return {
        "copy": python(COPY, zipped, target),
        "convert, zip": python(CONVERT, zipped, target),
        "convert, legacy": python(CONVERT, legacy, target),
        "convert and hash": python(STATED, zipped, target),
        "torch and safetensors": python(PEER, zipped, target),
        "copy, strided": python(COPY, strided, target),
        "convert, strided": python(CONVERT, strided, target),
        "start": python(NOTHING),
    }


def against(samples: dict[str, list[Sample]], name: str, other: str) -> tuple[float, float, float]:
    """Speed of one as a share of that of another, over pairs of the same round."""
    pairs = zip(samples[name], samples[other], strict=True)
    return interval([theirs.wall / ours.wall for ours, theirs in pairs])


def speeds(samples: dict[str, list[Sample]]) -> dict[str, object]:
    out: dict[str, object] = {}
    print(f"{'':22} {'wall ms (95 % interval)':>26} {'CPU ms':>8} {'peak MB':>8}   speed / copy")
    for name, found in samples.items():
        wall = interval([sample.wall for sample in found])
        cpu = interval([sample.cpu for sample in found])[0]
        peak = max(sample.peak for sample in found)
        beside = "copy, strided" if name.endswith("strided") else "copy"
        ratio = against(samples, name, beside) if name not in (beside, "start") else None
        shown = f"{wall[0]:.0f} ({wall[1]:.0f}-{wall[2]:.0f})"
        share = f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f})" if ratio else ""
        print(f"{name:22} {shown:>26} {cpu:8.0f} {peak:8.0f}   {share}")
        out[name] = {"wall_ms": wall, "cpu_ms": cpu, "peak_mb": peak, "ratio": ratio}
    return out


def claims(samples: dict[str, list[Sample]], strided: int) -> dict[str, bool]:
    """Whether the whole interval holds, and whether no run took more memory."""
    held = {}
    for name in ("convert, zip", "convert, legacy"):
        held[f"{name}: >= {LEAST} x copy"] = against(samples, name, "copy")[1] >= LEAST
    for name, largest in (
        ("convert, zip", 0),
        ("convert, legacy", 0),
        ("convert, strided", strided),
    ):
        peak = max(sample.peak for sample in samples[name]) - largest / 1e6
        held[f"{name}: <= {MOST_MB} MB beyond the largest tensor"] = peak <= MOST_MB
    for claim, holds in held.items():
        print(f"claim: {claim}: {verdict(holds)}")
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="rounds that count")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the checkpoints")
    parser.add_argument("--folder", type=Path, help="where to work: on the disk to measure")
    given = parser.parse_args()
    before = os.getloadavg()[0]
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} CPUs, {given.runs} runs,", end=" ")
    print(f"{given.megabytes} MB in {TENSORS} tensors, one of a fifth of that transposed")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        size = str(given.megabytes * 1_000_000)
        made = subprocess.run(
            python(MAKE, folder, size, str(TENSORS)), capture_output=True, check=True
        )
        samples = rounds(commands(folder), given.runs)
    result = {"speeds": speeds(samples), "claims": claims(samples, int(made.stdout))}
    load = (before, os.getloadavg()[0])
    print(f"load of the machine: {load[0]:.1f} before, {load[1]:.1f} after")
    print(json.dumps({"benchmark": "convert", "runs": given.runs, "load": load, **result}))


if __name__ == "__main__":
    main()
