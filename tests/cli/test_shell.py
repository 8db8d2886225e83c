"""Completion works in the shells that it is for."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from makers.projects import write
from makers.shell import COMMAND, call, environment


def script(shell: str) -> str:
    done = call("completion", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_and_the_shell_can_read_it(shell):
    text = script(shell)
    assert "_TORCHKEEP_COMPLETE" in text
    if program := shutil.which(shell):
        done = subprocess.run([program, "-n"], input=text.encode(), capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["torchkeep", ""],
            {
                "audit",
                "completion",
                "convert",
                "explain",
                "init",
                "inspect",
                "key",
                "open",
                "rekey",
                "rewrap",
                "scan",
                "seal",
                "sign",
                "store",
                "verify",
            },
        ),
        (["torchkeep", "au"], {"audit"}),
        (["torchkeep", "x"], set()),
        (["torchkeep", "audit", "--fo"], {"--format"}),
        (["torchkeep", "audit", "--format", "s"], {"sarif"}),
        (["torchkeep", "audit", "--lang", ""], {"en", "zh"}),
        (["torchkeep", "completion", ""], {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes(tmp_path, words, expected):
    """The script is sourced by a real bash, and asked as bash asks when a user presses Tab."""
    command = " ".join(f"'{part}'" for part in COMMAND)
    write(tmp_path, {"torchkeep": f'#!/bin/sh\nexec {command} "$@"\n'})
    (tmp_path / "torchkeep").chmod(0o755)
    asked = f"""
        {script("bash")}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words) - 1}
        function=$(complete -p torchkeep | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function torchkeep
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "--noprofile"],
        input=asked.encode(),
        capture_output=True,
        env=environment(PATH=f"{tmp_path}:/usr/bin:/bin"),
        timeout=60,
    )
    assert done.stderr == b""
    assert set(done.stdout.decode().split()) == expected


def test_completion_imports_nothing_heavy(tmp_path):
    """It runs at every press of a key."""
    code = (
        "import sys\n"
        "from torchkeep.cli import main\n"
        "try:\n    main([])\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name in sys.argv])"
    )
    asked = {
        "_TORCHKEEP_COMPLETE": "bash_complete",
        "COMP_WORDS": "torchkeep au",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, "torch", "numpy", "rich", "polars"],
        capture_output=True,
        env=environment(**asked),
        timeout=60,
    )
    assert done.stdout.decode().split("\n")[:2] == ["plain,audit", "[]"]
