"""How soon ``torchkeep --help`` answers, and what ``pip install torchkeep`` brings.

Claims: ``--help`` answers within 150 ms, and the core installs at most 12 packages and no torch.

Every command runs once per round, in an order drawn anew for each, so that whatever the machine
does besides falls on all of them. The first round is thrown away: it fills the page cache. Peers
that are not installed beside this Python are reported as absent.

    python benchmarks/startup.py [--runs 20] [--no-install]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import Sample, interval, rounds, verdict

ROOT = Path(__file__).parents[1]
HERE = Path(sys.executable).parent
LIMIT_MS = 150
LIMIT_PACKAGES = 12
BASE = "python -c pass"
OURS = "torchkeep --help"
PEERS = ("pip-audit --help", "picklescan --help")


def installed(command: str) -> list[str] | None:
    """The command with its program beside this Python; None where there is none."""
    name, *rest = command.split()
    program = sys.executable if name == "python" else shutil.which(name, path=HERE)
    return [program, *rest] if program else None


def ratios(samples: dict[str, list[Sample]], other: str) -> tuple[float, float, float]:
    pairs = zip(samples[OURS], samples[other], strict=True)
    return interval([ours[0] / theirs[0] for ours, theirs in pairs])


def start_up(runs: int) -> dict[str, object]:
    commands = {name: installed(name) for name in (BASE, OURS, *PEERS)}
    present = {name: command for name, command in commands.items() if command}
    if OURS not in present:
        raise SystemExit("torchkeep is not installed beside this Python; run: make test")
    samples = rounds(present, runs)
    out: dict[str, object] = {}
    print(f"{'command':20} {'wall ms (95 % interval)':>28} {'CPU ms':>9}   ours / it, pairs")
    for name in commands:
        if name not in samples:
            print(f"{name:20} {'absent':>28}")
            out[name] = None
            continue
        wall, cpu = (interval([sample[n] for sample in samples[name]]) for n in (0, 1))
        ratio = ratios(samples, name)
        beside = f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f})" if name != OURS else ""
        shown = f"{wall[0]:.0f} ({wall[1]:.0f}-{wall[2]:.0f})"
        print(f"{name:20} {shown:>28} {cpu[0]:9.0f}   {beside}")
        out[name] = {"wall_ms": wall, "cpu_ms": cpu, "ratio": ratio}
    _, _, high = interval([sample[0] for sample in samples[OURS]])
    holds = high <= LIMIT_MS
    print(f"claim: --help <= {LIMIT_MS} ms: {verdict(holds)}")
    if not holds and os.getloadavg()[0] > (os.cpu_count() or 1):
        print("  the machine had more to do than it has CPUs: wall time says little, CPU time more")
    return {"commands": out, "holds": holds}


def install() -> dict[str, object]:
    """Install the core into an environment of its own and look at what came with it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        quiet = ["--disable-pip-version-check", "--quiet"]
        start = time.perf_counter()
        subprocess.run([python, "-m", "pip", "install", *quiet, ROOT], check=True)
        seconds = time.perf_counter() - start
        listed = subprocess.run(
            [python, "-m", "pip", *quiet[:1], "list", "--format", "json"],
            check=True,
            capture_output=True,
        ).stdout
        names = {entry["name"] for entry in json.loads(listed)} - {"pip", "setuptools"}
        size = sum(map(bytes_of, Path(folder).glob("lib/python*/site-packages/*"))) / 1e6
    holds = len(names) <= LIMIT_PACKAGES and "torch" not in names
    print(f"pip install of the core: {len(names)} packages, {size:.1f} MB, {seconds:.0f} s")
    print(f"  {', '.join(sorted(names))}")
    print(f"claim: <= {LIMIT_PACKAGES} packages, no torch: {verdict(holds)}")
    return {"packages": sorted(names), "megabytes": round(size, 1), "holds": holds}


def bytes_of(path: Path) -> int:
    """What an installed package takes, without pip itself and without compiled caches."""
    if path.name.startswith(("pip", "setuptools", "_distutils_hack", "distutils-precedence")):
        return 0
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc")


def attempt(work: Callable[[], dict[str, object]]) -> dict[str, object] | None:
    """Without an index of packages there is no installation, and the rest still counts."""
    try:
        return work()
    except subprocess.CalledProcessError as error:
        print(f"not measured: {error.cmd[2]} ended with {error.returncode}")
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="rounds that count")
    parser.add_argument("--no-install", action="store_true", help="leave out the installation")
    given = parser.parse_args()
    before = os.getloadavg()[0]
    print(
        f"python {sys.version.split()[0]}, {os.cpu_count()} CPUs, 1 thread each, {given.runs} runs"
    )
    result = {"startup": start_up(given.runs)}
    result["install"] = None if given.no_install else attempt(install)
    load = (before, os.getloadavg()[0])
    print(f"load of the machine: {load[0]:.1f} before, {load[1]:.1f} after")
    print(json.dumps({"benchmark": "startup", "runs": given.runs, "load": load, **result}))


if __name__ == "__main__":
    main()
