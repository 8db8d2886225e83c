"""Statements about scans: of the very bytes that were scanned, and of no others."""

from __future__ import annotations

import hashlib
import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from doubles.http import FileServer
from makers.projects import project, safetensors, write

from torchkeep import scan
from torchkeep.core import digest
from torchkeep.core.errors import Incomplete, SourceError
from torchkeep.core.statement import Statement
from torchkeep.scan import Report, Tier, Verdict, attest
from torchkeep.scan.pickle.policy import PLAIN

CLEAN = b"\x80\x02}."
DANGER = b"\x80\x02cos\nsystem\n."
GOOD = safetensors(a=b"1234")
STARTED = datetime(2026, 11, 24, tzinfo=UTC)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def stated(report, **more):
    """The statement as a reader of its file sees it."""
    return Statement.from_envelope(scan.statement(report, started=STARTED, **more).envelope())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(
        write(tmp_path, {"a.pkl": CLEAN, "b.safetensors": GOOD, "c.pkl": DANGER, "d.txt": b"words"})
    )
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path


def test_it_says_what_the_scan_said_about_digests(here):
    report = scan.paths(["."], named=True)
    said = stated(report, argv=["torchkeep", "scan", "."])
    assert said.kind == "scan"
    assert said.result == report.to_json() == scan.paths(["."]).to_json()
    assert {one.name: (one.sha256, one.content is None) for one in said.subjects} == {
        "a.pkl": (sha(CLEAN), True),
        "b.safetensors": (sha(GOOD), False),
        "c.pkl": (sha(DANGER), True),
        "d.txt": (sha(b"words"), True),
    }
    with scan.files.source.open("b.safetensors") as opened:
        assert said.subjects[1].content == digest.safetensors_content(opened)
    assert said.predicate["not_measured"] == []
    assert said.predicate["argv"] == ["torchkeep", "scan", "."]


def test_digests_are_taken_only_where_they_are_asked_for(here):
    """Hashing reads all of a file, scanning little of it."""
    assert [file.subject for file in scan.paths(["."]).files] == [None] * 4
    assert scan.file("a.pkl").subject is None
    assert scan.file("a.pkl", named=True).subject.sha256 == sha(CLEAN)


def test_a_shard_is_named_like_any_file(here):
    index = '{"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}'
    write(here, {"m/model.safetensors.index.json": index})
    write(here, {"m/model-00001-of-00001.safetensors": GOOD})
    names = {one.name: one.sha256 for one in stated(scan.paths(["m"], named=True)).subjects}
    assert names == {
        "m/model.safetensors.index.json": sha(index.encode()),
        "m/model-00001-of-00001.safetensors": sha(GOOD),
    }


def change(path, how):
    """Another file under the name, or other bytes in the file."""
    if how == "replaced":
        write(path.parent, {"new": DANGER})
        os.replace(path.parent / "new", path)
        return
    path.write_bytes(DANGER)
    os.utime(path, ns=(1, 1))  # a change within one tick of the clock would not be seen


def changing(monkeypatch, path, how):
    """Have a file change when its scan has ended and its digests are not taken yet."""
    take = attest.subject

    def subject(opened, report):
        change(path, how)
        return take(opened, report)

    monkeypatch.setattr(attest, "subject", subject)


def test_a_file_that_is_written_to_after_its_scan_is_not_attested(here, monkeypatch):
    """The planted fault: what is hashed is not what was found clean."""
    changing(monkeypatch, here / "a.pkl", "written")
    (report,) = scan.paths(["a.pkl"], named=True).files
    assert (report.verdict, report.subject) == (Verdict.NOT_SCANNED, None)
    assert "changed while it was read" in report.issues[0].message.text()
    with pytest.raises(Incomplete):
        stated(Report((report,)))


def test_a_file_that_is_replaced_after_its_scan_is_attested_as_it_was(here, monkeypatch):
    changing(monkeypatch, here / "a.pkl", "replaced")
    report = scan.paths(["a.pkl"], named=True)
    assert (here / "a.pkl").read_bytes() == DANGER
    assert report.verdict is Verdict.CLEAN
    assert stated(report).subjects[0].sha256 == sha(CLEAN)


def test_a_digest_of_the_name_would_be_caught(here, monkeypatch):
    """The mutant: it opens the file once more."""
    take = attest.subject

    def subject(_opened, report):
        with scan.files.source.open(report.path) as again:
            return take(again, report)

    monkeypatch.setattr(attest, "subject", subject)
    with pytest.raises(AssertionError):
        test_a_file_that_is_replaced_after_its_scan_is_attested_as_it_was(here, monkeypatch)


def test_a_damaged_file_is_named_by_its_bytes(here):
    write(here, {"cut.safetensors": GOOD[:-1]})
    (subject,) = stated(scan.paths(["cut.safetensors"], named=True)).subjects
    assert (subject.sha256, subject.content) == (sha(GOOD[:-1]), None)


def test_weights_that_cannot_be_read_are_no_digest(here, monkeypatch):
    def fail(_opened):
        raise SourceError("the disk broke")

    monkeypatch.setattr(digest, "safetensors_content", fail)
    (report,) = scan.paths(["b.safetensors"], named=True).files
    assert (report.verdict, report.subject) == (Verdict.NOT_SCANNED, None)


def test_what_is_not_known_is_told(here):
    write(here, {"unknown.onnx": bytes(100)})
    (here / "gone.pkl").symlink_to("nowhere")
    with FileServer(CLEAN) as server:
        report = scan.paths([".", server.url], named=True)
        url = report.files[-1].path
    said = stated(report)
    assert set(said.predicate["not_measured"]) == {"gone.pkl", "unknown.onnx", url}
    assert {one.name for one in said.subjects}.isdisjoint({"gone.pkl", url})


@pytest.mark.parametrize("report", [Report(()), Report((scan.data(CLEAN, "m.pkl"),))])
def test_without_digests_there_is_nothing_to_say(report):
    with pytest.raises(Incomplete):
        stated(report)


def test_a_stream_has_no_digest():
    assert scan.stream(io.BytesIO(CLEAN), "<stdin>").subject is None


def test_a_file_named_twice_is_one_subject(here):
    assert len(stated(scan.paths(["a.pkl", "a.pkl"], named=True)).subjects) == 1


def policy(**terms):
    return stated(scan.paths(["a.pkl"], named=True), **terms).predicate["inputs"]["policy"]


def test_the_policy_is_an_input(here):
    found = [
        policy(),
        policy(tier=Tier.WEIGHTS),
        policy(allowed={("mine", "Thing"): PLAIN["class"]}),
        policy(allowed={("mine", "Thing"): PLAIN["call"]}),
        policy(allowed={("mine", "Other"): PLAIN["class"]}),
    ]
    assert len(set(found)) == len(found)
    assert policy() == policy(tier=Tier.MODULE, allowed={}) == found[0]


def test_a_project_finds_it_by_the_bytes_alone(tmp_path):
    """Weights in a pickle that runs code are the weights of a clean file all the same."""
    found = project(tmp_path, {"b.safetensors": GOOD})
    path = found.keep(scan.statement(scan.paths([tmp_path], named=True), started=STARTED))
    assert path.parent == tmp_path / ".torchkeep" / "statements" / "scan"
    clean = found.subject("b.safetensors")
    assert found.evidence("scan", clean).statement.result["verdict"] == "clean"
    pickle = type(clean)("evil.pt", sha(DANGER), clean.content)
    assert found.evidence("scan", pickle) is None
    write(tmp_path, {"b.safetensors": safetensors(a=b"4321")})
    assert found.evidence("scan", found.subject("b.safetensors")) is None
    assert list(found.statements.damaged()) == []


def test_names_can_be_anything(tmp_path):
    names = ["esc\x1b[2J.pkl", "new\nline.pkl", b"stray\xff.pkl", "模型.pkl"]
    write(tmp_path, dict.fromkeys(names, CLEAN))
    said = stated(scan.paths([tmp_path], named=True))
    assert len(said.subjects) == len(names)
    assert all(Path(one.name).name.isprintable() for one in said.subjects)
