"""Writes requirements.lock: the version of every package, and no address.

Everything is installed anew in a scratch environment, so the lock holds what the ranges in
pyproject.toml give today. torch's version is fixed in the Makefile; the lock names it without the
local part (``+cpu``), since which build a machine offers is the machine's affair.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
GROUPS = ("lint", "test", "bench", "docs")


def main() -> None:
    """Resolve, install, freeze."""
    torch = re.search(r"torch==[\d.]+", (ROOT / "Makefile").read_text())
    assert torch, "the Makefile names the version of torch"
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        groups = [argument for group in GROUPS for argument in ("--group", group)]
        for step in (["--upgrade", "pip"], [torch[0]], ["--editable", ".[all]", *groups]):
            subprocess.run([*pip, "install", "--quiet", *step], cwd=ROOT, check=True)
        frozen = subprocess.run(
            [*pip, "freeze", "--all", "--exclude-editable"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    lines = [re.sub(r"\+\w+$", "", line) for line in frozen.splitlines() if "==" in line]
    lines = [line for line in lines if not line.startswith(("setuptools==", "torchkeep=="))]
    text = "# Versions that the tests ran with; written by `make lock`.\n" + "\n".join(lines) + "\n"
    (ROOT / "requirements.lock").write_text(text)


if __name__ == "__main__":
    main()
