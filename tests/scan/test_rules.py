"""What an audit asks about model files."""

from __future__ import annotations

import pytest
from makers.projects import project, safetensors

from torchkeep.audit import Verdict, run
from torchkeep.core.finding import State
from torchkeep.core.project import Project
from torchkeep.scan import rules

PICKLE = b"\x80\x02}."
GOOD = safetensors(a=b"1234")
FILE = '[project]\nname = "sample"\n[models.m]\nbuild = "model:build"\nweights = "{}"\n'


def states(found: Project) -> dict[str, State]:
    return {f.subject: f.state for f in run(found).findings if f.rule == "TK-SCAN-001"}


def test_content_counts_and_not_the_name(tmp_path):
    files = {
        "a.safetensors": PICKLE,
        "b.pt": GOOD,
        "c.PKL": PICKLE,
        "d.onnx": b"?",
        "e.txt": PICKLE,
    }
    found = project(tmp_path, files)
    assert states(found) == {
        "a.safetensors": State.FAIL,
        "b.pt": State.PASS,
        "c.PKL": State.FAIL,
        "d.onnx": State.NOT_MEASURED,
    }
    assert run(found).verdict is Verdict.FAIL


def test_a_project_without_models_has_none(tmp_path):
    assert states(project(tmp_path, {"a.txt": "x"})) == {"sample": State.NOT_APPLICABLE}


@pytest.mark.parametrize("suffix", sorted(rules.MODEL_SUFFIXES))
def test_a_file_with_the_name_of_a_model_is_looked_at(tmp_path, suffix):
    assert states(project(tmp_path, {f"m{suffix}": PICKLE})) == {f"m{suffix}": State.FAIL}


@pytest.mark.parametrize("spelled", ["weights.dat", "./weights.dat", "sub/../weights.dat"])
def test_weights_that_the_project_names_are_looked_at_whatever_their_name(tmp_path, spelled):
    files = {"weights.dat": PICKLE, "torchkeep.toml": FILE.format(spelled), "sub/x": ""}
    assert states(project(tmp_path, files)) == {"weights.dat": State.FAIL}


@pytest.mark.parametrize(
    "spelled", ["gone.pt", "../outside.pt", ".venv/m.pt", "link.pt", "/nowhere/m.pt", "folder"]
)
def test_named_weights_that_are_not_looked_at_are_not_measured(tmp_path, spelled):
    root = tmp_path / "root"
    files = {".venv/m.pt": GOOD, "folder/x": "", "torchkeep.toml": FILE.format(spelled)}
    found = project(root, files)
    (tmp_path / "outside.pt").write_bytes(GOOD)
    (root / "link.pt").symlink_to(tmp_path / "outside.pt")
    assert states(Project.open(root)) == {spelled: State.NOT_MEASURED}
    assert run(found).verdict is not Verdict.PASS


def test_a_file_that_vanishes_is_not_measured_and_the_others_are(tmp_path, monkeypatch):
    found = project(tmp_path, {"a.pt": PICKLE, "b.pt": PICKLE})

    def look(path):
        if path.name == "a.pt":
            raise FileNotFoundError
        return real(path)

    real = rules.sniff
    monkeypatch.setattr(rules, "sniff", look)
    assert states(found) == {"a.pt": State.NOT_MEASURED, "b.pt": State.FAIL}
