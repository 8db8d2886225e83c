"""What loaders would be pointed at by its name."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.scan.formats.texts import is_named_like_model, suffix


@given(st.lists(st.text("aP./", max_size=5)).map("/".join).filter(lambda name: "/." not in name))
def test_a_suffix_is_that_of_pathlib(name):
    assert suffix(name) == PurePosixPath(name).suffix.lower()


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("a.pt", True), ("x/a.PKL", True), ("x\\a.pkl", True), (".metadata", True),
        ("x/.metadata", True), ("a.pt/", True), ("a.txt", False), ("pt", False), ("a.pt/b", False),
        ("", False), (".", False),
    ],
)  # fmt: skip
def test_names_of_models(name, like):
    assert is_named_like_model(name) is like
