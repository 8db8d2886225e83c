"""``make demo``: one real project through the loop, as far as the rooms stand.

The project in examples/census is copied to build/demo, so that the repository stays as it is.
Each stage says what it does, runs the very command that a user would type, and checks that the
command ended as it should.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from torchkeep.core import digest, source

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "build" / "demo"


def stage(title: str) -> None:
    """Announce what comes."""
    print(f"\n\033[1m== {title}\033[0m" if sys.stdout.isatty() else f"\n== {title}", flush=True)


def run(*command: str, status: int = 0) -> None:
    """Run one command in the project; stop the demo where it ends otherwise than it should."""
    print(f"$ {' '.join(command)}", flush=True)
    program = (
        [sys.executable, "-P", "-m", "torchkeep"] if command[0] == "torchkeep" else [sys.executable]
    )
    ended = subprocess.run([*program, *command[1:]], cwd=PROJECT).returncode
    if ended != status:
        sys.exit(f"demo: '{' '.join(command)}' ended with {ended}, expected {status}")


def same_content(*names: str) -> None:
    """Stop the demo where files do not hold the same weights."""
    found = set()
    for name in names:
        with source.open(PROJECT / name) as opened:
            content = digest.safetensors_content(opened)
        found.add(content)
        print(f"{name:28} {content[:16]}...")
    if len(found) != 1:
        sys.exit(f"demo: {' and '.join(names)} hold different weights")


def change(name: str, at: int) -> None:
    """Flip one bit of one byte."""
    data = bytearray((PROJECT / name).read_bytes())
    data[at] ^= 1
    (PROJECT / name).write_bytes(data)
    print(f"{name}: byte {at} is another one now")


def main() -> None:
    """Run every stage."""
    started = time.monotonic()
    shutil.rmtree(PROJECT, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "census", PROJECT)

    stage("A real project: an income classifier on census data, and one for images of clothes")
    run("python", "train.py")

    stage("What goes wrong in real projects: a model somebody sent, a key somebody forgot")
    run("python", "plant.py")

    stage("Audit: what is open, and what closes it (nothing of the project is executed)")
    run("torchkeep", "audit", "--lang", "en", status=1)

    stage("The model somebody sent, by itself: what would loading it do?")
    run("torchkeep", "scan", "legacy_income.pt", "--lang", "en", status=1)

    stage("Why the first row matters")
    run("torchkeep", "explain", "TK-SCAN-002", "--lang", "en")

    stage("A way out: convert refuses what holds code, and takes the bare weights when told to")
    run("torchkeep", "convert", "legacy_income.pt", "--lang", "en", status=1)
    run("torchkeep", "convert", "--salvage", "legacy_income.pt", "--lang", "en")

    stage("Do they say what the owner's weights say? The same content digest, under any name")
    same_content("income.safetensors", "legacy_income.safetensors")

    stage("The owner mends both mistakes")
    run("python", "mend.py")

    stage("Audit again: what was closed, and what is still open")
    run("torchkeep", "audit", "--lang", "en", status=0)

    stage(
        "Seal a model for two people, signed: a stolen file is worthless, a changed one is refused"
    )
    for name in ("alice", "bob"):
        run("torchkeep", "key", "new", "-o", f"{name}.key", "--unencrypted")
    run("torchkeep", "key", "new", "--sign", "-o", "release.key", "--unencrypted")
    to = ("--to", "alice.key.pub", "--to", "bob.key.pub")
    run("torchkeep", "seal", "income.safetensors", "-o", "income.tks", *to, "--sign", "release.key")
    run("torchkeep", "verify", "income.tks", "--trust", "release.key.pub", "--lang", "en")
    run("python", "load_sealed.py")

    stage("One byte of it is changed")
    change("income.tks", at=5000)
    run("torchkeep", "verify", "income.tks", "--trust", "release.key.pub", "--lang", "en", status=1)

    report = (PROJECT / ".torchkeep" / "report.html").relative_to(ROOT)
    print(f"\nThe report, to open in a browser: {report}")
    print(f"The demo took {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
