"""What a project allows, until when, and that it shows."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from makers.projects import project, write

from torchkeep import scan
from torchkeep.audit import run
from torchkeep.cli import app
from torchkeep.core.errors import ProjectError
from torchkeep.core.finding import State
from torchkeep.scan import Tier, Verdict, allowlist
from torchkeep.scan.pickle.policy import Container, Grant, Use

TODAY = date.today()
MINE = b"\x80\x02cmypkg.config\nTrainConfig\n)\x81}b."
CALLED = b"\x80\x02cmypkg.config\nTrainConfig\n)R."
DOTTED = b"\x80\x04\x8c\x05mypkg\x8c\x12config.TrainConfig\x93)\x81."
LINEAR = b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81."
HEAD = '[project]\nname = "sample"\n'
ENTRY = {
    "name": '"mypkg.config.TrainConfig"',
    "use": '"class"',
    "reason": '"a plain dataclass"',
    "expires": str(TODAY + timedelta(days=30)),
}


def entry(**changes: str | None) -> str:
    said = {key: value for key, value in (ENTRY | changes).items() if value is not None}
    lines = "".join(f"{key} = {value}\n" for key, value in said.items())
    return f"[[policy.scan.allow]]\n{lines}"


def terms(folder, text: str) -> allowlist.Terms:
    return allowlist.terms(project(folder, {"torchkeep.toml": HEAD + text}))


def findings(folder, files, text: str) -> dict[str, State]:
    found = run(project(folder, {"torchkeep.toml": HEAD + text} | files))
    return {f.subject: f for f in found.findings if f.rule == "TK-SCAN-002"}


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("[policy.scan]\nteir = 1", 4, "policy.scan.teir", "known here: allow, exclude, tier"),
        ('[policy.scan]\ntier = "all"', 4, "policy.scan.tier", "expected 'weights' or 'module'"),
        ('[policy.scan]\nexclude = "*"', 4, "policy.scan.exclude", "expected a list"),
        ('[policy.scan]\nexclude = [""]', 4, "policy.scan.exclude[0]", "expected some text"),
        (entry(use='"new"'), 5, "policy.scan.allow[0].use", "'class', 'call' or 'value'"),
        (entry(use=None), 3, "policy.scan.allow[0].use", "required and missing"),
        (entry(reason='" "'), 6, "policy.scan.allow[0].reason", "expected some text"),
        (entry(expires='"2027-01-01"'), 7, "policy.scan.allow[0].expires", "expected a date"),
        (entry(why='"x"'), 8, "policy.scan.allow[0].why", "unknown key"),
        (entry() + entry(), 3, "policy.scan.allow", "is there more than once"),
        (entry() + entry(use="1"), 10, "policy.scan.allow[1].use", "'class', 'call'"),
        (
            entry(expires=str(TODAY + timedelta(days=181))),
            7,
            "policy.scan.allow[0].expires",
            "is more than 180 days ahead; choose a date up to",
        ),
    ],
)
def test_a_mistake_is_shown_where_it_stands(tmp_path, text, line, key, said):
    with pytest.raises(ProjectError, match=r"torchkeep\.toml") as caught:
        terms(tmp_path, text)
    assert (caught.value.line, caught.value.key) == (line, key)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name", ["*", "mypkg.*", "mypkg", "mypkg.", ".x", "a b.c", "a..b", "a.b\\n"]
)
def test_a_name_is_one_name(tmp_path, name):
    with pytest.raises(ProjectError, match="expected one name with its module"):
        terms(tmp_path, entry(name=f'"{name}"'))


@pytest.mark.parametrize(
    "name", ["os.system", "posix.system", "builtins.eval", "numpy.load", "torch.hub.load"]
)
def test_what_runs_code_is_never_allowed(tmp_path, name):
    with pytest.raises(ProjectError, match="is known to run code and cannot be allowed") as caught:
        terms(tmp_path, entry(name=f'"{name}"'))
    assert caught.value.key == "policy.scan.allow[0].name"


def test_a_project_without_the_table_changes_nothing(tmp_path):
    assert terms(tmp_path, "") == allowlist.Terms()


@pytest.mark.parametrize(
    ("days", "verdict"),
    [(180, Verdict.CLEAN), (0, Verdict.CLEAN), (-1, Verdict.NEEDS_REVIEW)],
)
def test_a_name_is_allowed_to_the_end_of_its_last_day(tmp_path, days, verdict):
    until = TODAY + timedelta(days=days)
    found = terms(tmp_path, entry(expires=str(until)))
    report = scan.data(MINE, "m.pkl", allowed=found.allowed)
    assert report.verdict is verdict
    assert report.allowed == ({"mypkg.config.TrainConfig": until} if days >= 0 else {})
    assert found.expired == ((("mypkg.config.TrainConfig", until),) if days < 0 else ())


@pytest.mark.parametrize(
    ("use", "data", "verdict"),
    [
        ("class", MINE, Verdict.CLEAN),
        ("call", CALLED, Verdict.CLEAN),
        ("value", b"\x80\x02cmypkg.config\nTrainConfig\n.", Verdict.CLEAN),
        ("value", MINE, Verdict.DANGEROUS),
        ("value", CALLED, Verdict.DANGEROUS),
        ("call", MINE, Verdict.DANGEROUS),
    ],
)
def test_a_name_is_used_as_it_is_allowed(tmp_path, use, data, verdict):
    allowed = terms(tmp_path, entry(use=f'"{use}"')).allowed
    assert scan.data(data, "m.pkl", allowed=allowed).verdict is verdict


def test_a_name_with_dots_of_its_own_stays_refused(tmp_path):
    allowed = terms(tmp_path, entry()).allowed
    report = scan.data(DOTTED, "m.pkl", allowed=allowed)
    assert (report.verdict, report.allowed) == (Verdict.NEEDS_REVIEW, {})
    assert [issue.rule for issue in report.issues] == ["TK-SCAN-012"]


def test_an_entry_lifts_no_check_of_what_torchkeep_lists():
    """The planted fault: the call that would call its first argument comes without its check."""
    args = b"cmypkg\nf\ncmypkg\nf\n)N"
    data = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(" + args + b"tR."
    allowed = {
        ("mypkg", "f"): Grant(Use.VALUE),
        ("torch._tensor", "_rebuild_from_type_v2"): Grant(Use.CALL, Container.NONE, True),
    }
    report = scan.data(data, "m.pkl", allowed=allowed)
    assert report.verdict is Verdict.DANGEROUS
    assert list(report.allowed) == ["mypkg.f"]


def test_only_what_the_tier_lacks_is_said_to_be_allowed(tmp_path):
    allowed = terms(tmp_path, entry(name='"torch.nn.modules.linear.Linear"')).allowed
    module = scan.data(LINEAR, "m.pkl", allowed=allowed)
    weights = scan.data(LINEAR, "m.pkl", allowed=allowed, tier=Tier.WEIGHTS)
    assert (module.verdict, module.allowed) == (Verdict.CLEAN, {})
    assert weights.verdict is Verdict.CLEAN
    assert list(weights.allowed) == ["torch.nn.modules.linear.Linear"]


def test_what_was_allowed_is_told_where_a_pickle_lies_deep_too(tmp_path):
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", MINE)
    allowed = terms(tmp_path, entry()).allowed
    for data in (out.getvalue(), MINE + MINE):
        assert list(scan.data(data, "m.pt", allowed=allowed).allowed) == [
            "mypkg.config.TrainConfig"
        ]


def test_an_audit_is_on_the_terms_of_the_project(tmp_path):
    files = {"m.pkl": MINE, "linear.pkl": LINEAR}
    before = findings(tmp_path / "a", files, "")
    assert {subject: f.state for subject, f in before.items()} == {
        "m.pkl": State.FAIL,
        "linear.pkl": State.PASS,
    }
    after = findings(tmp_path / "b", files, '[policy.scan]\ntier = "weights"\n' + entry())
    assert {subject: f.state for subject, f in after.items()} == {
        "m.pkl": State.PASS,
        "linear.pkl": State.FAIL,
    }
    assert "mypkg.config.TrainConfig" in after["m.pkl"].reason.text()


def test_an_audit_tells_of_an_entry_that_has_ended(tmp_path):
    ended = TODAY - timedelta(days=1)
    found = findings(tmp_path, {"m.pkl": MINE}, entry(expires=str(ended)))
    assert found["m.pkl"].state is State.FAIL
    told = found["mypkg.config.TrainConfig"]
    assert (told.state, told.location.path) == (State.WARN, "torchkeep.toml")
    assert str(ended) in told.reason.text()
    assert str(ended) in told.reason.text("zh")


def test_what_an_audit_leaves_out_is_counted_and_weights_are_never_left_out(tmp_path):
    text = '[policy.scan]\nexclude = ["*.pkl"]\n[models.m]\nweights = "w.pkl"\n'
    found = findings(tmp_path, {"a/m.pkl": MINE, "w.pkl": MINE, "n.pt": LINEAR}, text)
    assert {subject: f.state for subject, f in found.items()} == {
        "w.pkl": State.FAIL,
        "n.pt": State.PASS,
        "policy.scan.exclude": State.NOT_APPLICABLE,
    }
    assert "1 file" in found["policy.scan.exclude"].reason.text()


def test_another_table_is_still_unknown(tmp_path):
    with pytest.raises(ProjectError, match=r"known here: .*scan"):
        run(project(tmp_path, {"torchkeep.toml": HEAD + "[policy.scam]\n"}))


@pytest.fixture
def here(tmp_path, monkeypatch):
    text = f'{HEAD}[policy.scan]\nexclude = ["tmp/*"]\n{entry()}'
    files = {"torchkeep.toml": text, "m.pkl": MINE, "tmp/x.pkl": MINE}
    folder = write(tmp_path / "here", files)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TORCHKEEP_LANG", "en")
    return folder


def document(capfd, *arguments: str):
    status = app.run(["scan", "--json", *arguments])
    return status, json.loads(capfd.readouterr().out)


def test_a_scan_is_on_the_terms_of_the_project_that_is_named(here, capfd):
    status, found = document(capfd, "--project", ".", "m.pkl")
    [file] = found["files"]
    assert (status, file["verdict"]) == (0, "clean")
    assert file["allowed"] == [{"name": "mypkg.config.TrainConfig", "until": ENTRY["expires"]}]


def test_a_project_that_merely_lies_there_brings_no_terms(here, capfd):
    """It may be a stranger's, with a list of its own."""
    status, found = document(capfd, ".")
    assert status == 1
    assert found["excluded"] == 0
    assert all(file["allowed"] == [] for file in found["files"])


def test_a_scan_says_on_whose_word_a_file_is_clean(here, capfd):
    assert app.run(["scan", "--project", ".", "."]) == 0
    out = capfd.readouterr().out
    assert f"allowed by the project: mypkg.config.TrainConfig until {ENTRY['expires']}" in out
    assert out.splitlines()[-1].endswith("1 excluded")


def test_a_scan_on_the_terms_of_another_folder(here, capfd, monkeypatch, tmp_path):
    elsewhere = write(tmp_path / "elsewhere", {"m.pkl": MINE})
    monkeypatch.chdir(elsewhere)
    assert document(capfd, "m.pkl")[0] == 1
    assert document(capfd, "--project", str(here), "m.pkl")[0] == 0
    assert document(capfd, "--project", "gone", "m.pkl")[0] == 2


def test_the_tier_of_the_command_line_counts_for_more(here, capfd):
    (here / "torchkeep.toml").write_text(HEAD + '[policy.scan]\ntier = "weights"\n')
    (here / "linear.pkl").write_bytes(LINEAR)
    assert document(capfd, "--project", ".", "linear.pkl")[0] == 1
    assert document(capfd, "--project", ".", "--tier", "module", "linear.pkl")[0] == 0


def test_an_entry_that_has_ended_is_told(here, capfd):
    ended = TODAY - timedelta(days=1)
    (here / "torchkeep.toml").write_text(HEAD + entry(expires=str(ended)))
    assert app.run(["scan", "--project", ".", "m.pkl"]) == 1
    assert f"until {ended} and no longer does" in "".join(capfd.readouterr())


@pytest.mark.parametrize("text", ["[policy.scan]\nteir = 1", "not toml"])
def test_a_wrong_project_file_ends_a_scan(here, capfd, text):
    (here / "torchkeep.toml").write_text(HEAD + text)
    status, found = document(capfd, "--project", ".", "m.pkl")
    assert (status, found["error"]["code"]) == (2, "project")
    assert document(capfd, "m.pkl")[0] == 1
