"""What is scanned: files, folders, bytes, streams and URLs; the verdict is that of the worst."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from doubles.http import PATH, FileServer, drop, status
from makers.projects import safetensors, write

from torchkeep import scan
from torchkeep.core.errors import UsageError
from torchkeep.scan import Tier, Verdict

CLEAN = b"\x80\x02}."
DANGER = b"\x80\x02cos\nsystem\n."
REVIEW = b"\x80\x02cmine\nThing\n."
GOOD = safetensors(a=b"1234")

# What is in a file, what is said of it, and the exit status.
CONTENT = [
    (CLEAN, Verdict.CLEAN, 0),
    (GOOD, Verdict.CLEAN, 0),
    (DANGER, Verdict.DANGEROUS, 1),
    (REVIEW, Verdict.NEEDS_REVIEW, 1),
    (GOOD[:-1], Verdict.MALFORMED, 1),
    (bytes(100), Verdict.NOT_SCANNED, 3),
]


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.parametrize(("data", "verdict", "code"), CONTENT)
def test_every_way_to_the_same_bytes_gives_the_same_verdict(tmp_path, data, verdict, code):
    path = write(tmp_path, {"m.bin": data}) / "m.bin"
    with FileServer(data) as server:
        reports = [
            scan.file(path),
            scan.file(str(path)),
            scan.file(path.as_uri()),
            scan.file(server.url),
            scan.data(data, "m.bin"),
            scan.stream(io.BytesIO(data), "m.bin"),
            *scan.paths([tmp_path]).files,
            *scan.paths([server.url]).files,
        ]
    assert [report.verdict for report in reports] == [verdict] * len(reports)
    assert verdict.exit_code == code
    assert len({str(report.to_json()["findings"]) for report in reports}) == 1


def test_text_is_a_model_only_by_name(tmp_path):
    assert scan.data(b"words", "a.txt").verdict is Verdict.NOT_A_MODEL
    assert scan.data(b"words", "a.pt").verdict is Verdict.MALFORMED
    assert Verdict.NOT_A_MODEL.exit_code == 0


def test_a_folder_is_scanned_with_all_below_it(tmp_path):
    write(tmp_path, {"a.pkl": CLEAN, "b/c/d.txt": DANGER, b"\xff.bin": GOOD})
    found = scan.paths([tmp_path])
    assert {os.path.relpath(r.path, tmp_path): r.verdict for r in found.files} == {
        "a.pkl": Verdict.CLEAN,
        "b/c/d.txt": Verdict.DANGEROUS,
        r"\udcff.bin": Verdict.CLEAN,
    }
    assert found.verdict is Verdict.DANGEROUS


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ([], {"a.pkl", "b/a.pkl", "b/c.bin"}),
        (["a.pkl"], {"b/a.pkl", "b/c.bin"}),
        (["*.pkl"], {"b/c.bin"}),
        (["b/*"], {"a.pkl"}),
        (["a.pkl", "b/*"], set()),
        (["A.PKL", "nothing"], {"a.pkl", "b/a.pkl", "b/c.bin"}),
    ],
)
def test_patterns_leave_out_what_lies_in_a_folder(tmp_path, patterns, left):
    write(tmp_path, {"a.pkl": CLEAN, "b/a.pkl": CLEAN, "b/c.bin": GOOD})
    found = scan.paths([tmp_path], exclude=patterns)
    assert {os.path.relpath(report.path, tmp_path) for report in found.files} == left
    assert len(scan.paths([tmp_path / "a.pkl"], exclude=["*"]).files) == 1  # it is named


def test_nothing_found_is_no_model(tmp_path):
    for found in (scan.paths([]), scan.paths([tmp_path])):
        assert (found.files, found.verdict) == ((), Verdict.NOT_A_MODEL)


def test_a_location_that_is_missing_is_an_error_in_a_list_and_a_report_alone(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        scan.paths([tmp_path, tmp_path / "missing"])
    assert scan.file(tmp_path / "missing").verdict is Verdict.NOT_SCANNED


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "dangling link"])
def test_what_is_no_file_is_not_scanned(tmp_path, kind):
    path = tmp_path / "m.pt"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("m.pt" if kind == "loop" else "nowhere")
    report = scan.file(path)
    assert (report.verdict, report.issues[0].rule) == (Verdict.NOT_SCANNED, "TK-SCAN-060")


def test_what_cannot_be_looked_at_is_not_scanned(tmp_path, monkeypatch):
    """Root may read everything, so the system is made to refuse."""
    write(tmp_path, {"a.pkl": CLEAN, "shut/b.pkl": DANGER})
    real = os.scandir

    def refuse(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = scan.paths([tmp_path])
    assert [report.verdict for report in found.files] == [Verdict.CLEAN, Verdict.NOT_SCANNED]
    assert "Permission denied" in found.files[1].issues[0].message.text()
    assert found.verdict.exit_code == 3
    assert scan.paths([tmp_path], exclude=["shut"]).verdict is Verdict.CLEAN


@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_link_out_of_a_folder_is_never_called_clean(tmp_path, target):
    """The planted fault: a loader follows the link, and the walk does not."""
    outside = write(tmp_path / "outside", {"m.pkl": DANGER})
    here = write(tmp_path / "here", {"a.pkl": CLEAN})
    (here / "link").symlink_to(outside / "m.pkl" if target == "file" else outside)
    found = scan.paths([here])
    assert {Path(r.path).name: r.verdict for r in found.files} == {
        "a.pkl": Verdict.CLEAN,
        "link": Verdict.NOT_SCANNED,
    }
    assert found.verdict.exit_code == 3
    assert scan.paths([here / "link"]).verdict is Verdict.DANGEROUS  # where it is named, it counts


def test_a_link_within_a_folder_leaves_nothing_out(tmp_path):
    write(tmp_path, {"a/m.pkl": CLEAN})
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c.pkl").symlink_to("a/m.pkl")
    assert scan.paths([tmp_path]).verdict is Verdict.CLEAN


def test_a_server_that_fails_leaves_a_file_unscanned():
    with FileServer(CLEAN) as server:
        for behaviour in (drop, status(404), status(500)):
            server.does(behaviour)
            report = scan.file(server.url)
            assert report.verdict is Verdict.NOT_SCANNED
            assert report.path.endswith(PATH)


@pytest.mark.parametrize("url", ["gopher://x/y", "http://", "http://["])
def test_a_url_that_is_none_is_an_error(url):
    with pytest.raises(UsageError):
        scan.paths([url])


def test_the_tier_says_how_much_of_a_model_may_lie_in_a_pickle():
    module = b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81."
    assert scan.data(module, "m.pkl").verdict is Verdict.CLEAN
    assert scan.data(module, "m.pkl", tier=Tier.WEIGHTS).verdict is Verdict.NEEDS_REVIEW


def test_a_report_is_json_data():
    report = scan.paths([]).to_json()
    assert report == {"schema_version": 1, "verdict": "not-a-model", "files": []}
    assert scan.data(DANGER, "a\udcffb").to_json() == {
        "path": "a\\udcffb",
        "format": "pickle",
        "verdict": "dangerous",
        "findings": scan.data(DANGER, "x").to_json()["findings"],
    }
