from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from torchkeep.core.finding import State
from torchkeep.core.messages import catalogue
from torchkeep.core.project import Project
from torchkeep.core.rule import SECTIONS
from torchkeep.models.rules import RULESET

MODELS, DATA = (rule.check for rule in RULESET.rules)
BUILD = 'build = "model:build"\n'
WEIGHTS = 'weights = "m.safetensors"\n'
STATE = save({"w": torch.zeros(2)})


RECORDS = {
    "m/constants.pkl": b"\x80\x02).",
    "m/archive_format": b"pt2",
    "a/data.pkl": b"\x80\x02}.",
}


def archive(*names: str) -> bytes:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        for name in names:
            written.writestr(name, RECORDS.get(name, b""))
    return out.getvalue()


@pytest.fixture
def judged(make, marker):
    """The findings of one rule about a project whose code says when it runs."""

    def judged(check, entry: str, *, more: str = "", folders=(), **files):
        run = f"import os\nos.mkdir({str(marker)!r})\n"
        project = make(entry, model=run, more=more, **files)
        for folder in folders:
            (project.root / folder).mkdir()
        found = list(check(project))
        assert not marker.exists()
        for finding in found:
            assert {finding.reason.text(each) for each in ("en", "zh")}
            if finding.state in (State.FAIL, State.WARN, State.NOT_MEASURED):
                assert finding.fix == ("torchkeep", "explain", finding.rule)
        return found

    return judged


@pytest.mark.parametrize(
    ("entry", "files", "state", "reason"),
    [
        (BUILD + WEIGHTS, {"m__safetensors": STATE}, State.PASS, "can-be-loaded"),
        (BUILD + 'weights = "./m.bin"', {"m__bin": STATE}, State.PASS, "can-be-loaded"),
        ('weights = "m.pt"', {"m__pt": archive("m/constants.pkl")}, State.PASS, "can-be-loaded"),
        ('weights = "m.pt2"', {"m__pt2": archive("m/archive_format")}, State.PASS, "can-be-loaded"),
        (BUILD, {}, State.FAIL, "no-weights"),
        (BUILD + WEIGHTS, {}, State.FAIL, "missing"),
        (WEIGHTS, {"m__safetensors": STATE}, State.FAIL, "build-absent"),
        (
            BUILD + 'weights = "m.pt"',
            {"m__pt": archive("m/constants.pkl")},
            State.FAIL,
            "build-superfluous",
        ),
        (
            'build = "absent:build"\n' + WEIGHTS,
            {"m__safetensors": STATE},
            State.FAIL,
            "no-module",
        ),
        ('build = "os:getcwd"\n' + WEIGHTS, {"m__safetensors": STATE}, State.FAIL, "no-module"),
        (BUILD + WEIGHTS, {"m__safetensors": b"\x80\x02}."}, State.FAIL, "pickle"),
        (BUILD + WEIGHTS, {"m__safetensors": archive("a/data.pkl")}, State.FAIL, "pickle"),
        (BUILD + WEIGHTS, {"m__safetensors": b"text"}, State.FAIL, "foreign"),
        (BUILD + WEIGHTS, {"m__safetensors": b""}, State.FAIL, "foreign"),
        (BUILD + WEIGHTS, {"m__safetensors": archive("a/b")}, State.FAIL, "foreign"),
        (
            BUILD + 'weights = "w"',
            {"w": b"BM" + bytes(6) + b"{" + bytes(30_000)},
            State.FAIL,
            "foreign",
        ),
        (
            BUILD + WEIGHTS,
            {"m__safetensors": (20).to_bytes(8, "little") + b"{" + bytes(30)},
            State.NOT_MEASURED,
            "not-clean",
        ),
        (BUILD + WEIGHTS, {"m__safetensors": STATE[:-1]}, State.FAIL, "not-clean"),
        (
            'weights = "m.pt2"',
            {"m__pt2": archive("m/archive_format").replace(b"pt2", b"pt3")},
            State.FAIL,
            "not-clean",
        ),
    ],
)
def test_models(judged, entry, files, state, reason):
    [found] = judged(MODELS, entry, **files)
    assert (found.state, found.reason.id) == (state, f"models.{reason}")
    assert found.subject == "models.m"
    assert str(found.location) == "torchkeep.toml:3"
    assert (found.required is None) == (state is not State.FAIL)


def test_weights_that_no_other_rule_sees(judged, tmp_path: Path):
    (tmp_path / "m.safetensors").write_bytes(STATE)
    [found] = judged(MODELS, BUILD + 'weights = "../m.safetensors"')
    assert (found.state, found.reason.id) == (State.WARN, "models.outside")


def test_weights_that_cannot_be_read(judged, monkeypatch):
    def refuse(*_args):
        raise PermissionError

    monkeypatch.setattr("torchkeep.models.rules.tell", refuse)
    [found] = judged(MODELS, BUILD + WEIGHTS, m__safetensors=STATE)
    assert (found.state, found.reason.id) == (State.NOT_MEASURED, "models.unreadable")


def test_a_pipe_does_not_hold_it_up(judged, tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    [found] = judged(MODELS, BUILD + 'weights = "../pipe"')
    assert found.reason.id == "models.missing"


@pytest.mark.parametrize(
    ("test", "state", "reason"),
    [
        ('"t.csv"', State.PASS, "data-found"),
        ('{ path = "d", x = "x", y = "y" }', State.PASS, "data-found"),
        ('"model:test"', State.PASS, "data-found"),
        ('"absent.csv"', State.FAIL, "missing"),
        ('"absent:test"', State.FAIL, "no-module"),
        ("{}", State.FAIL, "no-path"),
        ('{ path = "t.csv", call = "model:test" }', State.FAIL, "no-path"),
    ],
)
def test_data(judged, test, state, reason):
    more = '[data.a]\npath = "t.csv"\n[data.b]\npath = "gone.csv"\n'
    found = judged(DATA, f"test = {test}", more=more, folders=["d"], t__csv=b"a,y\n")
    assert [(each.subject, each.state) for each in found] == [
        ("data.a", State.PASS),
        ("data.b", State.FAIL),
        ("models.m.test", state),
    ]
    assert found[2].reason.id == f"models.{reason}"
    assert [str(each.location) for each in found] == [f"torchkeep.toml:{n}" for n in (5, 7, 4)]


def test_nothing_named(tmp_path):
    for check in (MODELS, DATA):
        [found] = check(Project.open(tmp_path))
        assert found.state is State.NOT_APPLICABLE
        assert found.reason.text("zh")


def test_everything_is_written_in_both_languages():
    for rule in RULESET.rules:
        for section in SECTIONS:
            for language in ("en", "zh"):
                assert rule.text(section).text(language)
    for name, entry in catalogue("models").items():
        texts = entry.values() if name.startswith("TK-") else [entry]
        for text in texts:
            assert sorted(text) == ["en", "zh"]


BLOCKED = """
import sys

for name in ("torch", "numpy", "safetensors", "polars", "PIL"):
    sys.modules[name] = None
"""


def test_rules_run_without_torch(make):
    project = make(BUILD + WEIGHTS + 'test = "model:test"', m__safetensors=STATE)
    code = f"""
from torchkeep.core.project import Project
from torchkeep.models.rules import RULESET

project = Project.open({str(project.root)!r})
print([finding.state.value for rule in RULESET.rules for finding in rule.check(project)])
"""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['pass', 'pass']"
