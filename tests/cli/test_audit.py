"""``torchkeep audit``, ``init`` and ``explain`` at the command line."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys

import pytest
from makers.projects import project, safetensors, tree, write
from makers.reports import forms

from torchkeep.audit.render import FORMS
from torchkeep.cli import app
from torchkeep.core import files
from torchkeep.core.project import Project

PICKLE = b"\x80\x02cos\nsystem\n."


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setenv("TORCHKEEP_LANG", "en")


def said(capfd) -> tuple[str, str]:
    return tuple(capfd.readouterr())


def test_without_a_project_file_nothing_is_written(tmp_path, capfd):
    write(tmp_path, {"m.pt": PICKLE, "sub/a.txt": "x"})
    before = tree(tmp_path)
    assert app.run(["audit", str(tmp_path)]) == 1
    assert tree(tmp_path) == before
    out, err = said(capfd)
    assert ("FAIL" in out, err) == (True, "")


def test_with_a_project_file_the_report_is_kept_out_of_sight(tmp_path, capfd):
    project(tmp_path, {"m.safetensors": safetensors(a=b"1")})
    assert app.run(["audit", str(tmp_path)]) == 0
    state = tmp_path / ".torchkeep"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert (state / ".gitignore").read_text() == "*\n"
    assert "<html" in (state / "report.html").read_text("utf-8")
    assert set(tree(tmp_path)) == {
        ".torchkeep",
        ".torchkeep/.gitignore",
        ".torchkeep/report.html",
        "m.safetensors",
        "torchkeep.toml",
    }
    assert said(capfd)[1] == f"report: {state / 'report.html'}\n"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_kept_report_speaks_the_language_asked_for(tmp_path, language):
    project(tmp_path)
    app.run(["audit", "--lang", language, str(tmp_path)])
    page = (tmp_path / ".torchkeep" / "report.html").read_text("utf-8")
    assert f'lang="{"zh-Hans" if language == "zh" else "en"}"' in page


@pytest.mark.parametrize("obstacle", ["file", "folder in the way", "read-only disk", "full disk"])
def test_a_project_that_cannot_be_written_to_has_its_verdict(
    tmp_path, capfd, monkeypatch, obstacle
):
    project(tmp_path)
    state = tmp_path / ".torchkeep"
    if obstacle == "file":
        state.write_bytes(b"")
    elif obstacle == "folder in the way":
        (state / "report.html").mkdir(parents=True)
    else:
        number = errno.EROFS if obstacle == "read-only disk" else errno.ENOSPC
        monkeypatch.setattr(files, "_make", refusing(number))
    assert app.run(["audit", str(tmp_path)]) == 0
    out, err = said(capfd)
    assert ("PASS" in out, err.count("\n")) == (True, 1)
    assert str(state) in err


def refusing(number: int):
    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_has_its_verdict(tmp_path, capfd):
    folder = project(tmp_path / "p").root
    folder.chmod(0o555)
    try:
        assert app.run(["audit", str(folder)]) == 0
    finally:
        folder.chmod(0o755)
    assert "PASS" in said(capfd)[0]


@pytest.mark.parametrize("link", ["the folder", "the report"])
def test_a_strangers_project_does_not_choose_which_file_is_replaced(tmp_path, capfd, link):
    """The planted fault: following the link would put the report over a file of the reader's."""
    mine = write(tmp_path / "mine", {"report.html": "precious"})
    theirs = project(tmp_path / "theirs").root
    if link == "the folder":
        (theirs / ".torchkeep").symlink_to(mine)
    else:
        (theirs / ".torchkeep").mkdir()
        (theirs / ".torchkeep" / "report.html").symlink_to(mine / "report.html")
    assert app.run(["audit", str(theirs)]) == 0
    assert tree(mine) == {"report.html": b"precious"}
    assert "is a link" in said(capfd)[1]


@pytest.mark.parametrize("form", forms())
def test_a_report_can_be_written_to_a_file(tmp_path, capfd, form):
    folder = write(tmp_path / "p", {"模型.pt": PICKLE})
    target = tmp_path / "report"
    target.write_bytes(b"old")
    assert app.run(["audit", "--format", form, "-o", str(target), str(folder)]) == 1
    assert said(capfd) == ("", "")
    text = target.read_bytes().decode()
    assert app.run(["audit", "--format", form, str(folder)]) == 1
    printed = said(capfd)[0]
    assert without_time(text).rstrip("\n") == without_time(printed).rstrip("\n")
    assert set(tree(tmp_path)) == {"p", "p/模型.pt", "report"}


def without_time(text: str) -> str:
    """A report without the moment at which it was made."""
    return re.sub(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\s\"<]*", "TIME", text)


@pytest.mark.parametrize("target", ["missing/report", "folder", "file/report", "/dev/full", ""])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_report_that_cannot_be_written_is_an_error(tmp_path, monkeypatch, capfd, target, as_json):
    write(tmp_path, {"file": "x", "p/m.pt": PICKLE, "folder/x": ""})
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert app.run(["audit", "-o", target, "p", *["--json"] * as_json]) == 2
    assert tree(tmp_path) == before
    out, err = said(capfd)
    assert (out.count("\n"), err.count("\n")) == ((1, 0) if as_json else (0, 1))


@pytest.mark.parametrize("form", FORMS)
def test_json_is_short_for_its_form_and_excludes_the_others(tmp_path, capfd, form):
    status = app.run(["audit", "--json", "--format", form, str(write(tmp_path, {"a": ""}))])
    assert status == (0 if form == "json" else 2)
    document = json.loads(said(capfd)[0])
    assert ("findings" in document) == (form == "json")


@pytest.mark.parametrize("form", ["json", "sarif", "html"])
def test_a_document_is_utf_8_and_alone_on_standard_output(tmp_path, capfdbinary, form):
    write(tmp_path, {"模型\u202e.pt": PICKLE, b"\xff.pt": PICKLE})
    assert app.run(["audit", "--format", form, str(tmp_path)]) == 1
    out, err = capfdbinary.readouterr()
    assert err == b""
    text = out.decode()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    if form != "html":
        json.loads(text)


def test_a_plug_in_that_prints_does_not_spoil_the_document(tmp_path, capfd, monkeypatch):
    from torchkeep import audit

    def noisy(project):
        sys.stdout.write("noise\n")
        return real(project)

    real = audit.run
    monkeypatch.setattr(audit, "run", noisy)
    assert app.run(["audit", "--json", str(write(tmp_path, {"a": ""}))]) == 0
    out, err = said(capfd)
    assert json.loads(out)["verdict"] == "pass"
    assert err == "noise\n"


def test_init_writes_and_never_overwrites(tmp_path, capfd):
    write(tmp_path, {"m.safetensors": safetensors(a=b"1"), "model.py": "def build(): ..."})
    assert app.run(["init", str(tmp_path)]) == 0
    out, err = said(capfd)
    assert (out, err.startswith(f"wrote {tmp_path / 'torchkeep.toml'};")) == ("", True)
    assert Project.open(tmp_path).models["m"].build == "model:build"
    before = tree(tmp_path)
    assert app.run(["init", str(tmp_path)]) == 2
    assert "never overwritten" in said(capfd)[1]
    assert tree(tmp_path) == before


@pytest.mark.parametrize("language", ["en", "zh"])
def test_init_can_print_instead(tmp_path, capfdbinary, language):
    write(tmp_path, {"模型.safetensors": b""})
    before = tree(tmp_path)
    assert app.run(["init", "--stdout", "--lang", language, str(tmp_path)]) == 0
    out, err = capfdbinary.readouterr()
    assert (err, tree(tmp_path)) == (b"", before)
    (tmp_path / "torchkeep.toml").write_bytes(out)
    assert Project.open(tmp_path).models


def test_init_in_a_folder_that_cannot_be_written(tmp_path, capfd, monkeypatch):
    real = os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    status = app.run(["init", str(tmp_path)])
    monkeypatch.undo()
    assert (status, tree(tmp_path)) == (2, {})
    out, err = said(capfd)
    assert (out, err.count("\n"), "Read-only file system" in err) == ("", 1, True)


def test_explain_prints_the_index_and_a_page(capfd):
    assert app.run(["explain"]) == 0
    out, err = said(capfd)
    assert err == ""
    assert {"TK-SCAN-001", "TK-AUDIT-002", "TK-MARK-000"} <= {
        x.split()[0] for x in out.splitlines()
    }
    assert app.run(["explain", "tk-scan-001", "--lang", "zh"]) == 0
    out, err = said(capfd)
    assert (out.splitlines()[0], "威胁" in out, "CWE-502" in out) == ("TK-SCAN-001", True, True)
    assert "\x1b" not in out


def test_explain_as_json(capfd):
    assert app.run(["explain", "--json"]) == 0
    index = json.loads(said(capfd)[0])
    assert index["schema_version"] == 1
    for entry in index["rules"]:
        assert app.run(["explain", "--json", entry["rule"], "--lang", "zh"]) == 0
        out, err = said(capfd)
        page = json.loads(out)
        assert (page["rule"], page["schema_version"], err) == (entry["rule"], 1, "")
        assert out.isascii()
