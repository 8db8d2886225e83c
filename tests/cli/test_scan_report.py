"""The page about reports says what the command prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from makers.projects import write

from torchkeep.cli import app
from torchkeep.core.messages import plain
from torchkeep.scan import FileReport, Issue, Report, Verdict
from torchkeep.scan.render.sarif import render
from torchkeep.scan.render.terminal import MOST_CLEAN

PAGE = Path(__file__).parents[2] / "docs" / "scan-report.md"


@pytest.fixture
def page() -> str:
    return PAGE.read_text("utf-8")


def fields(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields of a document, as the page writes them."""
    if isinstance(value, list):
        for entry in value:
            yield from fields(entry, f"{path}[]")
    elif isinstance(value, dict):
        for name, entry in value.items():
            place = f"{path}.{name}" if path else name
            yield place
            yield from fields(entry, place)


def test_the_example_is_what_the_command_prints(page, tmp_path, monkeypatch, capfd):
    made = re.findall(r"^printf '(.+)' > (\S+)$", page, re.M)
    data = {name: text.encode().decode("unicode_escape").encode("latin-1") for text, name in made}
    monkeypatch.chdir(write(tmp_path, data))
    command = re.search(r"^torchkeep (scan --json .+)$", page, re.M)[1]
    assert app.run(command.split()) == 1
    shown = re.search(r"^```json\n(.+?)^```", page, re.M | re.S)[1]
    assert json.dumps(json.loads(shown)) == capfd.readouterr().out.rstrip("\n")


def test_every_field_is_described_and_no_other(page):
    shown = json.loads(re.search(r"^```json\n(.+?)^```", page, re.M | re.S)[1])
    allowed = FileReport(path="m.pkl", allowed={"mine.Thing": date(2027, 3, 1)})
    there = {*fields(shown), *fields(Report((allowed,)).to_json())}
    assert set(re.findall(r"^\| `([\w.\[\]]+)` \| (?:text|number|list)", page, re.M)) == there


def test_the_table_of_sarif_is_the_renderers(page):
    rows = re.findall(r"^\| (`[^|]+`) \| `(fail|open)` \| `(\w+)` \|$", page, re.M)
    told = {name: row[1:] for row in rows for name in re.findall(r"`([\w-]+)`", row[0])}
    assert told.keys() == {v.value for v in Verdict} - {"clean", "not-a-model"}
    for name, (kind, level) in told.items():
        issue = Issue(rule="TK-SCAN-010", severity=Verdict(name), message=plain("x"))
        document = json.loads(render(Report((FileReport(path="m", issues=[issue]),))))
        (result,) = document["runs"][0]["results"]
        assert (result["kind"], result["level"]) == (kind, level)


def test_the_number_of_clean_files_is_the_renderers(page):
    assert f"up to {MOST_CLEAN} of them" in page


def test_the_code_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(write(tmp_path, {"models/m.pkl": b"\x80\x02}."}))
    code = re.search(r"^```python\n(.+?)^```", page, re.M | re.S)[1]
    exec(code, {})
    assert capsys.readouterr().out == "['models/m.pkl']\n"


def test_the_file_of_patterns_is_one(page, tmp_path, monkeypatch, capfd):
    patterns = re.search(r"^```text\n(.+?)^```", page, re.M | re.S)[1]
    planted = {"tests/fixtures/a/b.pkl": b"\x80\x02cos\nsystem\n.", ".scan-exclude": patterns}
    monkeypatch.chdir(write(tmp_path, planted))
    command = re.search(r"torchkeep (scan \. .+)$", page, re.M)[1]
    assert app.run(command.split()) == 0
    found = json.loads((tmp_path / "scan.sarif").read_text())
    assert found["runs"][0]["properties"]["excluded"] == 1
