"""How long ``torchkeep scan`` takes, what it holds in memory, and what it sees, beside its peers.

Claims: the whole command takes at most 120 ms for a tiny pickle; 600 ms and 100 MB for 20,000
tensors; 150 ms and 40 MB for a checkpoint of 200 MB, and for one of 5 GB. In one process the median
file takes at most 2 ms. Of a checkpoint of 200 MB on a web server at most 1 % is fetched. No
malicious file of the corpus (benchmarks/corpus.py) is called clean or skipped.

Each tool is a process of its own, as its own command. They run in turn, in an order drawn anew for
each round; the first round is thrown away. What takes more than two seconds runs fewer rounds. The
large checkpoints are files with holes where the tensors lie, so reading them costs no disk. Peers
are looked for beside this Python, then in the virtual environment that --peers names (modelscan
wants older libraries than the tests do); one that is in neither is reported as absent.

    python benchmarks/scan.py [--runs 20] [--slow-runs 5] [--peers VENV] [--no-corpus]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import ENVIRONMENT, Sample, interval, rounds, verdict

ROOT = Path(__file__).parents[1]
OURS = "torchkeep"
# The command of fickling reads bare pickles; for archives its library has a function of its own,
# which what it does with a whole repository of models uses.
FICKLING = """
import sys, zipfile
from fickling.analysis import Severity
from fickling.loader import scan_file, scan_zip_archive
path = sys.argv[1]
is_zip = zipfile.is_zipfile(path)
found = scan_zip_archive(path, graceful=True).values() if is_zip else [scan_file(path, True)]
unsafe = any(one.severity > Severity.LIKELY_SAFE for each in found for one in each.results)
sys.exit(3 if not found else 1 if unsafe else 2 if any(each.errors for each in found) else 0)
"""
PROGRAMS = {
    OURS: ["torchkeep", "scan"],
    "picklescan": ["picklescan", "-p"],
    "picklescan --strict": ["picklescan", "--strict", "-p"],
    "fickling": ["fickling", "-c", FICKLING],
    "modelscan": ["modelscan", "scan", "-p"],
}
MAKE = """
import pickle, sys, torch
from pathlib import Path
folder = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from doubles.sparse import checkpoint
(folder / "tiny.pkl").write_bytes(pickle.dumps({"a": 1}))
torch.save({f"layers.{n}.weight": torch.zeros(4) for n in range(20_000)}, folder / "tensors.pt")
checkpoint(folder / "200mb.pt", 200_000_000, 300)
checkpoint(folder / "5gb.pt", 5_000_000_000, 300)
"""
EACH = """
import json, sys, time
from torchkeep import scan
times = []
for path in sys.argv[1:]:
    start = time.perf_counter()
    scan.file(path)
    times.append((time.perf_counter() - start) * 1000)
print(json.dumps(times))
"""
# What is measured, and the most that we may take: milliseconds, and 10^6 bytes.
CASES = {
    "tiny.pkl": (120, None),
    "tensors.pt": (600, 100),
    "200mb.pt": (150, 40),
    "5gb.pt": (150, 40),
}
MEDIAN_MS = 2
FETCHED = 0.01
SMALL = 1 << 24  # bytes of the largest file that counts for the median
PATIENCE = 60  # seconds that a tool may take for a file of the corpus
MEMORY = 4 << 30  # bytes that it may take

ANSWERS = {0: "clean", 1: "flagged", 3: "skipped"}
"""What exit statuses mean, here as there: skipped is what a tool did not look at."""


def commands(peers: Path | None) -> dict[str, list[str] | None]:
    """Each tool's command; None where it is not installed."""
    places = [Path(sys.executable).parent, *([peers / "bin"] if peers else [])]
    path = os.pathsep.join(map(str, places))
    out: dict[str, list[str] | None] = {}
    for name, (program, *rest) in PROGRAMS.items():
        found = shutil.which(program, path=path)
        if found and program == "fickling":
            found = str(Path(found).with_name("python"))
        out[name] = [found, *rest] if found else None
    if out[OURS] is None:
        raise SystemExit("torchkeep is not installed beside this Python; run: make test")
    return out


def sizes(
    folder: Path, tools: dict[str, list[str]], given: argparse.Namespace
) -> dict[str, object]:
    """Time and memory of each tool for each of the large and small files."""
    script = [sys.executable, "-c", MAKE, str(folder), str(ROOT / "tests")]
    subprocess.run(script, check=True)
    out: dict[str, object] = {}
    for file, (milliseconds, megabytes) in CASES.items():
        todo = {name: [*command, str(folder / file)] for name, command in tools.items()}
        samples = rounds(todo, given.runs, given.slow_runs, range(4))
        print(
            f"{file:20} {'wall ms (95 % interval)':>28} {'CPU ms':>8} {'MB':>6}  rounds  ours / it"
        )
        out[file] = {name: row(name, samples) for name in tools}
        wall = interval([one.wall for one in samples[OURS]])
        peak = max(one.peak for one in samples[OURS])
        holds = wall[2] <= milliseconds and (megabytes is None or peak <= megabytes)
        limit = f"{milliseconds} ms" + (f" and {megabytes} MB" if megabytes else "")
        print(f"claim: {file} <= {limit}: {verdict(holds)}\n")
        out[file] |= {"holds": holds}
    return out


def row(name: str, samples: dict[str, list[Sample]]) -> dict[str, object]:
    """Print and return what one tool took."""
    found = samples[name]
    wall = interval([one.wall for one in found])
    cpu = statistics.median(one.cpu for one in found)
    peak = max(one.peak for one in found)
    pairs = zip(samples[OURS], found, strict=False)
    ratio = interval([ours.wall / theirs.wall for ours, theirs in pairs])
    beside = f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f})" if name != OURS else ""
    shown = f"{wall[0]:.0f} ({wall[1]:.0f}-{wall[2]:.0f})"
    print(f"{name:20} {shown:>28} {cpu:8.0f} {peak:6.0f}  {len(found):6}  {beside}")
    return {"wall_ms": wall, "cpu_ms": cpu, "peak_mb": peak, "rounds": len(found), "ratio": ratio}


def each(folder: Path) -> dict[str, object]:
    """The median time of a file in one process."""
    data = os.environ.get("TORCHKEEP_DATA")
    real = [] if not data else [f for f in sorted(Path(data).rglob("*")) if f.is_file()]
    groups = {"corpus": sorted(folder.rglob("*.*")), "TORCHKEEP_DATA": real}
    out: dict[str, object] = {}
    for name, files in groups.items():
        paths = [str(file) for file in files if file.is_file() and file.stat().st_size <= SMALL]
        if not paths:
            print(f"one process, {name}: absent")
            continue
        script = [sys.executable, "-c", EACH, *paths]
        times = json.loads(subprocess.run(script, check=True, capture_output=True).stdout)
        median, low, high = interval(times)
        holds = high <= MEDIAN_MS
        print(
            f"one process, {name}: {len(times)} files, median {median:.2f} ms "
            f"({low:.2f}-{high:.2f}), slowest {max(times):.0f} ms"
        )
        print(f"claim: median <= {MEDIAN_MS} ms: {verdict(holds)}")
        out[name] = {"files": len(times), "median_ms": (median, low, high), "holds": holds}
    return out


def fetched(folder: Path) -> dict[str, object]:
    """What is fetched of a large file that lies on a web server."""
    sys.path.insert(0, str(ROOT / "tests"))
    from doubles.http import FileServer
    from doubles.sparse import Body

    from torchkeep import scan

    os.environ["NO_PROXY"] = "*"
    out: dict[str, object] = {}
    for file in ("200mb.pt", "5gb.pt"):
        body = Body(folder / file)
        with FileServer(body) as server:
            report = scan.file(server.url)
        body.close()
        share, requests = body.served / len(body), len(server.requests)
        holds = share <= FETCHED and not report.issues
        print(f"over HTTP, {file}: {body.served:,} bytes, {share:.2%}, in {requests} requests")
        print(f"claim: at most {FETCHED:.0%} of its bytes: {verdict(holds)}")
        out[file] = {"share": share, "requests": requests, "holds": holds}
    return out


def seen(folder: Path, tools: dict[str, list[str]]) -> dict[str, object]:
    """What each tool says of each labelled file."""
    out: dict[str, object] = {}
    counts = {label: len(list((folder / label).iterdir())) for label in ("malicious", "benign")}
    print(f"corpus: {counts['malicious']} malicious, {counts['benign']} benign files")
    print(f"{'':20} flagged  clean or skipped  error | benign flagged  benign not clean")
    for name, command in tools.items():
        says = {
            label: [answer(command, file, folder) for file in sorted((folder / label).iterdir())]
            for label in counts
        }
        bad, good = says["malicious"], says["benign"]
        missed = bad.count("clean") + bad.count("skipped")
        flagged, wrong = bad.count("flagged"), good.count("flagged")
        unclean = len(good) - good.count("clean")
        other = len(bad) - flagged - missed
        print(f"{name:20} {flagged:7}  {missed:16}  {other:5} | {wrong:14}  {unclean:16}")
        out[name] = {"flagged": flagged, "missed": missed, "errors": other}
        out[name] |= {"benign_flagged": wrong, "benign_not_clean": unclean}
    holds = out[OURS]["missed"] == 0
    print(f"claim: no malicious file is called clean or skipped: {verdict(holds)}")
    return {"files": counts, "tools": out, "holds": holds}


def answer(command: list[str], file: Path, folder: Path) -> str:
    """What a tool says of a file, by the exit status of its command."""
    try:
        done = subprocess.run(
            [*command, str(file)],
            cwd=folder,  # some tools leave reports where they stand
            env=ENVIRONMENT,
            capture_output=True,
            timeout=PATIENCE,
            preexec_fn=_limit,
        )
    except subprocess.TimeoutExpired:
        return "error"
    return ANSWERS.get(done.returncode, "error")


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def section(work: Callable[[], dict[str, object]]) -> dict[str, object]:
    start = time.perf_counter()
    result = work()
    print(f"({time.perf_counter() - start:.0f} s)\n", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="rounds that count")
    parser.add_argument("--slow-runs", type=int, default=5, help="of what takes over two seconds")
    parser.add_argument("--peers", type=Path, help="virtual environment with more peers")
    parser.add_argument("--no-corpus", action="store_true", help="leave out the labelled files")
    given = parser.parse_args()
    before = os.getloadavg()[0]
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} CPUs, 1 thread each")
    every = commands(given.peers)
    tools = {name: command for name, command in every.items() if command}
    absent = [name for name in every if name not in tools]
    print("absent:", ", ".join(absent) or "none", "\n", flush=True)
    result: dict[str, object] = {"absent": absent}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        result["sizes"] = section(lambda: sizes(folder, tools, given))
        corpus = folder / "corpus"
        subprocess.run([sys.executable, Path(__file__).with_name("corpus.py"), corpus], check=True)
        result["each"] = section(lambda: each(corpus))
        result["fetched"] = section(lambda: fetched(folder))
        result["seen"] = None if given.no_corpus else section(lambda: seen(corpus, tools))
    load = (before, os.getloadavg()[0])
    print(f"load of the machine: {load[0]:.1f} before, {load[1]:.1f} after")
    if max(load) > (os.cpu_count() or 1):
        print("  more than it has CPUs: wall time says little, CPU time and ratios more")
    print(json.dumps({"benchmark": "scan", "runs": given.runs, "load": load, **result}))


if __name__ == "__main__":
    main()
