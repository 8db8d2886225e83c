"""The command line as a process: pipes, signals, terminals, encodings."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from makers.projects import project, tree, write
from makers.shell import COMMAND, at_terminal, call, environment

from torchkeep.core.messages import message

EXPLAIN = ("explain", "TK-SCAN-001")
CHINESE = message("scan.TK-SCAN-001.title").text("zh")

needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


def test_python_m_and_the_script_are_the_same():
    script = shutil.which("torchkeep", path=Path(sys.executable).parent)
    if script is None:
        pytest.skip("the script is not installed")
    ran = subprocess.run([script, "--help"], capture_output=True, env=environment(), timeout=60)
    assert (ran.returncode, ran.stdout) == (0, call("--help").stdout)


# What the environment says, and the language that it asks for.
LANGUAGES = [
    ({}, "en"),
    ({"TORCHKEEP_LANG": "zh"}, "zh"),
    ({"TORCHKEEP_LANG": "zh_CN.UTF-8"}, "zh"),
    ({"TORCHKEEP_LANG": "fr"}, "en"),
    ({"TORCHKEEP_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
    ({"LANG": "zh_CN.UTF-8"}, "zh"),
    ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
    ({"LANG": "C", "TORCHKEEP_LANG": "zh"}, "zh"),
]


@pytest.mark.parametrize(("given", "language"), LANGUAGES)
def test_the_language_of_the_environment(given, language):
    done = call(*EXPLAIN, **given)
    assert done.returncode == 0
    assert (CHINESE in done.stdout.decode()) == (language == "zh")


def test_the_option_beats_the_environment():
    assert CHINESE in call(*EXPLAIN, "--lang", "zh", LANG="C").stdout.decode()
    assert CHINESE not in call(*EXPLAIN, "--lang", "en", TORCHKEEP_LANG="zh").stdout.decode()


@pytest.mark.parametrize(
    "encoding", ["ascii", "ascii:strict", "latin-1", "cp1252:strict", "gbk", "gb18030", "utf-16"]
)
@pytest.mark.parametrize("arguments", [EXPLAIN, ("audit", "p"), ("audit", "模型-nowhere")])
def test_no_encoding_of_a_terminal_costs_the_answer(tmp_path, encoding, arguments):
    write(tmp_path, {"p/模型\U0001f600.pt": b"\x80\x02cos\nsystem\n.", b"p/\xff.pt": b"\x80\x02}."})
    given = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "1"}
    done = call(*arguments, "--lang", "zh", cwd=tmp_path, **given)
    assert done.returncode == {"explain": 0, "p": 1}.get(arguments[-1], 2) or arguments == EXPLAIN
    assert b"unexpected" not in done.stderr
    assert b"Traceback" not in done.stderr
    assert bool(done.stdout) == (arguments[-1] != "模型-nowhere")


@pytest.mark.parametrize("form", ["json", "sarif", "html"])
def test_a_document_is_utf_8_whatever_the_terminal_speaks(tmp_path, form):
    write(tmp_path, {"模型.pt": b"\x80\x02cos\nsystem\n."})
    done = call(
        "audit", "--format", form, "--lang", "zh", ".", cwd=tmp_path, PYTHONIOENCODING="gbk"
    )
    text = done.stdout.decode()
    assert ("模型.pt" if form == "html" else json.dumps("模型.pt")[1:-1]) in text


@pytest.mark.parametrize(
    "arguments", [EXPLAIN, ("audit", "."), ("audit", ".", "--json"), ("--help",)]
)
def test_a_reader_that_goes_away_is_no_error_and_no_verdict(tmp_path, arguments):
    """What a shell says of a program that nobody listens to: 128 + SIGPIPE."""
    write(tmp_path, {"m.pt": b"\x80\x02cos\nsystem\n."})
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "wb") as pipe:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=pipe,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment(),
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@needs_bash
@pytest.mark.parametrize(
    ("arguments", "closed", "status"),
    [
        ("explain", ">&-", 0),
        ("audit .", ">&-", 1),
        ("audit . --json", ">&-", 1),
        ("explain", "2>&-", 0),
        ("audit .", "2>&-", 1),
        ("nope", "2>&-", 2),
        ("nope --json", ">&-", 2),
        ("audit .", "<&- >&- 2>&-", 1),
    ],
)
def test_streams_that_are_closed_do_not_change_the_verdict(tmp_path, arguments, closed, status):
    write(tmp_path, {"m.pt": b"\x80\x02cos\nsystem\n."})
    done = subprocess.run(
        ["bash", "-c", f'"$@" {arguments} {closed}', "bash", *COMMAND],
        capture_output=True,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (status, b"")


@needs_bash
def test_the_first_lines_are_enough_for_a_reader(tmp_path):
    line = '"$@" explain | head -n 1'
    command = ["bash", "-c", line, "bash", *COMMAND]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=60)
    assert (done.stdout[:3], done.stdout.count(b"\n"), done.stderr) == (b"TK-", 1, b"")


@needs_full
@pytest.mark.parametrize(
    "arguments", [EXPLAIN, ("audit", "."), ("audit", ".", "--json"), ("--help",)]
)
def test_a_full_disk_behind_standard_output_is_told(tmp_path, arguments):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment(),
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


@needs_full
def test_an_error_that_cannot_be_printed_as_json_is_told_all_the_same():
    with open("/dev/full", "wb") as full:
        command = [*COMMAND, "nope", "--json"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=60
        )
    told = b"torchkeep: no such command 'nope'; see: torchkeep --help\n"
    assert (done.returncode, done.stderr) == (2, told)


SLOW = """
import sys, time
from torchkeep.core.rule import Rule, Ruleset

def check(project):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(50)
    yield

RULESET = Ruleset(room="slow", rules=(Rule(id="SLOW-1", item="models.loading", check=check),))
"""


def test_ctrl_c_leaves_nothing_half_written(tmp_path):
    site = write(
        tmp_path / "site",
        {
            "slow.py": SLOW,
            "slow-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: slow\n",
            "slow-1.dist-info/entry_points.txt": "[torchkeep.rules]\nslow = slow:RULESET\n",
        },
    )
    folder = project(tmp_path / "p").root
    before = tree(folder)
    child = subprocess.Popen(
        [*COMMAND, "audit", "-o", str(folder / "report.json"), "--format", "json", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PYTHONPATH=str(site)),
    )
    assert child.stderr.readline() == b"ready\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err.strip()) == (130, b"", b"interrupted")
    assert tree(folder) == before


def colours(text: bytes) -> set[bytes]:
    return set(re.findall(rb"\x1b\[[0-9;]*m", text))


def test_a_terminal_gets_colours_and_nothing_else_that_acts(tmp_path):
    write(tmp_path, {"esc\x1b[2J.pt": b"\x80\x02cos\nsystem\n."})
    status, seen = at_terminal("audit", ".", cwd=tmp_path)
    assert status == 1
    assert {b"\x1b[1;31m", b"\x1b[0m"} <= colours(seen)
    assert b"\\x1b[2J.pt" in seen
    assert b"\x1b[2J" not in seen
    body = seen[seen.index(tmp_path.name.encode()) :]  # the bar of progress moves the cursor
    assert max(len(line) for line in re.sub(rb"\x1b\[[0-9;]*m", b"", body).splitlines()) <= 80


@pytest.mark.parametrize(
    ("given", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),  # the convention: only when it is not empty
        ({"TERM": "dumb"}, False),
    ],
)
@pytest.mark.parametrize("arguments", [EXPLAIN, ("audit", ".")])
def test_who_wants_no_colour_gets_none(tmp_path, given, coloured, arguments):
    _, seen = at_terminal(*arguments, cwd=tmp_path, **given)
    assert bool(colours(seen)) == coloured


def test_in_a_pipe_there_are_no_colours_and_no_bar(tmp_path):
    done = call("audit", ".", cwd=tmp_path)
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"\r" not in done.stdout + done.stderr
    assert done.stderr == b""


def test_names_of_bytes_come_through_the_real_command_line(tmp_path):
    write(tmp_path, {b"\xff\xfe/m.pt": b"\x80\x02cos\nsystem\n."})
    done = call("audit", b"\xff\xfe", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert (done.returncode, document["project"]) == (1, "\\udcff\\udcfe")
    done = call("audit", b"\xff\x1b[2J", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(b"torchkeep: \\udcff\\x1b[2J is not a folder")


def test_a_project_brings_no_modules_of_its_own(tmp_path):
    (tmp_path / "click.py").write_text("open('ran', 'w').close()")
    command = [sys.executable, "-m", "torchkeep", "--version"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0
    assert ended.stdout.startswith("torchkeep ")
    assert not (tmp_path / "ran").exists()
