"""The hooks that ``.pre-commit-hooks.yaml`` offers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from makers.projects import write
from makers.shell import call

from torchkeep.scan import MODEL_SUFFIXES

CLEAN = b"\x80\x02}."
DANGER = b"\x80\x02cos\nsystem\n."


def hooks() -> dict[str, dict[str, str]]:
    """Each hook with its settings, one a line."""
    text = (Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text("utf-8")
    settings = [dict(re.findall(r"^  (\w+): (.+)$", part, re.M)) for part in text.split("- id: ")]
    return dict(zip(re.findall(r"^- id: (.+)$", text, re.M), settings[1:], strict=True))


def command(hook: dict[str, str]) -> list[str]:
    """The arguments of ``torchkeep`` before the names of files."""
    return [*hook["entry"].split()[1:], *hook.get("args", "[]").strip("[]").split()]


def test_every_hook_is_installed_from_here_and_says_what_it_does():
    assert hooks().keys() == {"torchkeep-scan", "torchkeep-audit"}
    for hook in hooks().values():
        assert hook["language"] == "python"
        assert hook["entry"].split()[0] == "torchkeep"
        assert hook["name"]
        assert hook["description"]


def test_the_pattern_holds_the_suffixes_of_models_and_no_more():
    pattern = hooks()["torchkeep-scan"]["files"]
    listed = re.search(r"\\\.\(([a-z0-9|]+)\)", pattern)
    assert {f".{suffix}" for suffix in listed[1].split("|")} == MODEL_SUFFIXES
    for suffix in (*MODEL_SUFFIXES, ".PT", ".safetensors.index.json"):
        assert re.search(pattern, f"models/a{suffix}")
    for name in ("a.py", "README.md", "a.pt.txt", "apt", "pt", "config.json"):
        assert not re.search(pattern, name)


def test_a_model_of_any_name_is_scanned(tmp_path):
    names = ["-x.pt", "--help", "--json.pkl", "--exclude=*", "esc\x1b[2J.pt", "a b.pt", "模型.pt"]
    write(tmp_path, dict.fromkeys(names, DANGER))
    for name in names:
        done = call(*command(hooks()["torchkeep-scan"]), name, cwd=tmp_path)
        assert (done.returncode, done.stdout.count(b"TK-SCAN-010")) == (1, 1), name


def test_many_names_at_once(tmp_path):
    names = [f"-{number}.pkl" for number in range(400)]
    write(tmp_path, dict.fromkeys(names, CLEAN) | {"-399.pkl": DANGER})
    done = call(*command(hooks()["torchkeep-scan"]), *names, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == b"1 dangerous, 399 clean"


def test_no_name_at_all_is_no_pass(tmp_path):
    """The program of the hooks does not call it then; a script might."""
    done = call(*command(hooks()["torchkeep-scan"]), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


@pytest.mark.parametrize(("data", "status"), [(CLEAN, 0), (DANGER, 1)])
def test_the_audit_needs_no_names(tmp_path, data, status):
    hook = hooks()["torchkeep-audit"]
    assert (hook["always_run"], hook["pass_filenames"]) == ("true", "false")
    write(tmp_path, {"m.pkl": data})
    assert call(*command(hook), cwd=tmp_path).returncode == status
