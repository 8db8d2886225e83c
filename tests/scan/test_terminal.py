"""A scan as people read it: nothing that a file is called, or holds, acts on a terminal."""

from __future__ import annotations

import pytest
from doubles.reports import NASTY, names
from hypothesis import example, given
from hypothesis import strategies as st

from torchkeep.core.messages import LANGUAGES, plain
from torchkeep.core.text import is_plain
from torchkeep.scan import FileReport, Issue, Report, Verdict
from torchkeep.scan.render import terminal

VERDICTS = [Verdict.DANGEROUS, Verdict.MALFORMED, Verdict.NEEDS_REVIEW, Verdict.NOT_SCANNED]
texts = st.tuples(names, names, names, names, st.sampled_from(VERDICTS))


def reports(rows):
    for path, said, member, allowed, verdict in rows:
        found = Issue(rule="TK-SCAN-010", severity=verdict, message=plain(said), member=member)
        yield FileReport(path=path, issues=[found], allowed={allowed: None})


def read(files, language="en"):
    lines = terminal.render(Report(tuple(files)), language).split("\n")
    assert all(map(is_plain, lines))
    assert lines.pop() == ""
    return lines


@given(st.lists(texts, max_size=6), st.sampled_from(LANGUAGES))
@example([(name, name, name, name, Verdict.DANGEROUS) for name in NASTY], "en")
def test_every_file_is_a_line_and_every_issue_too(rows, language):
    files = list(reports(rows))
    assert len(read(files, language)) == 3 * len(files) + 1


@pytest.mark.parametrize("place", range(4))
def test_each_text_is_made_harmless(place):
    """One text at a time, so that none is missed among the others."""
    for name in NASTY:
        row = ["m.pkl", "seen", "data.pkl", "mine.Thing", Verdict.DANGEROUS]
        row[place] = name
        assert len(read(reports([row]))) == 4


def test_the_order_is_that_of_verdicts_and_then_as_given():
    rows = [(f"{number}.pkl", "", "", "", VERDICTS[-1 - number % 4]) for number in range(8)]
    words = [line.split("  ")[1] for line in read(reports(rows)) if line[0].isalpha()]
    assert words == [f"{number}.pkl" for number in (3, 7, 2, 6, 1, 5, 0, 4)]


def test_nothing_at_all_is_said_in_words():
    assert read([]) == ["no model file was found"]
    assert terminal.render(Report((), excluded=3)) == "no model file was found, 3 excluded\n"
