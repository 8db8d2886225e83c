"""``torchkeep convert`` at the command line."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest
from doubles.http import FileServer
from makers.projects import safetensors, tree, write
from makers.shell import at_terminal, call

from torchkeep.cli import app
from torchkeep.core.dsse import Envelope
from torchkeep.core.project import Project
from torchkeep.core.statement import Statement, state

torch = pytest.importorskip("torch")

from makers.checkpoints import expected, save  # noqa: E402 (it imports torch)

W = torch.arange(6.0).reshape(2, 3)
STATE = {"w": W, "b": W[0]}


class Payload:
    def __reduce__(self):
        return os.system, ("touch marker",)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHKEEP_LANG", "en")
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path


def test_a_checkpoint_becomes_safetensors_beside_it(here, capfd):
    save(STATE, here / "model.pt")
    assert app.run(["convert", "model.pt"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        "converted  model.pt -> model.safetensors  (2 tensors, 36 bytes)",
        "one storage, each written in full: b, w",
    ]
    assert err == "statement kept: model.safetensors.dsse.json\n"
    assert (here / "model.safetensors").read_bytes() == expected(STATE, here)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("a.bin", "a.safetensors"),
        ("a.v1.ckpt", "a.v1.safetensors"),
        ("checkpoint-1.5", "checkpoint-1.5.safetensors"),
        ("plain", "plain.safetensors"),
    ],
)
def test_the_name_of_the_output(here, capfd, source, target):
    save(STATE, here / source)
    assert app.run(["convert", source, "--no-statement"]) == 0
    assert tree(here).keys() == {source, target}
    assert capfd.readouterr().err == ""


def test_json_is_one_document_with_the_same_facts(here, capfd):
    save({"m": STATE, "epoch": 3}, here / "model.pt")
    assert app.run(["convert", "model.pt", "--key", "m", "-o", "o.safetensors", "--json"]) == 0
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert (out.count("\n"), err) == (1, "")
    assert document["schema_version"] == 1
    assert document["target"] == "o.safetensors"
    assert document["left_behind"] == ["epoch"]
    assert document["shared"] == [["b", "w"]]
    assert document["statement"] == "o.safetensors.dsse.json"


def test_what_was_left_behind_is_said_in_both_languages(here, capfd):
    save({"w": W, "bad": Payload()} | {f"n{n}": n for n in range(9)}, here / "model.pt")
    command = ["convert", "model.pt", "--salvage", "--no-statement", "--force"]
    assert app.run(command) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1] == "the scan of the source says: dangerous"
    assert "may have changed the weights" in lines[2]
    assert lines[3].endswith("n0, n1, n2, n3, n4, n5, n6, and 2 more")
    assert app.run([*command, "--lang", "zh"]) == 0
    out = capfd.readouterr().out
    assert all(word in out for word in ("已转换", "危险", "未转换的内容", "另有 2 项"))
    assert not (here / "marker").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_module_says_that_its_structure_is_gone(here, capfd):
    save(torch.nn.Linear(2, 2), here / "model.pt")
    assert app.run(["convert", "model.pt", "--no-statement"]) == 0
    assert "structure of torch.nn.modules.linear.Linear" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["danger.pt"], 1, "--salvage"),
        (["mixed.pt"], 1, "--key: m"),
        (["cut.pt"], 1, "malformed"),
        (["mixed.pt", "--key", "nope"], 2, "is not there"),
        (["mixed.pt", "--key", "m", "-o", "out.pt"], 2, ".safetensors"),
        (["mixed.pt", "--key", "m", "-o", "taken.safetensors"], 2, "--force"),
        (["mixed.pt", "--key", "m", "-o", "said.safetensors"], 2, "said.safetensors.dsse.json"),
        (["done.safetensors"], 2, "is the source itself"),
        (["done.safetensors", "-o", "other.safetensors"], 2, "holds no pickle"),
        (["missing.pt"], 2, "cannot be read"),
        (["."], 2, "."),
        (["archive.7z"], 3, "could not be scanned"),
        (["http://127.0.0.1:9/"], 2, "name the output with -o"),
        (["http://127.0.0.1:9/a%00.pt"], 2, "name the output with -o"),
        ([], 2, "missing argument"),
        (["a", "b"], 2, "argument"),
    ],
)
def test_a_refusal_is_one_line_and_changes_nothing(here, capfd, arguments, status, word):
    save({"w": W, "bad": Payload()}, here / "danger.pt")
    save({"m": STATE, "epoch": 3}, here / "mixed.pt")
    cut = save(STATE, here / "cut.pt").read_bytes()[:-30]
    write(
        here,
        {
            "cut.pt": cut,
            "taken.safetensors": b"old",
            "said.safetensors.dsse.json": b"old",
            "done.safetensors": safetensors(a=b"1234"),
            "archive.7z": b"7z\xbc\xaf\x27\x1c" + bytes(64),
        },
    )
    before = tree(here)
    assert app.run(["convert", *arguments]) == status
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert word.lower() in err.lower()
    assert app.run(["convert", "--json", *arguments]) == status
    out, err = capfd.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert json.loads(out)["error"]["message"]
    assert tree(here) == before


def test_force_replaces_output_and_statement(here, capfd):
    save(STATE, here / "model.pt")
    write(here, {"model.safetensors": b"old", "model.safetensors.dsse.json": b"old"})
    assert app.run(["convert", "model.pt", "--force"]) == 0
    envelope = Envelope.from_bytes((here / "model.safetensors.dsse.json").read_bytes())
    assert Statement.from_envelope(envelope).kind == "derivation"


def test_a_project_keeps_the_statement_and_its_evidence_follows(here, capfd):
    write(here, {"torchkeep.toml": '[project]\nname = "sample"\n', "deep/readme": b""})
    save(STATE, here / "model.pt")
    project = Project.open(here)
    before = project.subject("model.pt")
    project.keep(state("robustness", [before], {}, started=datetime.now(UTC)))
    assert app.run(["convert", "model.pt", "-o", "deep/model.safetensors"]) == 0
    assert tree(here / "deep").keys() == {"readme", "model.safetensors"}
    evidence = project.evidence("robustness", project.subject("deep/model.safetensors"))
    assert evidence is not None
    assert evidence.via == ("convert",)


def test_a_wrong_project_is_told_before_the_work(here, capfd):
    write(here, {"torchkeep.toml": "[project\n"})
    save(STATE, here / "model.pt")
    assert app.run(["convert", "model.pt"]) == 2
    assert "torchkeep.toml:1" in capfd.readouterr().err
    assert not (here / "model.safetensors").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_audit_names_the_command_and_is_content_after_it(here, capfd):
    save(STATE, here / "-model.pt")
    save({"w": W, "bad": Payload()}, here / "danger.pt")
    torch.jit.script(torch.nn.ReLU()).save(here / "script.pt")
    app.run(["audit", "--json"])
    rows = json.loads(capfd.readouterr().out)["findings"]
    fixes = {row["subject"]: row["fix"] for row in rows if row["rule"] == "TK-SCAN-001"}
    assert fixes.pop("-model.pt") == ["torchkeep", "convert", "./-model.pt"]
    assert {tuple(fix) for fix in fixes.values()} == {("torchkeep", "explain", "TK-SCAN-001")}
    assert app.run(["convert", "./-model.pt"]) == 0
    capfd.readouterr()
    app.run(["audit", "--json"])
    rows = json.loads(capfd.readouterr().out)["findings"]
    states = {row["subject"]: row["state"] for row in rows if row["rule"] == "TK-SCAN-001"}
    assert states["-model.safetensors"] == "pass"


@pytest.mark.parametrize("legacy", [False, True])
def test_a_url(here, capfd, legacy):
    data = save(STATE, here / "local", legacy=legacy).read_bytes()
    with FileServer(data) as server:
        assert app.run(["convert", server.url, "-o", "out.safetensors"]) == 0
    assert (here / "out.safetensors").read_bytes() == expected(STATE, here)
    assert (here / "out.safetensors.dsse.json").exists()


def test_names_do_not_reach_the_terminal_as_they_are(here):
    save({"a\x1b[2J": W, "b\x1b[2J": W[0], "c\u202e": 3}, here / "m\x1b[2J.pt")
    done = call("convert", "m\x1b[2J.pt", "--salvage", cwd=here, PYTHONUTF8="1")
    assert done.returncode == 0
    for text in (done.stdout, done.stderr):
        assert b"\x1b" not in text
        assert "\u202e".encode() not in text
    refused = call("convert", "m\x1b[2J.pt", "--force", cwd=here, PYTHONUTF8="1")
    assert (refused.returncode, b"\x1b" in refused.stderr) == (1, False)


def test_a_terminal_shows_a_bar(here):
    save(STATE, here / "model.pt")
    status, seen = at_terminal("convert", "model.pt", cwd=here)
    assert status == 0
    assert b"converting model.pt" in seen
