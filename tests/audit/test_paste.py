"""Every command that a report prints does nothing but name the file, pasted into a real shell."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys

import pytest
from makers.projects import tree, write

NAMES = [
    "plain.pt",
    "two words.pt",
    "$(touch pwned).pt",
    "`touch pwned`.pt",
    ";touch pwned;.pt",
    "a&touch pwned&.pt",
    "a|touch pwned.pt",
    ">pwned",
    "-x",
    "--output=pwned",
    "--",
    "'",
    "'$(touch pwned)'",
    '"$(touch pwned)"',
    "\\$(touch pwned)",
    "a\\",
    "!touch pwned",
    "!!",
    "#",
    "~",
    "~root",
    "*",
    "?",
    "[a-z]",
    "{a,b}",
    "$HOME",
    "${IFS}",
    "a=b",
    "%s%n",
    "&lt;b&gt;",
    "<script>alert(1)<",
    "</code><b>",
    "模型.pt",
    "é.pt",
    "\u3000.pt",
]
HIDDEN = [
    "new\nline",
    "\ntouch pwned\n",
    "re\rturn",
    "tab\tbed",
    "esc\x1b[201~touch pwned\n",
    "del\x7f",
    "c1\x85",
    "bidi\u202egpj",
    "isolate\u2066x",
    "zero\u200bwidth",
    "line\u2028end",
    b"stray\xff",
]

PLUGIN = """
from torchkeep.core.finding import Finding, State
from torchkeep.core.messages import plain
from torchkeep.core.rule import Rule, Ruleset

def check(project):
    for entry in project.tree.files:
        yield Finding(rule="ACME-1", subject=entry.path, state=State.FAIL, reason=plain("odd"),
                      fix=("torchkeep", "convert", "--", entry.path))

RULESET = Ruleset(room="acme", rules=(Rule(id="ACME-1", item="models.loading", check=check),))
"""

DUMPER = """#!/bin/sh
printf '%s\\0' "${0##*/}" "$@" >> "$DUMP"
printf '\\001' >> "$DUMP"
"""

NO_COMMAND = ("No command is printed here", "此处不给出命令")

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project full of hostile names, a plug-in that names them, and commands that only tell."""
    folder = tmp_path_factory.mktemp("paste")
    write(folder / "project", dict.fromkeys([*NAMES, *HIDDEN], "x"))
    write(
        folder / "site",
        {
            "acme.py": PLUGIN,
            "acme-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\n",
            "acme-1.dist-info/entry_points.txt": "[torchkeep.rules]\nacme = acme:RULESET\n",
            # A second one that does not load, with a name that a shell would run.
            "b-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: $(touch pwned)\n",
            "b-1.dist-info/entry_points.txt": "[torchkeep.rules]\nb = nowhere:RULESET\n",
        },
    )
    for name in ("torchkeep", "pip", "touch"):
        write(folder / "bin", {name: DUMPER})
        (folder / "bin" / name).chmod(0o755)
    return folder


def audit(place, form: str, language: str) -> str:
    """What ``torchkeep audit`` prints of the project, at its real command line."""
    environment = os.environ | {"PYTHONPATH": str(place / "site")}
    command = [sys.executable, "-m", "torchkeep", "audit", "--format", form, "--lang", language]
    done = subprocess.run(
        [*command, "project"], capture_output=True, env=environment, timeout=60, cwd=place
    )
    assert done.returncode == 1, done.stderr
    return done.stdout.decode()


def commands(text: str, form: str) -> list[str]:
    if form == "terminal":
        found = re.findall(r"^ {36}(?:To close it: |处理命令：)(.*)$", text, re.MULTILINE)
        return [line for line in found if not line.startswith(NO_COMMAND)]
    return [html.unescape(found) for found in re.findall(r"<code>(.*?)</code>", text, re.DOTALL)]


@pytest.mark.parametrize("form", ["terminal", "html"])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("mode", [(), ("--norc", "--noprofile", "-i")])
def test_a_pasted_command_only_names_the_file(place, tmp_path, form, language, mode):
    printed = commands(audit(place, form, language), form)
    assert all(command.isprintable() or "\u3000" in command for command in printed)
    before = tree(place / "project")
    dump = tmp_path / "dump"
    environment = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "DUMP": str(dump), "HOME": "/pwned"}
    subprocess.run(
        ["bash", *mode],
        input="\n".join(printed).encode() + b"\n",
        env=environment | {"LC_ALL": "C.UTF-8"},
        cwd=place / "project",
        capture_output=True,
        timeout=60,
        start_new_session=True,
    )
    ran = [part.decode().split("\0")[:-1] for part in dump.read_bytes().split(b"\1")[:-1]]
    assert len(ran) == len(printed)
    converted = [arguments for arguments in ran if arguments[1] == "convert"]
    assert sorted(converted) == sorted(["torchkeep", "convert", "--", name] for name in NAMES)
    others = [arguments for arguments in ran if arguments[1] != "convert"]
    assert ["pip", "show", "--", "$(touch pwned)"] in others
    assert ["torchkeep", "init", "--", "project"] in others
    assert all(
        arguments[:2] in (["torchkeep", "explain"], ["torchkeep", "init"], ["pip", "show"])
        for arguments in others
    )
    assert tree(place / "project") == before


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_name_with_hidden_characters_gets_no_command(place, language):
    text = audit(place, "terminal", language)
    assert sum(map(text.count, NO_COMMAND)) == len(HIDDEN)


def test_an_unquoted_command_would_be_noticed(place, tmp_path):
    """The planted fault: joining the arguments by spaces."""
    printed = [f"torchkeep convert -- {name}" for name in NAMES]
    dump = tmp_path / "dump"
    (tmp_path / "cwd").mkdir()
    environment = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "DUMP": str(dump)}
    subprocess.run(
        ["bash"],
        input="\n".join(printed).encode(),
        env=environment,
        cwd=tmp_path / "cwd",
        capture_output=True,
        timeout=60,
    )
    assert b"touch\0pwned" in dump.read_bytes()
