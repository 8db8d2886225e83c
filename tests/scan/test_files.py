"""What is scanned: files, folders, bytes, streams and URLs; the verdict is that of the worst."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from doubles.http import PATH, FileServer, drop, status
from makers.projects import safetensors, write

from torchkeep import scan
from torchkeep.core.errors import UsageError
from torchkeep.scan import Tier, Verdict, files, spool

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
    assert found.excluded == found.to_json()["excluded"] == 3 - len(left)
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


LINKED = {
    "clean": (Verdict.CLEAN, ""),
    "danger": (Verdict.DANGEROUS, "os.system"),
    "folder": (Verdict.NOT_SCANNED, "is a folder"),
    "pipe": (Verdict.NOT_SCANNED, "is a pipe"),
    "/dev/zero": (Verdict.NOT_SCANNED, "is a device"),
    "loop": (Verdict.NOT_SCANNED, "symbolic links"),
    "nowhere": (Verdict.NOT_SCANNED, "No such file"),
    "link": (Verdict.DANGEROUS, "os.system"),
}


@pytest.mark.parametrize("target", LINKED)
def test_a_link_out_of_a_folder_is_followed_to_a_file_and_never_called_clean_else(tmp_path, target):
    """The planted faults: a loader follows the link, and the walk does not."""
    outside = write(tmp_path / "outside", {"clean": CLEAN, "danger": DANGER, "folder/m.pkl": CLEAN})
    os.mkfifo(outside / "pipe")
    (outside / "loop").symlink_to("loop")
    (outside / "link").symlink_to("danger")
    here = write(tmp_path / "here", {"a.pkl": CLEAN})
    (here / "b.pkl").symlink_to(outside / target)
    found = scan.paths([here])
    verdict, why = LINKED[target]
    assert [one.path for one in found.files] == [str(here / "a.pkl"), str(here / "b.pkl")]
    assert [one.verdict for one in found.files] == [Verdict.CLEAN, verdict]
    assert [why in issue.message.text() for issue in found.files[1].issues] == [True] * bool(why)
    left = scan.paths([here], exclude=["b.*"])
    assert (left.verdict, left.excluded) == (Verdict.CLEAN, 1)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to an environment", "loop"])
def test_what_a_walk_passes_by_within_a_folder_is_not_scanned(tmp_path, kind):
    path = write(tmp_path, {"a.pkl": CLEAN, ".venv/m.pkl": DANGER}) / "b.pkl"
    if kind == "link to an environment":
        path.symlink_to(".venv")
    elif kind == "loop":
        path.symlink_to("b.pkl")
    else:
        os.mkfifo(path if kind == "pipe" else tmp_path / "c.pkl")
    if kind == "link to a pipe":
        path.symlink_to("c.pkl")
    found = {Path(one.path).name: one.verdict for one in scan.paths([tmp_path]).files}
    assert found.pop("a.pkl") is Verdict.CLEAN
    assert set(found.values()) == {Verdict.NOT_SCANNED}
    assert "b.pkl" in found


def test_a_file_of_an_environment_that_a_link_leads_to_is_scanned(tmp_path):
    write(tmp_path, {".venv/m.pkl": DANGER})
    (tmp_path / "b.pkl").symlink_to(".venv/m.pkl")
    assert scan.paths([tmp_path]).verdict is Verdict.DANGEROUS


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


class Dripping(io.RawIOBase):
    """A stream that gives few bytes at once, and counts them; without end where it has none."""

    def __init__(self, data: bytes | None = None, error: OSError | None = None) -> None:
        self.data, self.error, self.given = data, error, 0

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= 1 << 20  # it is never asked for all
        if self.error and self.given:
            raise self.error
        piece = bytes(size) if self.data is None else self.data[self.given : self.given + 7]
        self.given += len(piece)
        return piece


@pytest.mark.parametrize(("data", "verdict", "code"), CONTENT)
@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_a_stream_is_read_in_pieces(monkeypatch, data, verdict, code, memory):
    monkeypatch.setattr(spool, "_IN_MEMORY", memory)
    found = scan.stream(Dripping(data), "m.bin")
    assert found.to_json() == scan.data(data, "m.bin").to_json()
    assert found.verdict is verdict


def test_a_stream_that_gives_nothing_is_not_scanned():
    report = scan.stream(io.BytesIO(), "m.txt")
    assert report.verdict is Verdict.NOT_SCANNED
    assert "nothing came" in report.issues[0].message.text()


def test_a_stream_without_end_is_not_scanned(monkeypatch):
    monkeypatch.setattr(files, "MOST_STREAMED", 5 << 20)
    endless = Dripping()
    report = scan.stream(endless, "<stdin>")
    assert report.verdict is Verdict.NOT_SCANNED
    assert "more than 5,242,880 bytes" in report.issues[0].message.text()
    assert endless.given == 6 << 20
    whole = io.BytesIO(CLEAN + bytes((5 << 20) - len(CLEAN)))
    assert scan.stream(whole, "<stdin>").verdict is Verdict.NEEDS_REVIEW


def test_a_stream_or_a_disk_that_fails_is_not_scanned(monkeypatch):
    broken = scan.stream(Dripping(CLEAN * 9, OSError(5, "Input/output error")), "<stdin>")
    monkeypatch.setattr(spool, "_IN_MEMORY", 1)

    def full(*_args, **_settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    refused = scan.stream(io.BytesIO(CLEAN), "<stdin>")
    for report, why in ((broken, "Input/output error"), (refused, "No space left")):
        assert report.verdict is Verdict.NOT_SCANNED
        assert why in report.issues[0].message.text()


def test_the_tier_says_how_much_of_a_model_may_lie_in_a_pickle():
    module = b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81."
    assert scan.data(module, "m.pkl").verdict is Verdict.CLEAN
    assert scan.data(module, "m.pkl", tier=Tier.WEIGHTS).verdict is Verdict.NEEDS_REVIEW


def test_a_report_is_json_data():
    report = scan.paths([]).to_json()
    assert report == {"schema_version": 1, "verdict": "not-a-model", "files": [], "excluded": 0}
    assert scan.data(DANGER, "a\udcffb").to_json() == {
        "path": "a\\udcffb",
        "format": "pickle",
        "verdict": "dangerous",
        "findings": scan.data(DANGER, "x").to_json()["findings"],
        "allowed": [],
    }
