"""The program age, where it is installed."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import subprocess
import termios
from pathlib import Path

import pytest

needed = pytest.mark.skipif(not shutil.which("age"), reason="the program age is not installed")


def run(*arguments: str | Path, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run ``age`` at a terminal of its own, on which ``typed`` has been typed already.

    age asks for a passphrase there, and nowhere else.
    """
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed)
        return subprocess.run(
            ["age", *arguments],
            stdin=theirs,
            capture_output=True,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            timeout=60,
        )
    finally:
        os.close(theirs)
        os.close(ours)


def keygen() -> tuple[str, str]:
    """What ``age-keygen`` writes, and the public key."""
    text = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    return text, text.split("# public key: ")[1].split("\n")[0]
