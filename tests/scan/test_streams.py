"""Compressed streams: what comes out is scanned, whatever went in."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import random
import zlib

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.streams import call
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core.source import BytesSource
from torchkeep.scan import job as jobs
from torchkeep.scan import spool
from torchkeep.scan.formats import streams
from torchkeep.scan.job import Job
from torchkeep.scan.verdict import FileReport, Verdict

GOOD, BAD = pickle.dumps({"a": [1.5, 2]}), call("os", "system")
PACK = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
    "zlib 1": lambda data: zlib.compress(data, 1),
    "zlib 9": lambda data: zlib.compress(data, 9),
}
NAMES = {name: name.split()[0] for name in PACK}


@pytest.mark.parametrize("name", PACK)
def test_what_is_packed_is_scanned_under_the_name_of_its_packing(name):
    assert look(PACK[name](GOOD)).verdict is Verdict.CLEAN
    report = look(PACK[name](BAD))
    assert report.verdict is Verdict.DANGEROUS
    assert {issue.member for issue in report.issues} == {NAMES[name]}


def test_a_stream_within_a_stream_says_where_it_lies():
    report = look(bz2.compress(gzip.compress(BAD)))
    assert {issue.member for issue in report.issues} == {"bzip2!gzip"}


@pytest.mark.parametrize("name", PACK)
def test_what_is_cut_or_changed_is_never_clean(name):
    data = PACK[name](random.Random(1).randbytes(3000) + BAD)
    for length in (len(data) // 2, len(data) - 1):
        assert verdict(data[:length]) in {*FLAGGED, Verdict.NOT_SCANNED}
    if name != "lzma":  # which has no checksum
        assert verdict(data[:-6] + bytes(5) + data[-1:]) in {*FLAGGED, Verdict.NOT_SCANNED}


@given(st.sampled_from(sorted(PACK)), st.binary(max_size=3000), st.integers(1, 700))
def test_streams_come_out_as_they_went_in(name, content, piece):
    """Pieces of any length, in and out."""
    unpacked = spool.Spool()
    with pytest.MonkeyPatch.context() as patch, unpacked:
        patch.setattr(streams, "_PIECE", piece)
        job = Job(FileReport(path="model.pkl"))
        data = PACK[name](content)
        assert streams._unpack(job, BytesSource(data), streams._codec(data[:16]), "", unpacked)
        assert unpacked.read(0, unpacked.size) == content
    assert not job.report.issues
    assert job.unpacked == len(content)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_streams_in_a_row_are_one_file(name):
    half = len(BAD) // 2
    data = PACK[name](BAD[:half]) + PACK[name](BAD[half:])
    assert rules(data) == {10}


def test_an_old_stream_may_follow_a_new_one():
    half = len(BAD) // 2
    data = lzma.compress(BAD[:half]) + lzma.compress(BAD[half:], lzma.FORMAT_ALONE)
    assert lzma.decompress(data) == BAD
    assert rules(data) == {10}


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zlib"])
def test_what_stands_behind_a_stream_is_told(name):
    packed = PACK[name](GOOD)
    assert verdict(packed + bytes(512)) is Verdict.CLEAN
    assert rules(packed + b"behind") == {20}
    assert rules(packed + bytes(streams._PIECE) + b"x") == {20}
    assert verdict(packed + bytes(streams._PIECE)) is Verdict.CLEAN
    if name != "xz":  # for whose reader zeros are old streams with nothing in them
        assert rules(packed + bytes(streams._PIECE + 1)) == {20}


def test_a_broken_stream_behind_a_whole_one_is_damage():
    data = gzip.compress(GOOD)
    assert rules(data + gzip.compress(random.Random(1).randbytes(5000))[:4000]) >= {32}


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "lzma", "zlib"])
def test_a_bomb_is_malformed_and_not_unpacked(name, monkeypatch):
    monkeypatch.setattr(streams, "_FREE", 1 << 16)
    report = look(PACK[name](bytes(8 << 20)))
    assert report.verdict is Verdict.MALFORMED
    assert {issue.rule for issue in report.issues} >= {"TK-SCAN-033"}


def test_a_bomb_is_one_by_its_ratio_and_its_size(monkeypatch):
    packed = gzip.compress(GOOD.ljust(1 << 20, b"\0"))
    assert 33 not in rules(packed)
    monkeypatch.setattr(streams, "_FREE", 1 << 16)
    assert 33 in rules(packed)
    noise = random.Random(1).randbytes(1 << 18)
    assert 33 not in rules(gzip.compress(noise))


def test_what_is_unpacked_counts_against_the_budget_of_the_file(monkeypatch):
    packed = gzip.compress(GOOD)
    monkeypatch.setattr(jobs, "MOST_UNPACKED", len(GOOD))
    assert verdict(packed) is Verdict.CLEAN
    monkeypatch.setattr(jobs, "MOST_UNPACKED", len(GOOD) - 1)
    assert look(packed).verdict is Verdict.NOT_SCANNED


def test_a_decoder_takes_no_more_memory_than_it_may(monkeypatch):
    packed = lzma.compress(GOOD, preset=9)
    monkeypatch.setattr(streams, "_MEMORY", 1 << 20)
    assert verdict(packed) is Verdict.MALFORMED


def test_streams_without_end_end(monkeypatch):
    monkeypatch.setattr(streams, "_MOST_STREAMS", 3)
    empty = gzip.compress(b"")
    assert verdict(empty * 2 + gzip.compress(GOOD)) is Verdict.CLEAN
    assert rules(empty * 3 + gzip.compress(GOOD)) >= {20}


def test_a_stream_within_streams_is_opened_up_to_a_depth():
    data = BAD
    for _ in range(4):
        data = gzip.compress(data)
    assert verdict(data) is Verdict.DANGEROUS
    assert rules(gzip.compress(data)) == {34}


@pytest.mark.parametrize(
    ("magic", "name"), [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4")]
)
def test_what_the_standard_library_does_not_unpack_is_said(magic, name):
    report = look(magic + bytes(60), f"model.pt.{name}")
    assert report.verdict is Verdict.NOT_SCANNED
    assert name in report.issues[0].message.text()


def test_what_only_looks_like_a_stream_is_no_stream():
    text = b"x\x9c is no stream, but a line of some text\n"
    assert verdict(text.replace(b"\x9c", b"^"), "notes.txt") is Verdict.NOT_A_MODEL
    assert look(b"x\x9c" + bytes(40), "model.pt").verdict is Verdict.NOT_SCANNED


def test_long_content_lies_in_a_file(monkeypatch):
    monkeypatch.setattr(spool, "_IN_MEMORY", 10)
    assert rules(gzip.compress(pickle.dumps("x" * 999) + BAD)) == {10}
