"""The program age, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from makers import terminal

needed = pytest.mark.skipif(not shutil.which("age"), reason="the program age is not installed")


def run(*arguments: str | Path, answers: tuple[str, ...] = ()) -> tuple[int, bytes]:
    """Run ``age`` and answer what it asks; exit status and standard output."""
    status, out, _, _ = terminal.run(["age", *arguments], answers)
    return status, out


def keygen() -> tuple[str, str]:
    """What ``age-keygen`` writes, and the public key."""
    text = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    return text, text.split("# public key: ")[1].split("\n")[0]
