"""What an owner does about the two mistakes: ``python mend.py [--out DIR]``, after convert.

``torchkeep convert --salvage`` has taken the weights out of ``legacy_income.pt``. This points the
project file at them and removes the file with the command in it and the forgotten key.
"""

from __future__ import annotations

import argparse
from pathlib import Path

UNSAFE = "legacy_income.pt"
SAFE = "legacy_income.safetensors"
KEY = "signing.pem"


def main() -> None:
    """Mend the project in a folder."""
    parser = argparse.ArgumentParser(description="Mend what plant.py planted.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="DIR")
    out = parser.parse_args().out
    if not (out / SAFE).exists():
        parser.exit(1, f"{SAFE} is missing; run: torchkeep convert --salvage {UNSAFE}\n")
    project = out / "torchkeep.toml"
    project.write_text(project.read_text("utf-8").replace(UNSAFE, SAFE), "utf-8")
    for name in (UNSAFE, KEY):
        (out / name).unlink(missing_ok=True)
    print(f"torchkeep.toml        names {SAFE}")
    print(f"{UNSAFE}      is gone, and so is {KEY}")


if __name__ == "__main__":
    main()
