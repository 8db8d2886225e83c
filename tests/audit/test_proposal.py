"""``init`` proposes a file that can be loaded, whatever lies in the folder, and runs nothing."""

from __future__ import annotations

import os
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers.projects import safetensors, tree, write

from torchkeep.audit import propose
from torchkeep.audit.proposal import write as write_proposal
from torchkeep.core.errors import Internal, UsageError
from torchkeep.core.messages import LANGUAGES
from torchkeep.core.project import FILE, Project
from torchkeep.core.text import is_plain

BOMB = """
import pathlib
pathlib.Path(__file__).with_name("ran").touch()
raise SystemExit
def build() -> "torch.nn.Module": ...
"""


def loaded(folder, language: str = "en") -> Project:
    """The proposal, written and read back as a project."""
    text = propose(folder, language)
    assert all(is_plain(line) for line in text.split("\n"))
    (folder / FILE).write_text(text, encoding="utf-8")
    return Project.load(folder / FILE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_found_is_proposed(tmp_path, language):
    write(
        tmp_path,
        {
            "income.safetensors": safetensors(a=b"1"),
            "old/income.pt": b"\x80\x02}.",
            "exported.pt2": b"PK",
            "model.py": "def build_income(): ...\ndef helper(): ...\ndef make(size): ...\n",
            "data/census.csv": "a,b\n",
            "data/arrays.npz": b"PK",
            "notes.txt": "",
            ".venv/lib/model.pt": b"",
        },
    )
    found = loaded(tmp_path, language)
    assert found.name == tmp_path.name
    assert {name: (m.weights, m.build) for name, m in found.models.items()} == {
        "exported": ("exported.pt2", None),
        "income": ("income.safetensors", "model:build_income"),
        "income-2": ("old/income.pt", "model:build_income"),
    }
    assert {name: table.path for name, table in found.data.items()} == {"census": "data/census.csv"}
    assert found.profile == "baseline"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_empty_folder_gets_a_project_file_too(tmp_path, language):
    found = loaded(tmp_path, language)
    assert (found.models, found.data) == ({}, {})


def test_the_comments_are_in_the_language_of_the_reader(tmp_path):
    assert "请阅读后再采用" in propose(tmp_path, "zh")
    assert "Read it before" in propose(tmp_path)


def test_of_several_builders_none_is_taken(tmp_path):
    source = "def build_a(): ...\ndef build_b() -> nn.Module: ...\n"
    write(tmp_path, {"m.pt": b"", "pkg/model.py": source, "pkg/__init__.py": "def create(): ..."})
    assert loaded(tmp_path).models["m"].build is None
    text = propose(tmp_path)
    assert "# build" in text
    for name in ("pkg.model:build_a", "pkg.model:build_b", "pkg:create"):
        assert name in text


ODD_SOURCES = [
    BOMB,
    "def",
    "x = '\\d'\n",  # Python warns of it
    "\0",
    "\ufeffx = 1",
    "(" * 10_000,
    "-" * 100_000 + "1",
    "x" + ".a" * 50_000,
    "def build() -> x" + ".a" * 3_000 + ": ...",
    "def build() -> " + "[" * 80 + "]" * 80 + ": ...",
    "# -*- coding: latin-1 -*-\nx = '\xe9'",
    "# -*- coding: rot13 -*-\nk = 1",
    "def build(*, a): ...\ndef make(a=1): ...",
    " " * (1 << 21),
]


@pytest.mark.parametrize("source", ODD_SOURCES)
def test_no_source_is_run_or_stops_the_proposal(tmp_path, source):
    write(tmp_path, {"model.py": source.encode("latin-1", "replace"), "m.safetensors": b""})
    assert "m" in loaded(tmp_path).models
    assert not (tmp_path / "ran").exists()


NAMES = [
    'quote".pt',
    "'apostrophe'.pt",
    "back\\slash.pt",
    "new\nline.pt",
    "tab\t.pt",
    "esc\x1b[2J.pt",
    "del\x7f.pt",
    "c1\x85.pt",
    "bidi\u202e.pt",
    "zero\u200b.pt",
    "模型.pt",
    "\U0001f600.pt",
    "]\n[waivers.pt",
    "# comment.pt",
    "a.b.pt",
    " .pt",
    "-.pt",
    "-..pt",
    "{x}.pt",
    "%s.pt",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_comes_back_as_it_is(tmp_path, name):
    folder = tmp_path / name.removesuffix(".pt")
    write(folder, {name: b"", f"sub/{name}": b"", f"{name}.csv": b""})
    found = loaded(folder)
    assert found.name == (folder.name.strip() or "project")
    assert {model.weights for model in found.models.values()} == {name, f"sub/{name}"}
    assert {table.path for table in found.data.values()} == {f"{name}.csv"}


def test_a_name_of_stray_bytes_is_left_out(tmp_path):
    folder = tmp_path / os.fsdecode(b"stray\xff")
    write(folder, {b"\xff.pt": b"", "good.pt": b""})
    found = loaded(folder)
    assert found.name == "stray\\udcff"
    assert [model.weights for model in found.models.values()] == ["good.pt"]


@pytest.mark.parametrize("name", ["01_train.py", "my-model.py", "模型.py", "a b/m.py", "x.y.py"])
def test_a_module_that_no_project_file_can_name_is_not_proposed(tmp_path, name):
    write(tmp_path, {name: "def build(): ...\n", "m.safetensors": b""})
    assert loaded(tmp_path).models["m"].build is None


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=20)))
def test_any_names_give_a_file_that_loads(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("any")
    for name in names:
        (folder / f"x{name}.safetensors").write_bytes(b"")
    found = loaded(folder)
    assert {m.weights for m in found.models.values()} == {f"x{n}.safetensors" for n in names}


def test_write_never_overwrites(tmp_path):
    path = write_proposal(tmp_path)
    before = path.read_bytes()
    assert tomllib.loads(before.decode())["project"]["name"] == tmp_path.name
    with pytest.raises(UsageError, match="exists and is never overwritten"):
        write_proposal(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link", "pipe"])
def test_whatever_has_the_name_stays(tmp_path, kind):
    path = tmp_path / FILE
    other = tmp_path / "other"
    if kind == "file":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_bytes(b"mine")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="never overwritten"):
        write_proposal(tmp_path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["missing", "file", "file/below", "x" * 5000])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    for verb in (propose, write_proposal):
        with pytest.raises((UsageError, Internal)):
            verb(tmp_path / name)
