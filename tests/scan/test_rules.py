"""What an audit asks about model files."""

from __future__ import annotations

import json

import pytest
from makers.projects import project, safetensors, write

from torchkeep.audit import Verdict, run
from torchkeep.core.finding import State
from torchkeep.core.project import Project
from torchkeep.scan import MODEL_SUFFIXES, files

PICKLE = b"\x80\x02}."
DANGER = b"\x80\x02cos\nsystem\n."
GOOD = safetensors(a=b"1234")
FILE = '[project]\nname = "sample"\n[models.m]\nbuild = "model:build"\nweights = "{}"\n'


def states(found: Project, number: int = 1) -> dict[str, State]:
    rule = f"TK-SCAN-{number:03}"
    return {f.subject: f.state for f in run(found).findings if f.rule == rule}


def test_content_counts_and_not_the_name(tmp_path):
    given = {
        "a.safetensors": PICKLE,
        "b.pt": GOOD,
        "c.PKL": DANGER,
        "d.onnx": bytes(100),
        "e.txt": DANGER,
        "f.bin": b"?",
        "g.pt": GOOD[:-1],
        "h.pkl": b"\x80\x02cmine\nThing\n.",
    }
    found = project(tmp_path, given)
    assert states(found) == {
        "a.safetensors": State.WARN,
        "b.pt": State.PASS,
        "c.PKL": State.WARN,
        "d.onnx": State.NOT_MEASURED,
        "f.bin": State.PASS,
        "g.pt": State.PASS,
        "h.pkl": State.WARN,
    }
    assert states(found, 2) == {
        "a.safetensors": State.PASS,
        "b.pt": State.PASS,
        "c.PKL": State.FAIL,
        "d.onnx": State.NOT_MEASURED,
        "f.bin": State.FAIL,
        "g.pt": State.FAIL,
        "h.pkl": State.FAIL,
    }
    assert run(found).verdict is Verdict.FAIL


def test_what_was_not_scanned_leaves_an_audit_incomplete(tmp_path):
    assert run(project(tmp_path, {"d.onnx": bytes(100)})).verdict is Verdict.INCOMPLETE


def test_a_picture_is_no_model(tmp_path):
    found = project(
        tmp_path,
        {"x.png": b"\x89PNG\r\n\x1a\n", "torchkeep.toml": FILE.format("x.png")},
    )
    assert states(found, 2) == {"x.png": State.NOT_APPLICABLE}


def test_each_file_is_scanned_once_for_both_rules(tmp_path, monkeypatch):
    seen = []
    real = files.file
    monkeypatch.setattr(files, "file", lambda path, **on: seen.append(path.name) or real(path))
    run(project(tmp_path, {"a.pkl": PICKLE, "b.pt": GOOD}))
    assert seen.count("a.pkl") == seen.count("b.pt") == 1


def test_the_worst_issue_is_named_with_its_place(tmp_path):
    data = b"\x80\x02cmine\nThing\n0cos\nsystem\n."
    [found] = [
        f for f in run(project(tmp_path, {"m.pkl": data})).findings if f.rule == "TK-SCAN-002"
    ]
    assert "os.system" in found.reason.text()
    assert "1 more" in found.reason.text()
    assert (found.measured.value, found.location.offset) == ("dangerous", 15)


def test_a_project_without_models_has_none(tmp_path):
    assert states(project(tmp_path, {"a.txt": "x"})) == {"sample": State.NOT_APPLICABLE}


@pytest.mark.parametrize("suffix", sorted(MODEL_SUFFIXES))
def test_a_file_with_the_name_of_a_model_is_looked_at(tmp_path, suffix):
    assert states(project(tmp_path, {f"m{suffix}": PICKLE})) == {f"m{suffix}": State.WARN}


@pytest.mark.parametrize("spelled", ["weights.dat", "./weights.dat", "sub/../weights.dat"])
def test_weights_that_the_project_names_are_looked_at_whatever_their_name(tmp_path, spelled):
    files = {"weights.dat": PICKLE, "torchkeep.toml": FILE.format(spelled), "sub/x": ""}
    assert states(project(tmp_path, files)) == {"weights.dat": State.WARN}


@pytest.mark.parametrize(
    "spelled", ["gone.pt", "../outside.pt", ".venv/m.pt", "/nowhere/m.pt", "folder"]
)
def test_named_weights_that_are_not_looked_at_are_not_measured(tmp_path, spelled):
    root = tmp_path / "root"
    files = {".venv/m.pt": GOOD, "folder/x": "", "torchkeep.toml": FILE.format(spelled)}
    found = project(root, files)
    (tmp_path / "outside.pt").write_bytes(GOOD)
    assert states(Project.open(root)) == {spelled: State.NOT_MEASURED}
    assert run(found).verdict is not Verdict.PASS


@pytest.mark.parametrize(("data", "state"), [(GOOD, State.PASS), (DANGER, State.FAIL)])
def test_a_link_out_of_the_project_is_followed_as_a_loader_would(tmp_path, data, state):
    root = tmp_path / "root"
    write(tmp_path, {"outside": data, "folder/m.pt": DANGER})
    found = project(root, {"a.txt": ""})
    (root / "link.pt").symlink_to(tmp_path / "outside")
    (root / "gone.pt").symlink_to(tmp_path / "gone")
    (root / "folder.pt").symlink_to(tmp_path / "folder")
    assert states(found, 2) == {"link.pt": state}


def test_an_index_is_looked_at_with_its_shards(tmp_path):
    index = json.dumps({"weight_map": {"a": "m-00001-of-00001.safetensors"}})
    name = "m.safetensors.index.json"
    assert states(project(tmp_path, {name: index}), 2) == {name: State.NOT_MEASURED}
    whole = project(tmp_path, {name: index, "m-00001-of-00001.safetensors": GOOD})
    assert set(states(whole, 2).values()) == {State.PASS}


def test_a_series_with_a_gap_is_not_measured(tmp_path):
    found = project(tmp_path, {f"m-0000{n}-of-00003.safetensors": GOOD for n in (1, 3)})
    assert states(found, 2)["m-00002-of-00003.safetensors"] is State.NOT_MEASURED


def test_a_file_that_vanishes_is_not_measured_and_the_others_are(tmp_path):
    found = project(tmp_path, {"a.pt": PICKLE, "b.pt": DANGER})
    assert len(found.tree.files) == 3  # found, and then
    (tmp_path / "a.pt").unlink()
    assert states(found) == {"a.pt": State.NOT_MEASURED, "b.pt": State.WARN}
    assert states(found, 2) == {"a.pt": State.NOT_MEASURED, "b.pt": State.FAIL}
