"""Rules of other packages: they run, and one that cannot is a row and exit status 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from makers.projects import project, write

RULES = """
from torchkeep.core.finding import Finding, State
from torchkeep.core.messages import plain
from torchkeep.core.rule import Control, Rule, Ruleset

def check(project):
    print("I speak on standard output")
    yield Finding(rule="ACME-1", subject="m.pt", state=State.FAIL, reason=plain("odd", "异常"))

def rule(id="ACME-1", item="models.loading", check=check, **more):
    texts = {"title": plain("Acme's own demand", "Acme 的要求")}
    return Rule(id=id, item=item, check=check, **({"texts": texts} | more))

RULESET = Ruleset(room="acme", rules=(rule(),))
"""


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages; returns a function that adds one."""
    folder = tmp_path / "site"

    def add(module: str, point: str = "acme:RULESET", *, name: str = "acme", key: str = "acme"):
        package = point.partition(":")[0]
        return write(
            folder,
            {
                f"{package}.py": module,
                f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\n",
                f"{name}-1.0.dist-info/entry_points.txt": f"[torchkeep.rules]\n{key} = {point}\n",
            },
        )

    return add


def torchkeep(path: Path, *arguments: str):
    """Run the command line with the packages in ``path`` installed."""
    environment = os.environ | {"PYTHONPATH": str(path), "TORCHKEEP_LANG": "en"}
    command = [sys.executable, "-m", "torchkeep", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert "Traceback" not in done.stderr
    return done


def audit(path: Path, folder: Path) -> tuple[int, list[dict], str]:
    done = torchkeep(path, "audit", "--json", str(project(folder).root))
    return done.returncode, json.loads(done.stdout)["findings"], done.stderr


def test_a_rule_of_another_package_runs(site, tmp_path):
    path = site(RULES)
    status, rows, heard = audit(path, tmp_path / "p")
    assert [(r["subject"], r["state"]) for r in rows if r["rule"] == "ACME-1"] == [("m.pt", "fail")]
    assert status == 1
    assert "I speak" in heard  # and did not spoil the document
    done = torchkeep(path, "explain", "acme-1", "--lang", "zh")
    assert (done.returncode, "Acme 的要求" in done.stdout) == (0, True)
    assert "ACME-1" in torchkeep(path, "explain").stdout


BROKEN = {
    "does not import": ("import no_such_module_anywhere", "ModuleNotFoundError"),
    "is no Python": ("def", "SyntaxError"),
    "ends the process": ("import sys; sys.exit(0)", "SystemExit"),
    "lacks the name": ("", "AttributeError"),
    "raises a secret": ("raise ValueError('hunter2')", "ValueError"),
    "brings something else": ("RULESET = {'rules': []}", "dict"),
    "brings no rules": (
        "from torchkeep.core.rule import Ruleset; RULESET = Ruleset(room='acme', rules=None)",
        "TypeError",
    ),
    "brings things for rules": (
        RULES + "RULESET = Ruleset(room='acme', rules=('x',))",
        "Attribute",
    ),
    "brings text that is none": (
        RULES + "RULESET = Ruleset(room='acme', rules=(rule(texts={'title': 'x'}),))",
        "Attribute",
    ),
    "brings controls that are none": (
        RULES + "RULESET = Ruleset(room='acme', rules=(rule(controls=('x',)),))",
        "TypeError",
    ),
    "brings a policy that is none": (
        RULES + "RULESET = Ruleset(room='acme', rules=(), policy=dict)",
        "TypeError",
    ),
    "takes our prefix": (
        RULES + "RULESET = Ruleset(room='acme', rules=(rule(id='TK-ACME-001'),))",
        "TK-ACME-001",
    ),
    "takes our id": (
        RULES + "RULESET = Ruleset(room='acme', rules=(rule(id='TK-SCAN-001'),))",
        "TK-SCAN-001",
    ),
    "takes our room": (RULES + "RULESET = Ruleset(room='scan', rules=(rule(),))", "scan"),
    "has an id like an option": (
        RULES + "RULESET = Ruleset(room='acme', rules=(rule(id='-x'),))",
        "-x",
    ),
    "has an id that acts": (
        RULES + "RULESET = Ruleset(room='acme', rules=(rule(id='A\\x1b[2J'),))",
        "A",
    ),
    "has an id twice": (RULES + "RULESET = Ruleset(room='acme', rules=(rule(), rule()))", "ACME-1"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_plug_in_that_does_not_load_is_an_error(site, tmp_path, fault):
    module, named = BROKEN[fault]
    status, rows, _ = audit(site(module), tmp_path / "p")
    (row,) = [row for row in rows if row["rule"] == "TK-AUDIT-006"]
    assert (status, row["state"], row["subject"]) == (3, "error", "acme:acme")
    assert named in row["reason"]
    assert "hunter2" not in json.dumps(rows)
    assert row["fix"] == ["pip", "show", "--", "acme"]
    # Ours are all there, and none of the stranger's is.
    assert {"TK-SCAN-001", "TK-AUDIT-002"} <= {row["rule"] for row in rows}
    assert not any("ACME" in row["rule"] for row in rows)


def test_a_rule_that_ends_the_process_does_not_end_the_audit(site, tmp_path):
    path = site(RULES.replace("yield Finding", "import sys; sys.exit(0); yield Finding"))
    status, rows, _ = audit(path, tmp_path / "p")
    assert [row["state"] for row in rows if row["rule"] == "ACME-1"] == ["error"]
    assert status == 3


def test_of_two_packages_with_the_same_rule_one_is_named(site, tmp_path):
    site(RULES)
    path = site(RULES, "other:RULESET", name="zeta", key="zeta")
    status, rows, _ = audit(path, tmp_path / "p")
    (row,) = [row for row in rows if row["rule"] == "TK-AUDIT-006"]
    assert (row["subject"], "ACME-1" in row["reason"]) == ("zeta:zeta", True)
    assert status == 1  # what the first one found still counts, and 1 beats 3


@pytest.mark.parametrize("name", ["$(touch pwned)", "a b", "-x"])
def test_the_fix_of_a_broken_plug_in_names_its_package(site, tmp_path, name):
    _, rows, _ = audit(site("", name=name), tmp_path / "p")
    (row,) = [row for row in rows if row["rule"] == "TK-AUDIT-006"]
    assert row["fix"] == ["pip", "show", "--", name]
