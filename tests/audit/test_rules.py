"""The audit's own rules, over folders as they are found."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from makers.projects import project, safetensors, tree, write

from torchkeep.audit import Verdict, run
from torchkeep.audit.rules import RULESET
from torchkeep.core import source
from torchkeep.core.errors import SourceError
from torchkeep.core.finding import Finding, State
from torchkeep.core.project import Project
from torchkeep.core.statement import Subject, state

MEBI = 1 << 20
TOKEN = "gh" + "p_" + "a1B2" * 9


def rows(found: Project, rule: str) -> list[Finding]:
    return [row for row in run(found).findings if row.rule == rule]


def states(found: Project, rule: str) -> dict[str, State]:
    return {row.subject: row.state for row in rows(found, rule)}


def test_an_empty_project_passes_the_baseline_and_not_the_strict_profile(tmp_path):
    assert run(project(tmp_path)).verdict is Verdict.PASS
    strict = '[project]\nname = "sample"\n[policy]\nprofile = "strict"\n'
    assert run(project(tmp_path, {"torchkeep.toml": strict})).verdict is Verdict.INCOMPLETE


def test_a_folder_that_is_no_project_is_audited_and_told_so(tmp_path):
    found = Project.open(write(tmp_path, {"m.safetensors": safetensors(a=b"1")}))
    before = tree(tmp_path)
    (row,) = rows(found, "TK-AUDIT-003")
    assert (row.state, row.subject) == (State.WARN, tmp_path.name)
    assert run(found).verdict is Verdict.PASS
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["-x", "a b", "$(touch pwned)", "模型"])
def test_the_fix_of_a_missing_project_file_names_the_folder(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    (row,) = rows(Project.open(name), "TK-AUDIT-003")
    assert row.fix == ("torchkeep", "init", "--", name)
    monkeypatch.chdir(name)
    (row,) = rows(Project.open(), "TK-AUDIT-003")
    assert row.fix == ("torchkeep", "init")


def test_what_cannot_be_looked_at_is_not_measured(tmp_path):
    found = project(tmp_path)
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    report = run(Project.open(tmp_path))
    assert report.verdict is Verdict.INCOMPLETE
    assert states(found, "TK-AUDIT-001") == {
        "gone": State.NOT_MEASURED,
        "loop": State.NOT_MEASURED,
    }


def test_a_link_out_of_the_project_is_left_out_and_named(tmp_path):
    write(tmp_path, {"outside/secret.env": TOKEN, "in/a.txt": "fine", "in/.git/config": TOKEN})
    (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "in" / "link.env").symlink_to(tmp_path / "outside" / "secret.env")
    os.mkfifo(tmp_path / "in" / "pipe")
    report = run(project(tmp_path / "in"))
    assert report.skipped == (".git", "link", "link.env", "pipe")
    assert report.verdict is Verdict.PASS


def test_a_secret_fails_with_its_line(tmp_path):
    found = project(tmp_path, {"a/b.env": f"\n\nX={TOKEN}\n"})
    (row,) = rows(found, "TK-AUDIT-002")
    assert (row.state, row.subject, str(row.location)) == (State.FAIL, "a/b.env", "a/b.env:3")


# Length of the file, where the secret starts, states.
LIMIT = 16 * MEBI
CUTS = [
    (LIMIT, 0, {State.FAIL}),
    (LIMIT, LIMIT - len(TOKEN), {State.FAIL}),
    (LIMIT + 1, 0, {State.FAIL, State.WARN}),
    (LIMIT + MEBI, LIMIT + 1, {State.WARN}),  # beyond what is searched: no word of a pass
    (LIMIT + MEBI, None, {State.WARN}),
    (LIMIT, None, {State.PASS}),
]


@pytest.mark.parametrize(("size", "place", "expected"), CUTS)
def test_a_large_file_is_searched_in_part_and_never_passes_as_whole(
    tmp_path, size, place, expected
):
    data = bytearray(b" " * size)
    if place is not None:
        data[place : place + len(TOKEN)] = TOKEN.encode()
    found = project(tmp_path, {"large.csv": bytes(data)})
    assert {row.state for row in rows(found, "TK-AUDIT-002")} == expected


def test_binary_files_are_counted_and_not_searched(tmp_path):
    files = {"a.bin": b"\0" + TOKEN.encode(), "b.bin": b" " * 8192 + b"\0", "c.txt": "fine"}
    (row,) = rows(project(tmp_path, files), "TK-AUDIT-002")
    assert row.state is State.PASS
    assert "in 3 text files; 1 binary files" in row.reason.text()


def test_a_file_that_cannot_be_searched_is_not_measured(tmp_path, monkeypatch):
    found = project(tmp_path, {"a.env": "fine", "b.env": TOKEN})

    def refuse(path):
        if Path(path).name == "a.env":
            raise SourceError("no")
        return real(path)

    real = source.open
    monkeypatch.setattr(source, "open", refuse)
    assert states(found, "TK-AUDIT-002") == {"a.env": State.NOT_MEASURED, "b.env": State.FAIL}


def test_statements(tmp_path):
    found = project(tmp_path)
    assert states(found, "TK-AUDIT-005") == {"sample": State.NOT_APPLICABLE}
    subject = Subject("m.pt", "0" * 64)
    found.keep(state("scan", [subject], {"verdict": "clean"}, started=datetime.now(UTC)))
    assert states(found, "TK-AUDIT-005") == {"sample": State.PASS}
    path = tmp_path / ".torchkeep" / "statements" / "scan" / "broken.dsse.json"
    path.write_bytes(b"{}")
    name = ".torchkeep/statements/scan/broken.dsse.json"
    assert states(found, "TK-AUDIT-005") == {name: State.FAIL}
    assert run(found).verdict is Verdict.FAIL


def test_every_rule_here_says_what_it_is():
    assert len({rule.id for rule in RULESET.rules}) == len(RULESET.rules)
    assert all(rule.id.startswith("TK-AUDIT-") for rule in RULESET.rules)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count reads")
def test_a_project_with_many_files_and_a_huge_one_is_hardly_read(tmp_path):
    for number in range(100):
        folder = tmp_path / f"{number:02}"
        folder.mkdir()
        for name in range(100):
            (folder / f"{name:02}.txt").write_bytes(b"a few words\n")
    for name in ("huge.pt", "huge.safetensors", "huge.bin", "huge.npz", "huge"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 30)
    before = read_so_far()
    report = run(Project.open(tmp_path))
    assert report.files == 10_005
    # Of data of no known kind, a scan searches the first 64 MiB for pickles.
    assert read_so_far() - before < 4 * (64 + 1) * MEBI
    assert {f.subject for f in report.findings if f.rule == "TK-SCAN-001"} == {
        "huge.pt",
        "huge.safetensors",
        "huge.bin",
        "huge.npz",
    }


def read_so_far() -> int:
    """Bytes that this process has read from files."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])
