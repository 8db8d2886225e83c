"""What is of no kind that scanning knows: text, other data, and what their names say."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from doubles.scanning import look, rules, verdict
from doubles.streams import call, name
from doubles.zips import Record, archive
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.scan.formats import texts
from torchkeep.scan.formats.texts import is_named_like_model, is_text, suffix
from torchkeep.scan.verdict import Verdict


@given(st.lists(st.text("aP./", max_size=5)).map("/".join).filter(lambda path: "/." not in path))
def test_a_suffix_is_that_of_pathlib(path):
    assert suffix(path) == PurePosixPath(path).suffix.lower()


@pytest.mark.parametrize(
    ("path", "like"),
    [
        ("a.pt", True), ("x/a.PKL", True), ("x\\a.pkl", True), (".metadata", True),
        ("x/.metadata", True), ("a.pt/", True), ("a.txt", False), ("pt", False), ("a.pt/b", False),
        ("", False), (".", False),
    ],
)  # fmt: skip
def test_names_of_models(path, like):
    assert is_named_like_model(path) is like


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
LETTERS = [
    b"plain\n", "été €".encode(), "été".encode("latin-1"), "text".encode("utf-16"),
    b"\xfe\xff" + "text".encode("utf-16-be"), b"\x1b[1mbold\x1b[0m\n\f\r\n\t", b"",
    "é".encode() * 40_000, b"a" * 65_535 + "é".encode(),
]  # fmt: skip
DATA = [
    b"\0", b"abc\0def", b"\x01\x02\x03", b"\xff\xfe" + b"\x00\xd8" * 9,
    b"\xff\xfe" + bytes(9), b"\xfe\xff" + b"a" * 8 + b"\0\1aa", b"\xe9" * 40,
    b"a" * 30 + b"\x01", bytes(range(1, 256)), b"\xff\xfe" + b"\x00\xdc" * 5,
]  # fmt: skip


@pytest.mark.parametrize("data", LETTERS, ids=lambda data: repr(data[:9]))
def test_text_in_every_encoding_is_no_model(data):
    assert verdict(data, "notes.txt") is Verdict.NOT_A_MODEL
    assert rules(data, "model.pt") == {62}
    assert look(data, "model.pt").verdict is Verdict.MALFORMED


@pytest.mark.parametrize("data", DATA, ids=lambda data: repr(data[:9]))
def test_what_is_no_text_is_not_scanned(data):
    for file in ("notes.txt", "model.pt"):
        assert verdict(data, file) is Verdict.NOT_SCANNED


@given(st.binary(max_size=200).filter(lambda data: data[:1] not in (b"\xfe", b"\xff")))
def test_bytes_that_no_text_has_make_no_text(data):
    assert not is_text(data + b"\0" + data, 2 * len(data) + 1)


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.integers(1, 40))
def test_a_letter_may_be_cut_where_looking_ends(text, length):
    data = (text * 40).encode()
    assert is_text(data[:length], len(data))


def test_a_pointer_is_not_the_file():
    for file in ("model.bin", "notes.txt"):
        report = look(POINTER, file)
        assert report.verdict is Verdict.NOT_SCANNED
        assert report.issues[0].message.id == "scan.lfs-pointer"


def test_pictures_and_sound_are_no_models_unless_they_are_called_so():
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    assert verdict(picture, "a.png") is Verdict.NOT_A_MODEL
    assert verdict(picture, "a.bin") is Verdict.NOT_SCANNED
    assert verdict(archive(Record(b"a.png", picture)), "a.zip") is Verdict.NOT_SCANNED
    assert verdict(archive(Record(b"a.txt", b"notes")), "a.zip") is Verdict.CLEAN


HIDDEN = b"\x00\x01" * 500 + call("os", "system") + bytes(500)


def test_a_payload_in_data_of_no_known_kind_is_found(monkeypatch):
    assert verdict(HIDDEN, "a.bin") is Verdict.DANGEROUS
    assert verdict(b"\x89PNG\r\n\x1a\n" + HIDDEN, "a.png") is Verdict.DANGEROUS
    for at in range(990, 1012):  # wherever a window ends
        monkeypatch.setattr(texts, "_MOST", at)
        assert 10 in rules(HIDDEN, "a.bin")
    monkeypatch.setattr(texts, "_MOST", 100)
    monkeypatch.setattr(texts, "_SEARCHED", 900)
    assert rules(HIDDEN, "a.bin") == {61}


def test_names_without_a_call_are_chance():
    data = b"\x00\x01" * 500 + b"\x80\x02" + name("os", "system") + b"."
    assert rules(data, "a.bin") == {61}


def test_the_search_ends(monkeypatch):
    monkeypatch.setattr(texts, "_MOST_TRIED", 3)
    header = b"\x80\x02\x00"
    assert 10 in rules(b"\x00" + header * 3 + HIDDEN, "a.bin")
    assert rules(b"\x00" + header * 4 + HIDDEN, "a.bin") == {61}
