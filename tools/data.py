"""Says where the larger real data of the tests and benchmarks comes from, and checks it.

Nothing is fetched. Put the files below a folder of your own and set TORCHKEEP_DATA to it; tests
that need them say so and are skipped without.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
from pathlib import Path

CATALOGUE = Path(__file__).with_name("data.toml")


def main() -> int:
    """Print a table; the exit status says whether what is there is what it should be."""
    root = os.environ.get("TORCHKEEP_DATA")
    print(f"TORCHKEEP_DATA = {root or '(not set: nothing is checked)'}\n")
    wrong = 0
    for name, entry in tomllib.loads(CATALOGUE.read_text("utf-8")).items():
        print(
            f"{name}: {entry['what']}\n  from     {entry['origin']}\n  licence  {entry['licence']}"
        )
        for file, expected in entry["files"].items():
            state = _state(Path(root, name, file), expected) if root else "-"
            wrong += state == "WRONG"
            print(f"  {state:8} {expected[:16]}…  {name}/{file}")
        print()
    return 1 if wrong else 0


def _state(path: Path, expected: str) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "ok" if found == expected else "WRONG"


if __name__ == "__main__":
    sys.exit(main())
