"""What holds for every command: streams, exit status, one JSON document, never a traceback."""

from __future__ import annotations

import json
import os

import click
import pytest
from makers.projects import project, tree

from torchkeep import __version__, audit
from torchkeep.cli import app, main
from torchkeep.core import strict
from torchkeep.core.errors import Incomplete, Internal, MissingExtra, Refused

WRONG = [
    ["nope"],
    ["aud"],
    ["--nope"],
    ["-x"],
    ["audit", "--nope"],
    ["audit", "--jso"],
    ["audit", "a", "b"],
    ["audit", "missing"],
    ["audit", "file"],
    ["audit", ""],
    ["audit", "x" * 5000],
    ["audit", "--format", "xml"],
    ["audit", "--format"],
    ["audit", "--lang", "fr"],
    ["audit", "-o"],
    ["explain", "NOPE-1"],
    ["explain", "a", "b"],
    ["explain", "\x1b[2J\n\u202e"],
    ["explain", "\udcff"],
    ["init", "missing"],
    ["init", "--stdout", "missing"],
    ["init", "a", "b"],
    ["completion"],
    ["completion", "csh"],
    ["\x1b[2J\n\u202e"],
    ["\udcff"],
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with one file, as the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TORCHKEEP_LANG", "en")
    return tmp_path


@pytest.mark.parametrize("arguments", WRONG)
def test_a_mistake_is_one_line_on_standard_error(here, capfd, arguments):
    assert app.run(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("torchkeep: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert set(tree(here)) == {"file"}


@pytest.mark.parametrize("arguments", [a for a in WRONG if a[-1] not in ("-o", "--format")])
def test_with_json_a_mistake_is_one_document_on_standard_output(here, capfd, arguments):
    assert app.run([*arguments, "--json"]) == 2
    out, err = capfd.readouterr()
    assert err == ""
    assert out.isascii()
    assert out.count("\n") == 1
    document = strict.loads(out.encode())
    assert document["schema_version"] == 1
    assert set(document["error"]) == {"code", "message", "next"}
    assert document["error"]["code"] == "usage"
    assert document["error"]["message"].isprintable()


def test_without_arguments_help_goes_to_standard_error(capfd):
    assert app.run([]) == 2
    out, err = capfd.readouterr()
    assert (out, "Usage: torchkeep" in err) == ("", True)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_goes_to_standard_output(capfd, arguments):
    assert app.run(arguments) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert all(f"  {name} " in out for name in ("init", "audit", "explain", "completion"))


@pytest.mark.parametrize("command", sorted(app.root.list_commands(click.Context(app.root))))
def test_every_command_has_help_and_every_option_of_it_is_described(capfd, command):
    assert app.run([command, "--help"]) == 0
    assert f"Usage: torchkeep {command}" in capfd.readouterr().out
    found = app.root.get_command(click.Context(app.root), command)
    assert found.name == command
    options = [option for option in found.params if isinstance(option, click.Option)]
    assert all(option.help for option in options)
    short = next(table[command][1] for table in app.SECTIONS.values() if command in table)
    assert short.endswith(".")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(capfd, option):
    assert app.run([option]) == 0
    assert capfd.readouterr().out == f"torchkeep {__version__}\n"


ERRORS = [
    (Refused("no", next="do that"), 1, "refused"),
    (MissingExtra("That", "torch"), 2, "missing-extra"),
    (Internal("broken"), 2, "internal"),
    (Incomplete("not reached"), 3, "incomplete"),
    (Refused("\x1b[2J\n\u202e\udcff", next="\udcff"), 1, "refused"),
    (OSError(5, "Input/output error", "x\n"), 2, "internal"),
    (PermissionError(13, "Permission denied"), 2, "internal"),
]


@pytest.mark.parametrize(("error", "status", "code"), ERRORS)
@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_carries_its_exit_status(monkeypatch, capfd, error, status, code, as_json):
    def fail(rule):
        raise error

    monkeypatch.setattr(audit, "explain", fail)
    assert app.run(["explain", "X", *["--json"] * as_json]) == status
    out, err = capfd.readouterr()
    if as_json:
        told = json.loads(out)["error"]
        assert (told["code"], err) == (code, "")
        assert (told["message"] + told["next"]).isprintable()
    else:
        assert (out, err.count("\n")) == ("", 1)


BUGS = [RuntimeError("hunter2"), KeyError("hunter2"), AssertionError(), RecursionError("hunter2")]


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_bug_of_ours_is_one_line_without_its_text(monkeypatch, capfd, bug, as_json):
    def fail(rule):
        raise bug

    monkeypatch.setattr(audit, "explain", fail)
    monkeypatch.delenv("TORCHKEEP_DEBUG", raising=False)
    assert app.run(["explain", "X", *["--json"] * as_json]) == 2
    out, err = capfd.readouterr()
    told = json.loads(out)["error"]["message"] if as_json else err
    assert type(bug).__name__ in told
    assert "hunter2" not in out + err
    assert "Traceback" not in out + err
    assert (out + err).count("\n") == 1


def test_whoever_looks_for_a_bug_can_see_where_it_is(monkeypatch, capfd):
    def fail(rule):
        raise RuntimeError("here")

    monkeypatch.setattr(audit, "explain", fail)
    monkeypatch.setenv("TORCHKEEP_DEBUG", "1")
    assert app.run(["explain", "X"]) == 2
    assert "RuntimeError: here" in capfd.readouterr().err


def test_an_interrupt_is_one_word(monkeypatch, capfd):
    def fail(rule):
        raise KeyboardInterrupt

    monkeypatch.setattr(audit, "explain", fail)
    assert app.run(["explain", "X"]) == 130
    out, err = capfd.readouterr()
    assert (out, err.strip()) == ("", "interrupted")


def test_an_interrupt_before_there_is_a_command_is_silent(monkeypatch, capfd):
    def fail(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", fail)
    with pytest.raises(SystemExit) as caught:
        main(["explain"])
    assert caught.value.code == 130
    assert capfd.readouterr() == ("", "")


def test_main_exits_with_the_status(capfd):
    with pytest.raises(SystemExit) as caught:
        main(["nope"])
    assert caught.value.code == 2


# A project file, and what the error names.
MISTAKES = [
    ("[project\n", ":1", "not TOML"),
    ('[project]\nname = "x"\n[models.a]\nwieghts = "hunter2"\n', ":4: models.a.wieghts", "weights"),
    ('[project]\nname = "x"\n\n[vault2]\npassword = "hunter2"\n', ":4: vault2", "unknown"),
    ("[project]\nname = 7\n", ":2: project.name", "expected"),
    ('[models.a]\nweights = "hunter2"\n', ": project.name", "required"),
    ('[project]\nname = "x"\n[policy]\nprofile = "hunter2"\n', ":4: policy.profile", "expected"),
    ('[project]\nname = "x"\n[policy.nowhere]\na = 1\n', ":3: policy.nowhere", "unknown"),
    ('[project]\nname = "x"\n[models.a]\nbuild = "hunter2"\n', ":4: models.a.build", "expected"),
    ('[project]\nname = "x"\n[[waivers]]\nrule = "A"\n', ":3: waivers[0]", "required"),
    (b'[project]\nname = "\xff"\n', ":2", "UTF-8"),
    ("[" * 2000, "", "not TOML"),
]


@pytest.mark.parametrize(("text", "place", "word"), MISTAKES)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_mistake_in_the_project_file_names_file_line_and_key(
    here, capfd, text, place, word, as_json
):
    data = text if isinstance(text, bytes) else text.encode()
    (here / "torchkeep.toml").write_bytes(data)
    assert app.run(["audit", *["--json"] * as_json]) == 2
    out, err = capfd.readouterr()
    if as_json:
        error = json.loads(out)["error"]
        told = error["message"]
        assert (error["code"], err) == ("project", "")
    else:
        told = err
        assert (out, err.count("\n")) == ("", 1)
    assert f"torchkeep.toml{place}" in told
    assert word in told
    assert "hunter2" not in told
    assert not (here / ".torchkeep").exists()


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link", "loop"])
def test_a_project_file_that_is_none_is_an_error(here, capfd, kind):
    path = here / "torchkeep.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("torchkeep.toml" if kind == "loop" else "nowhere")
    assert app.run(["audit"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), "torchkeep.toml" in err) == ("", 1, True)


def test_every_exit_status_of_an_audit(tmp_path, capfd):
    folder = project(tmp_path).root
    assert app.run(["audit", str(folder)]) == 0
    (tmp_path / "m.onnx").write_bytes(bytes(100))
    assert app.run(["audit", str(folder)]) == 3
    (tmp_path / "m.pt").write_bytes(b"\x80\x02cos\nsystem\n.")
    assert app.run(["audit", str(folder)]) == 1
    out, err = capfd.readouterr()
    assert [word for word in out.split() if word.rstrip(":").isupper()][:1] == ["PASS"]
    assert err.count("report: ") == 3
