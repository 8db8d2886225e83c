"""``core.items``: every item stands in a chapter, belongs to a room and has a name."""

import re
import tomllib
from pathlib import Path

import pytest

import torchkeep
from torchkeep.core.items import BY_KEY, CHAPTERS, ITEMS

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def rooms():
    """The rooms of the house, built or planned, from the table of floors."""
    table = tomllib.loads(PYPROJECT.read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(entry for entry in table if entry["id"] == "floors")["layers"]
    return set(re.findall(r"\w+", " ".join(layers)))


def test_keys_are_unique_and_looked_up():
    assert len(BY_KEY) == len(ITEMS) == len({item.key for item in ITEMS})
    assert list(BY_KEY.values()) == list(ITEMS)


def test_chapters_are_full_and_in_order():
    order = [CHAPTERS.index(item.chapter) for item in ITEMS]
    assert order == sorted(order)
    assert set(order) == set(range(len(CHAPTERS)))


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.key)
def test_an_item_is_complete(item):
    assert re.fullmatch(r"[a-z]+\.[a-z]+", item.key)
    assert item.room in rooms()
    assert item.command.split()[0] == "torchkeep"
    assert item.rule == f"TK-{item.room.upper()}-000"
    assert item.title.text("en") != item.title.text("zh")


def test_the_names_of_items_differ():
    for language in ("en", "zh"):
        assert len({item.title.text(language) for item in ITEMS}) == len(ITEMS)


def test_nothing_is_said_about_an_item_that_is_not_there():
    path = Path(torchkeep.__file__).parent / "core/catalogue/items.toml"
    catalogue = tomllib.loads(path.read_text("utf-8"))
    keys = {f"{chapter}.{name}" for chapter, names in catalogue.items() for name in names}
    assert keys == set(BY_KEY)
