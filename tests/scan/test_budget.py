"""Work that a file makes is bounded for all of its pickles together, and so is that of hashing."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest

from torchkeep import scan
from torchkeep.scan import Verdict
from torchkeep.scan.pickle import budget

NONES = b"\x80\x02" + b"N0" * 40_000 + b"N."
MODULUS = (1 << 61) - 1


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(budget, "MOST", 200_000)
    monkeypatch.setattr(budget.Budget.__init__, "__defaults__", (200_000,))


def archive(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for number in range(count):
            made.writestr(f"{number}.pkl", NONES)
    return out.getvalue()


def test_the_pickles_of_one_file_share_a_budget(small):
    assert scan.data(archive(2), "two.zip").verdict is Verdict.CLEAN
    report = scan.data(archive(6), "six.zip")
    assert report.verdict is Verdict.MALFORMED
    assert any("more than any model needs" in issue.message.text() for issue in report.issues)


def test_small_pickles_in_a_row_count_as_well(small):
    assert scan.data(b"\x80\x02N." * 1_000, "row.pkl").verdict is Verdict.CLEAN
    long = scan.data((b"\x80\x02" + b"N0" * 1_000 + b"N.") * 150, "row.pkl")
    assert long.verdict is Verdict.NEEDS_REVIEW  # for what stands behind the last one followed


def test_each_file_has_a_budget_of_its_own(small):
    for _ in range(4):
        assert scan.data(NONES, "one.pkl").verdict is Verdict.CLEAN


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("make", [set, frozenset, dict.fromkeys])
def test_numbers_of_one_hash_take_quadratic_time(protocol, make):
    alike = make([MODULUS * number for number in range(1, 1_100)])
    report = scan.data(pickle.dumps(alike, protocol), "alike.pkl")
    assert report.verdict is Verdict.MALFORMED
    assert any("keys of one hash" in issue.message.text() for issue in report.issues)
    few = make([MODULUS * number for number in range(1, 900)])
    assert scan.data(pickle.dumps(few, protocol), "few.pkl").verdict is Verdict.CLEAN
    apart = make([MODULUS + number for number in range(1, 5_000)])
    assert scan.data(pickle.dumps(apart, protocol), "apart.pkl").verdict is Verdict.CLEAN
