"""``torchkeep scan`` at the command line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from doubles.http import FileServer
from makers.projects import safetensors, tree, write
from makers.shell import COMMAND, at_terminal, call, environment

from torchkeep.cli import app
from torchkeep.core.evidence import Statements
from torchkeep.scan import FileReport, Report
from torchkeep.scan.render import FORMS, terminal
from torchkeep.scan.render.terminal import MOST_CLEAN

CLEAN = b"\x80\x02}."
DANGER = b"\x80\x02cos\nsystem\n."
FILES = {
    "danger.pkl": DANGER,
    "review.pkl": b"\x80\x02cmine\nThing\n.",
    "damaged.safetensors": safetensors(a=b"1234")[:-1],
    "unknown.onnx": bytes(100),
    "clean.pkl": CLEAN,
    "words.txt": b"words",
}
HEAVY = {"torch", "numpy", "pydantic", "safetensors", "pickle", "torchkeep.audit"}

LOOK = """
import json, sys
{before}
from torchkeep.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    status = end.code
json.dump([status, sorted(sys.modules)], sys.stderr)
"""
BLOCKED = "sys.modules.update(torch=None, numpy=None, safetensors=None)"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path, FILES))
    monkeypatch.setenv("TORCHKEEP_LANG", "en")
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["clean.pkl"], 0),
        (["words.txt"], 0),
        (["clean.pkl", "words.txt"], 0),
        (["danger.pkl"], 1),
        (["damaged.safetensors"], 1),
        (["review.pkl"], 1),
        (["unknown.onnx"], 3),
        (["clean.pkl", "unknown.onnx"], 3),
        (["unknown.onnx", "review.pkl"], 1),
        (["."], 1),
        ([".", "--exclude", "*.pkl", "--exclude", "dam*"], 3),
        ([".", "--exclude", "*"], 0),
        (["clean.pkl", "--tier", "weights"], 0),
        (["missing"], 2),
        (["clean.pkl", "missing"], 2),
        (["gopher://x"], 2),
        (["--tier", "all", "."], 2),
        ([".", "--exclude-from", "missing"], 2),
        ([], 2),
    ],
)
def test_the_exit_status_is_the_verdict_and_json_is_one_document(here, capfd, names, status):
    before = tree(here)
    assert app.run(["scan", *names]) == status
    out, err = capfd.readouterr()
    assert (bool(out), bool(err)) == (status != 2, status == 2)
    assert app.run(["scan", "--json", *names]) == status
    out, err = capfd.readouterr()
    assert (out.count("\n"), err) == (1, "")
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert ("error" in document) == (status == 2)
    assert tree(here) == before


def test_the_shape_of_the_document(here, capfd):
    app.run(["scan", "--json", "clean.pkl", "danger.pkl"])
    finding = {
        "rule": "TK-SCAN-010",
        "severity": "dangerous",
        "message": "loading it looks up os.system, which can run code",
        "member": "",
        "offset": 2,
        "opcode": "GLOBAL",
    }
    assert json.loads(capfd.readouterr().out) == {
        "schema_version": 1,
        "verdict": "dangerous",
        "files": [
            {
                "path": "clean.pkl",
                "format": "pickle",
                "verdict": "clean",
                "findings": [],
                "allowed": [],
            },
            {
                "path": "danger.pkl",
                "format": "pickle",
                "verdict": "dangerous",
                "findings": [finding],
                "allowed": [],
            },
        ],
        "excluded": 0,
    }


def test_people_read_a_line_for_each_model_and_a_sum(here, capfd):
    assert app.run(["scan", "."]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert "dangerous  danger.pkl  (pickle)" in lines
    assert "clean  clean.pkl  (pickle)" in lines
    assert not any("words.txt" in line for line in lines)
    assert lines[-1] == (
        "1 dangerous, 1 malformed, 1 needs review, 1 not scanned, 1 clean, 1 no model"
    )


def test_the_worst_comes_first(here, capfd):
    app.run(["scan", "."])
    words = [line.split("  ")[0] for line in capfd.readouterr().out.splitlines()]
    shown = [word for word in words if word and not word.startswith("1 ")]
    assert shown == ["dangerous", "malformed", "needs review", "not scanned", "clean"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_of_many_files_only_what_is_not_clean_is_named(here, capfd, language):
    many = {f"many/{number:05}.pkl": CLEAN for number in range(MOST_CLEAN)}
    write(here, many)
    assert app.run(["scan", "--lang", language, "many", "danger.pkl"]) == 1
    listed = capfd.readouterr().out.splitlines()
    assert sum("many/" in line for line in listed) == MOST_CLEAN
    assert app.run(["scan", "--lang", language, "."]) == 1
    few = capfd.readouterr().out
    assert "many/" not in few
    assert "clean.pkl" not in few
    assert f"{MOST_CLEAN + 1} " in few.splitlines()[-2]
    assert "--all" in few.splitlines()[-2]
    for name in ("danger.pkl", "review.pkl", "damaged.safetensors", "unknown.onnx"):
        assert name in few
    assert app.run(["scan", "--lang", language, "--all", "."]) == 1
    every = capfd.readouterr().out
    assert all(name in every for name in many)
    assert "--all" not in every
    assert every.splitlines()[-1] == few.splitlines()[-1]


def test_what_only_the_project_makes_clean_is_always_named(here):
    """It rests on somebody's word, however many files are clean without."""
    allowed = FileReport(path="ours.pkl", allowed={"mine.Thing": None})
    clean = [FileReport(path=f"{number}.pkl") for number in range(MOST_CLEAN + 1)]
    text = terminal.render(Report((*clean, allowed)))
    assert text.startswith("clean  ours.pkl")
    assert "mine.Thing" in text
    assert f"{MOST_CLEAN + 1} clean files are not listed" in text


def test_colours_show_on_a_terminal_only(here):
    status, seen = at_terminal("scan", "danger.pkl", cwd=here, TORCHKEEP_LANG="en")
    assert (status, b"\x1b[31m\x1b[1mdangerous\x1b[0m  danger.pkl" in seen) == (1, True)
    _, plainly = at_terminal("scan", "danger.pkl", cwd=here, TORCHKEEP_LANG="en", NO_COLOR="1")
    assert b"[1mdangerous" not in plainly  # a bar of progress has codes of its own
    assert b"\x1b" not in call("scan", "danger.pkl", cwd=here).stdout


def test_a_line_is_whole_however_narrow_the_terminal_is(here):
    """A program that looks for a file finds what is said of it on one line."""
    write(here, {"x" * 150 + ".pkl": DANGER})
    _, seen = at_terminal("scan", "x" * 150 + ".pkl", cwd=here, NO_COLOR="1", TORCHKEEP_LANG="en")
    assert f"dangerous  {'x' * 150}.pkl  (pickle)\r\n".encode() in seen


@pytest.mark.parametrize("form", FORMS)
def test_a_form_goes_to_a_file_or_to_standard_output(here, capfd, form):
    names = ["danger.pkl", "clean.pkl"]
    assert app.run(["scan", "--format", form, *names]) == 1
    printed = capfd.readouterr().out
    for target in ("report", "report"):  # an older report is replaced
        assert app.run(["scan", "--format", form, "-o", target, *names]) == 1
        assert capfd.readouterr() == ("", "")
        assert (here / target).read_text("utf-8") == printed
    assert printed.count("os.system") >= 1


def test_json_has_one_meaning(here, capfd):
    app.run(["scan", "--json", "danger.pkl"])
    short = capfd.readouterr().out
    assert app.run(["scan", "--format", "json", "danger.pkl"]) == 1
    assert capfd.readouterr().out == short
    assert app.run(["scan", "--json", "--format", "sarif", "danger.pkl"]) == 2
    assert json.loads(capfd.readouterr().out)["error"]["code"] == "usage"


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_written_where_the_scan_cannot_start(here, capfd, form):
    before = tree(here)
    assert app.run(["scan", "--format", form, "-o", "report", "missing"]) == 2
    assert app.run(["scan", "--format", form, "-o", "no/report", "clean.pkl"]) == 2
    assert app.run(["scan", "-o", "", "clean.pkl"]) == 2
    assert tree(here) == before


@pytest.mark.parametrize("places", [["clean.pkl"], ["."], ["danger.pkl", "./clean.pkl"]])
def test_a_report_never_takes_the_place_of_a_model(here, capfd, places):
    (here / "link").symlink_to("clean.pkl")
    before = tree(here)
    for target in ("clean.pkl", "./clean.pkl", str(here / "clean.pkl"), "link"):
        assert app.run(["scan", "--format", "sarif", "-o", target, *places]) == 2
        assert "is what is scanned" in capfd.readouterr().err
    assert tree(here) == before


def test_a_variable_that_is_not_set_is_not_the_current_folder(here, capfd):
    for places in ([""], ["clean.pkl", ""]):
        assert app.run(["scan", *places]) == 2
        assert "without a name" in capfd.readouterr().err


def test_sarif_tells_the_exit_status(here, capfd):
    for name, status in [("clean.pkl", 0), ("danger.pkl", 1), ("unknown.onnx", 3)]:
        assert app.run(["scan", "--format", "sarif", name]) == status
        (run,) = json.loads(capfd.readouterr().out)["runs"]
        assert run["invocations"][0]["exitCode"] == status
        assert len(run["results"]) == (status != 0)


def kept(folder):
    return [path for path in sorted(folder.rglob("*.json")) if path.is_file()]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_statement_is_kept_in_the_project(here, capfd, as_json):
    write(here, {"torchkeep.toml": '[project]\nname = "sample"\n'})
    names = ["danger.pkl", "clean.pkl"]
    assert app.run(["scan", *as_json, "--statement", "--exclude", "x*", *names]) == 1
    out, err = capfd.readouterr()
    (path,) = kept(here)
    assert path.parent == here / ".torchkeep" / "statements" / "scan"
    assert path.relative_to(here).as_posix() in err
    found = Statements(path.parents[1]).read(path).statement
    assert found.result["verdict"] == "dangerous"
    assert not as_json or json.loads(out) == found.result
    options = ["--tier", "module", "--exclude", "x*", "--"]
    assert found.predicate["argv"] == ["torchkeep", "scan", *options, *names]
    assert app.run(["scan", "--statement", "clean.pkl"]) == 0
    assert len(kept(here)) == 2


def test_a_statement_is_written_where_it_is_wanted_and_overwrites_nothing(here, capfd):
    assert app.run(["scan", "--statement-to", "clean.dsse.json", "clean.pkl"]) == 0
    before = tree(here)
    (subject,) = Statements(here).read(here / "clean.dsse.json").statement.subjects
    assert subject.sha256 == hashlib.sha256(CLEAN).hexdigest()
    assert app.run(["scan", "--statement-to", "clean.dsse.json", "danger.pkl"]) == 2
    assert app.run(["scan", "--statement-to", "no/folder", "clean.pkl"]) == 2
    assert tree(here) == before


def test_a_statement_needs_a_place_and_bytes(here, capfd):
    before = tree(here)
    assert app.run(["scan", "--statement", "clean.pkl"]) == 2
    assert "--statement-to" in capfd.readouterr().err
    with FileServer(CLEAN) as server:
        assert app.run(["scan", "--statement-to", "s", server.url]) == 3
    assert tree(here) == before


def test_a_password_in_a_url_is_shown_nowhere(here, capfd):
    with FileServer(CLEAN) as server:
        secret = server.url.replace("://", "://user:hunter2@") + "?token=hunter2"
        assert app.run(["scan", "--statement-to", "s", secret, "clean.pkl"]) == 0
    assert app.run(["scan", "--statement-to", "t", secret, "clean.pkl"]) == 3
    assert "hunter2" not in "".join(capfd.readouterr())
    for name in "st":
        found = Statements(here).read(here / name).statement
        assert "hunter2" not in json.dumps(found.predicate)


def test_the_same_in_chinese(here, capfd):
    assert app.run(["scan", "--lang", "zh", "danger.pkl"]) == 1
    out = capfd.readouterr().out
    assert ("危险" in out, "os.system" in out, "TK-SCAN-010" in out) == (True, True, True)
    app.run(["scan", "--json", "danger.pkl"])
    english = capfd.readouterr().out
    app.run(["scan", "--json", "--lang", "zh", "danger.pkl"])
    assert capfd.readouterr().out == english


def test_a_file_of_patterns(here, capfd):
    write(here, {"patterns": b"# what we know\n\n*.pkl\n  dam*  \nunknown.onnx\n\xff*\n"})
    write(here, {b"\xffdanger": DANGER})
    assert app.run(["scan", ".", "--exclude-from", "patterns"]) == 0
    assert "no model" in capfd.readouterr().out


@pytest.mark.parametrize("data", [CLEAN, DANGER, bytes(100), b""])
def test_standard_input(here, data):
    done = subprocess.run(
        [*COMMAND, "scan", "--json", "-", "clean.pkl"],
        input=data,
        capture_output=True,
        cwd=here,
        env=environment(),
        timeout=60,
    )
    document = json.loads(done.stdout)
    assert [file["path"] for file in document["files"]] == ["clean.pkl", "<stdin>"]
    assert done.returncode == {CLEAN: 0, DANGER: 1}.get(data, 3)
    assert done.stderr == b""


def test_standard_input_that_is_closed_is_an_error(here, capfd, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert app.run(["scan", "-"]) == 2
    assert "standard input is closed" in capfd.readouterr().err


def test_a_url(here, capfd):
    with FileServer(DANGER) as server:
        assert app.run(["scan", server.url]) == 1
    assert server.url in capfd.readouterr().out
    assert app.run(["scan", server.url]) == 3  # nobody is there any more


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path):
    names = ["esc\x1b[2J.pkl", "bidi\u202egpj.pkl", "new\nline.pkl", b"stray\xff.pkl"]
    write(tmp_path, dict.fromkeys(names, DANGER))
    (tmp_path / "link\x1b[2J").symlink_to("nowhere")
    text = call("scan", ".", cwd=tmp_path, PYTHONUTF8="1")
    assert text.returncode == 1
    assert not any(bad in text.stdout for bad in (b"\x1b", "\u202e".encode(), b"new\nl", b"\xff"))
    assert text.stdout.count(b"TK-SCAN-010") == 4
    document = call("scan", "--json", ".", cwd=tmp_path).stdout
    assert document.isascii()
    assert len(json.loads(document)["files"]) == 5


def test_what_a_pickle_names_does_not_reach_the_terminal_as_it_is(tmp_path):
    write(tmp_path, {"m.pkl": b"\x80\x02cmine\x1b[2J\nThing\n."})
    done = call("scan", "m.pkl", cwd=tmp_path)
    assert (done.returncode, b"\x1b" in done.stdout) == (1, False)


def looked(folder, *arguments, before=""):
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(before=before), *arguments],
        capture_output=True,
        cwd=folder,
        env=environment(),
        timeout=60,
    )
    status, modules = json.loads(done.stderr.decode().splitlines()[-1])
    return status, set(modules), done.stdout


@pytest.mark.parametrize("name", FILES)
def test_a_scan_imports_nothing_that_it_does_not_need(tmp_path, name):
    _, modules, _ = looked(write(tmp_path, FILES), "scan", name)
    assert not HEAVY & modules


def test_the_verdict_does_not_depend_on_what_is_installed(tmp_path):
    write(tmp_path, FILES)
    free = looked(tmp_path, "scan", "--json", ".")
    blocked = looked(tmp_path, "scan", "--json", ".", before=BLOCKED)
    assert (free[0], free[2]) == (blocked[0], blocked[2]) == (1, free[2])
    assert json.loads(free[2])["verdict"] == "dangerous"
