"""The command line as a user meets it: a process of its own."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-m", "torchkeep")
_INHERITED = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT", "COVERAGE_PROCESS_START")


def environment(**more: str) -> dict[str, str]:
    """What a process needs, without what this one was told about language and colour."""
    base = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return base | {"PYTHONWARNINGS": "error"} | more


def call(*arguments: str | bytes, cwd: Path | None = None, **more: str):
    """Run ``torchkeep``; ``more`` are environment variables. Output comes as bytes."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, cwd=cwd, env=environment(**more), timeout=60
    )


def at_terminal(*arguments: str, cwd: Path | None = None, **more: str) -> tuple[int, bytes]:
    """Run ``torchkeep`` at a terminal of 80 columns: exit status, and all that appears on it."""
    ours, theirs = pty.openpty()
    try:
        child = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env=environment(**{"TERM": "xterm-256color", "COLUMNS": "80"} | more),
        )
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        return child.wait(60), seen
    finally:
        os.close(ours)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # Linux says so when the last process has closed it
            raise
        return b""
