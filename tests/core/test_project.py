"""``core.project``: what a project file may say, and what is known of the files beside it."""
# ruff: noqa: E501 (a row a line: such a table is read by eye)

import os
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from doubles.mutants import killed
from pydantic import Field

from torchkeep.core import project as module
from torchkeep.core.errors import Foreign, ProjectError, SourceError, TorchkeepError, UsageError
from torchkeep.core.project import FILE, Project
from torchkeep.core.schema import Table
from torchkeep.core.statement import state

TODAY = date(2026, 6, 1)
LATEST = TODAY + timedelta(days=180)
HEAD = '[project]\nname = "p"\n'
WAIVER = '[[waivers]]\nrule = "TK-X-1"\nreason = "why"\nowner = "who"\nexpires = '
TABLES = "data, models, policy, project, vault, waivers"
MODEL = "build, classes, mean, outputs, range, std, test, train, weights"


@pytest.fixture(autouse=True)
def _today(monkeypatch):
    class Day(date):
        @classmethod
        def today(cls):
            return TODAY

    monkeypatch.setattr(module, "date", Day)


def write(folder, text):
    (folder / FILE).write_text(text, "utf-8")
    return folder / FILE


def load(folder, text):
    return Project.load(write(folder, text))


def refused(folder, text):
    with pytest.raises(ProjectError) as caught:
        load(folder, text)
    error = caught.value
    assert "\n" not in str(error)
    assert error.exit_code == 2
    assert str(error).startswith(f"{folder / FILE}:{error.line}: " if error.line else str(folder))
    return str(error).removeprefix(f"{folder / FILE}")


# What is wrong, in one line each: line number, key, expectation.

WRONG = {
    "": ": project.name: this key is required and missing",
    "[project]": ":1: project.name: this key is required and missing",
    '[project]\nname = ""': ":2: project.name: expected some text",
    '[project]\nname = " \\t"': ":2: project.name: expected some text",
    "[project]\nname = 3": ":2: project.name: expected text",
    "project = 1": ":1: project: expected a table",
    '[[project]]\nname = "p"': ":1: project: expected a table",
    HEAD + 'version = "1"': ":3: project.version: unknown key; known here: name",
    HEAD + '"pol icy" = 1': ':3: project."pol icy": unknown key; known here: name',
    "x = 1\n" + HEAD: f":1: x: unknown table; known here: {TABLES}",
    HEAD + "# so\n[polciy]": f":4: polciy: unknown table; known here: {TABLES}",
    HEAD + '["a.b"]': f':3: "a.b": unknown table; known here: {TABLES}',
    HEAD + '["a\\nb"]': f':3: "a\\nb": unknown table; known here: {TABLES}',
    "models = 1\n" + HEAD: ":1: models: expected a table [models]",
    HEAD + "[[models]]": ":3: models: expected a table [models]",
    HEAD + "[models]\na = 1": ":4: models.a: expected a table",
    HEAD + '[models.a]\nbild = "m:f"': f":4: models.a.bild: unknown key; known here: {MODEL}",
    HEAD + '[models."my one"]\nbild = 1': f':4: models."my one".bild: unknown key; known here: {MODEL}',
    "models.a.bild = 1\n" + HEAD: f":1: models.a.bild: unknown key; known here: {MODEL}",
    "models = { a = { bild = 1 } }\n" + HEAD: f":1: models.a.bild: unknown key; known here: {MODEL}",
    HEAD + '[models.a]\n\nbuild = "m f"': ":5: models.a.build: expected an import path such as 'package.module:callable'",
    HEAD + "[models.a]\nbuild = 1": ":4: models.a.build: expected text",
    HEAD + '[models.a]\nweights = ["a"]': ":4: models.a.weights: expected text",
    HEAD + "[models.a]\nclasses = 1": ":4: models.a.classes: expected a number greater than or equal to 2",
    HEAD + "[models.a]\nclasses = 2.0": ":4: models.a.classes: expected a whole number",
    HEAD + "[models.a]\nclasses = true": ":4: models.a.classes: expected a whole number",
    HEAD + "[models.a]\nrange = 1": ":4: models.a.range: expected a list",
    HEAD + "[models.a]\nrange = [1]": ":4: models.a.range: expected at least 2 items, not 1",
    HEAD + "[models.a]\nrange = [0, 1, 2]": ":4: models.a.range: expected at most 2 items, not 3",
    HEAD + "[models.a]\nrange = [1, 1]": ":4: models.a.range: expected [lowest, highest]",
    HEAD + "[models.a]\nrange = [0, nan]": ":4: models.a.range[1]: expected a finite number",
    HEAD + "[models.a]\nrange = [-inf, 0]": ":4: models.a.range[0]: expected a finite number",
    HEAD + '[models.a]\nrange = [\n0,\n"1",\n]': ":4: models.a.range[1]: expected a number",
    HEAD + "[models.a]\nmean = []": ":4: models.a.mean: expected at least 1 item, not 0",
    HEAD + '[models.a]\nmean = "x"': ":4: models.a.mean: expected a number or a list of numbers",
    HEAD + "[models.a]\nstd = true": ":4: models.a.std: expected a number or a list of numbers",
    HEAD + "[models.a]\nstd = 0": ":4: models.a.std: expected numbers greater than 0",
    HEAD + "[models.a]\nstd = [1, -1]": ":4: models.a.std: expected numbers greater than 0",
    HEAD + "[models.a]\nstd = nan": ":4: models.a.std[0]: expected a finite number",
    HEAD + '[models.a]\noutputs = "logit"': ":4: models.a.outputs: expected 'logits' or 'probabilities'",
    HEAD + "[models.a]\ntest = 3": ":4: models.a.test: expected a path, an import path such as 'module:callable' or a table",
    HEAD + '[models.a]\ntest = { paht = "x" }': ":4: models.a.test.paht: unknown key; known here: call, limit, path, x, y",
    HEAD + '[models.a]\n[models.a.test]\ncall = "no"': ":5: models.a.test.call: expected an import path such as 'package.module:callable'",
    HEAD + "[models.a]\ntest.limit = 0": ":4: models.a.test.limit: expected a number greater than 0",
    HEAD + "[models.a]\ntest.x = 3": ":4: models.a.test.x: expected a name or a list of names",
    HEAD + "[models.a]\ntest.x = [3]": ":4: models.a.test.x[0]: expected text",
    HEAD + "[data.x]": ":3: data.x.path: this key is required and missing",
    HEAD + "[data.x]\npath = 1": ":4: data.x.path: expected text",
    HEAD + "[data.x]\npaht = 'y'": ":4: data.x.paht: unknown key; known here: path (and 1 more)",
    HEAD + "[[data.x]]": ":3: data.x: expected a table",
    "policy = 1\n" + HEAD: ":1: policy: expected a table [policy]",
    HEAD + '[policy]\nprofile = "lax"': ":4: policy.profile: expected 'baseline' or 'strict'",
    HEAD + '[policy]\nprofil = "strict"': ":4: policy.profil: unknown key; known here: profile",
    "waivers = 1\n" + HEAD: ":1: waivers: expected an array of tables [[waivers]]",
    HEAD + "[waivers]\nrule = 'x'": ":3: waivers: expected an array of tables [[waivers]]",
    "waivers = [3]\n" + HEAD: ":1: waivers[0]: expected a table",
    HEAD + '[[waivers]]\nrule = "A"': ":3: waivers[0].reason: this key is required and missing (and 2 more)",
    HEAD + WAIVER + '"2026-07-01"': ":7: waivers[0].expires: expected a date such as 2027-03-01, without quotes and time",
    HEAD + WAIVER + "2026-07-01T00:00:00": ":7: waivers[0].expires: expected a date such as 2027-03-01, without quotes and time",
    HEAD + WAIVER + "2026-07-01\nsubject = 1": ":8: waivers[0].subject: expected text",
    HEAD + (WAIVER + "2026-07-01\n").replace("why", " "): ":5: waivers[0].reason: expected some text",
    HEAD + (WAIVER + "2026-07-01\n").replace("who", ""): ":6: waivers[0].owner: expected some text",
    HEAD + WAIVER + "2026-07-01\n\n" + WAIVER.replace("expires", "expire") + "2026-07-01": (
        ":13: waivers[1].expire: unknown key; known here: expires, owner, reason, rule, subject (and 1 more)"
    ),
    HEAD + WAIVER + "2026-11-29": f":7: waivers[0].expires: 2026-11-29 is more than 180 days ahead; choose a date up to {LATEST}",
    HEAD + WAIVER + "2026-07-01\n" + WAIVER + "9999-12-31": (
        f":12: waivers[1].expires: 9999-12-31 is more than 180 days ahead; choose a date up to {LATEST}"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line"), WRONG.items())
def test_a_mistake_is_told_in_one_line(tmp_path, text, line):
    assert refused(tmp_path, text) == line


@pytest.mark.parametrize(("text", "line"), WRONG.items())
def test_lines_count_alike_with_the_line_ends_of_windows(tmp_path, text, line):
    (tmp_path / FILE).write_bytes(text.replace("\n", "\r\n").encode())
    with pytest.raises(ProjectError) as caught:
        Project.load(tmp_path / FILE)
    assert str(caught.value) == f"{tmp_path / FILE}{line}"


def test_a_syntax_error_names_its_line(tmp_path):
    assert refused(tmp_path, HEAD + "[models.a\n").startswith(":3: not TOML: ")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "that is not a regular file"),
        (os.mkfifo, "that is not a regular file"),
        (lambda path: path.symlink_to("gone"), "No such file or directory"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (
            lambda path: path.write_bytes(b"#" * (1 << 20) + b"\n"),
            "it is larger than the 1,048,576 bytes",
        ),
        (lambda path: path.write_bytes(b"\xff"), None),
    ],
    ids=["folder", "pipe", "dangling link", "loop", "huge", "no text"],
)
def test_a_project_file_that_cannot_be_read_is_never_taken_for_none(tmp_path, make, reason):
    make(tmp_path / FILE)
    with pytest.raises(ProjectError) as caught:
        Project.open(tmp_path)
    expected = f": cannot be read: {reason}" if reason else ":1: expected UTF-8 text"
    assert str(caught.value).startswith(f"{tmp_path / FILE}{expected}")
    assert str(caught.value).count(FILE) == 1


# Waivers and their dates.


@pytest.mark.parametrize(
    "days", [-10_000, -1, 0, 1, 179, 180], ids=lambda days: f"{days} days from today"
)
def test_a_waiver_may_have_expired_and_may_last_180_days(tmp_path, days):
    expires = TODAY + timedelta(days=days)
    (waiver,) = load(tmp_path, HEAD + WAIVER + expires.isoformat()).waivers
    assert (waiver.expires, waiver.rule, waiver.subject) == (expires, "TK-X-1", None)


@pytest.mark.parametrize("days", [181, 200, 100_000])
def test_a_waiver_may_not_last_longer(tmp_path, days):
    expires = (TODAY + timedelta(days=days)).isoformat()
    assert f"{expires} is more than 180 days ahead" in refused(tmp_path, HEAD + WAIVER + expires)


# What is read.

FULL = """\
[project]
name = "census"

[models.income]
build = "model:build"
weights = "income.safetensors"
test = "test.parquet"
mean = 0.5

[models."with space"]
test = "model:data"

[data]
census.path = "census.csv"

[policy]
profile = "strict"
[policy.robust]
eps = 0.25

[[waivers]]
rule = "TK-MARK-001"
subject = "income.pt"
reason = "internal"
owner = "security@example.org"
expires = 2026-09-01
"""


class Robust(Table):
    norm: str = "linf"
    eps: float = Field(default=0.1, gt=0)


def test_all_that_a_file_says_is_there(tmp_path):
    project = load(tmp_path, FULL)
    assert (project.name, project.profile, project.root) == ("census", "strict", tmp_path)
    assert project.file == tmp_path / FILE
    assert project.models["income"].test.path == "test.parquet"
    assert project.models["income"].mean == [0.5]
    assert project.models["with space"].test.call == "model:data"
    assert project.data["census"].path == "census.csv"
    assert project.waivers[0].subject == "income.pt"
    assert project.policies == {"robust": {"eps": 0.25}}


def test_a_file_may_say_only_its_name(tmp_path):
    project = load(tmp_path, HEAD)
    assert (project.models, project.data, project.waivers, project.policies) == ({}, {}, (), {})
    assert project.profile == "baseline"


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / FILE).write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert Project.load(tmp_path / FILE).name == "p"


def test_a_policy_table_is_read_by_its_room(tmp_path):
    project = load(tmp_path, FULL)
    assert project.policy("robust", Robust) == Robust(eps=0.25)
    assert project.policy("privacy", Robust) == Robust()
    assert Project(tmp_path).policy("robust", Robust) == Robust()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[policy.robust]\neps = 0", ":4: policy.robust.eps: expected a number greater than 0"),
        (
            "[policy.robust]\nepsilon = 1",
            ":4: policy.robust.epsilon: unknown key; known here: eps, norm",
        ),
        ("[policy]\nrobust.eps = 'a'", ":4: policy.robust.eps: expected a number"),
        ("[policy]\nrobust = { eps = 'a' }", ":4: policy.robust.eps: expected a number"),
    ],
)
def test_a_mistake_in_a_policy_table_is_told_alike(tmp_path, text, line):
    project = load(tmp_path, HEAD + text)
    with pytest.raises(ProjectError) as caught:
        project.policy("robust", Robust)
    assert str(caught.value) == f"{tmp_path / FILE}{line}"


def test_a_policy_table_that_nobody_reads_is_refused(tmp_path):
    project = load(tmp_path, FULL)
    project.check_policies(["robust", "privacy"])
    with pytest.raises(ProjectError) as caught:
        project.check_policies(["robustness", "privacy"])
    assert str(caught.value) == (
        f"{tmp_path / FILE}:18: policy.robust: unknown table; known here: privacy, robustness"
    )
    with pytest.raises(ProjectError, match=r"unknown table; known here: none$"):
        project.check_policies([])


# Folders.


def test_a_folder_without_a_file_is_a_project_too(tmp_path, monkeypatch):
    project = Project.open(tmp_path)
    assert (project.file, project.name, project.root) == (None, tmp_path.name, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert Project.open().name == tmp_path.name
    assert Project.open("/").name == "project"


def test_a_folder_with_a_file_is_read(tmp_path):
    write(tmp_path, FULL)
    assert Project.open(tmp_path) == Project.open(str(tmp_path)) == Project.load(tmp_path / FILE)


@pytest.mark.parametrize(
    "name", ["nothing", "file", "file/below", "a\0b", "x" * 300, "nothing\n\x1b[1m"]
)
def test_what_is_no_folder_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder") as caught:
        Project.open(f"{tmp_path}/{name}")
    assert str(caught.value).isprintable()


def no_look(self):
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_may_not_be_looked_into_is_no_folder_without_a_file(tmp_path, monkeypatch):
    """As root nothing is forbidden, so the calls refuse."""
    write(tmp_path, HEAD)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", no_look)
        assert Project.open(tmp_path).name == "p"
        patch.setattr(os, "open", lambda *_args, **_more: no_look(None))
        with pytest.raises(ProjectError, match="cannot be read: Permission denied"):
            Project.open(tmp_path)
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    with pytest.raises(UsageError, match="is not a folder"):
        Project.open(tmp_path)


# State, statements and subjects.


def test_state_is_made_for_the_owner_and_ignored_by_git(tmp_path):
    project = Project.open(tmp_path)
    assert not project.state.exists()
    assert project.make_state() == tmp_path / ".torchkeep"
    assert project.state.stat().st_mode & 0o777 == 0o700
    assert (project.state / ".gitignore").read_text() == "*\n"
    project.make_state()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (project.state / "secret").touch()
    status = subprocess.run(
        ["git", "-C", tmp_path, "status", "--porcelain", "-uall"], capture_output=True, check=True
    )
    assert status.stdout == b""


def test_what_is_kept_is_found_for_the_bytes_it_speaks_of(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.csv").write_text("x")
    project = Project.open(tmp_path)
    subject = project.subject("sub/a.csv")
    assert (subject.name, subject.content) == ("sub/a.csv", None)
    path = project.keep(state("scan", [subject], {}, started=datetime.now(UTC)))
    assert path.parent == tmp_path / ".torchkeep/statements/scan"
    assert project.evidence("scan", subject).path == path
    assert project.evidence("deid", subject) is None
    (tmp_path / "sub/a.csv").write_text("y")
    assert project.evidence("scan", project.subject("sub/a.csv")) is None


def test_weights_have_a_content_digest(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"\2" + bytes(7) + b"{}")
    (tmp_path / "b.safetensors").write_bytes(b"\3" + bytes(7) + b"{} ")
    project = Project.open(tmp_path)
    one, other = project.subject("a.safetensors"), project.subject(Path("b.safetensors"))
    assert one.content == other.content is not None
    assert one.sha256 != other.sha256


@pytest.mark.parametrize(
    ("name", "kind"), [("nothing", SourceError), (".", SourceError), ("x.safetensors", Foreign)]
)
def test_a_subject_that_cannot_be_named_is_an_error(tmp_path, name, kind):
    (tmp_path / "x.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(kind):
        Project.open(tmp_path).subject(name)


def test_files_are_found_once(tmp_path):
    project = Project.open(tmp_path)
    assert project.tree is project.tree
    assert project.statements is project.statements
    assert project.tree.files == ()


@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (module, "LONGEST_WAIVER", timedelta(days=181)),
        (module._Reader, "closed", lambda self, table, known, at=(): None),
        (module._Reader, "table", lambda self, document, key: document.get(key, {})),
        (module.toml, "line_of", lambda text, key: 1),
        (module.toml, "dotted", lambda key: str(key[-1])),
    ],
)
def test_mutants_die(monkeypatch, tmp_path, owner, name, mutant):
    def check():
        for text, line in WRONG.items():
            try:
                assert refused(tmp_path, text) == line
            except (TorchkeepError, AttributeError, TypeError) as error:
                raise AssertionError(text) from error

    check()
    assert killed(monkeypatch, owner, name, mutant, check)
