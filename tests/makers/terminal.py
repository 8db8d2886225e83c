"""A program at a terminal of its own, where somebody answers what it asks."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile


def run(
    command: Sequence[str | Path],
    answers: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, bytes, bytes, bytes]:
    """Run a program; exit status, standard output, standard error, and what the terminal showed.

    Each time it shows a colon it is given the next answer, as programs forget what was typed before
    they asked.
    """
    ours, theirs = pty.openpty()
    with TemporaryFile() as out, TemporaryFile() as err:
        child = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=out,  # files, as nobody reads a pipe while the terminal is watched
            stderr=err,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        shown = _talk(ours, list(answers))
        os.close(ours)
        status = child.wait(60)
        for file in (out, err):
            file.seek(0)
        return status, out.read(), err.read(), shown


def _talk(terminal: int, answers: list[str]) -> bytes:
    shown, answered = b"", 0
    while chunk := _read(terminal):
        shown += chunk
        if b": " in shown[answered:] and answers:
            answered = len(shown)
            os.write(terminal, f"{answers.pop(0)}\n".encode())
    return shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # Linux says so when the last process has closed it
            raise
        return b""
