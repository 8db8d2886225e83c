"""``core.schema``: one line says which key is wrong, where, and what was expected."""
# ruff: noqa: E501 (a row a line: such a table is read by eye)

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator

from torchkeep.core.errors import ProjectError
from torchkeep.core.schema import IMPORT_PATH, ModelTable, Table, TestData, validate

FILE = Path("torchkeep.toml")


class Inner(Table):
    size: int = Field(ge=1, lt=10)


class Demands(Table):
    """A policy table such as a room declares."""

    norm: Literal["linf", "l2"] = "linf"
    eps: float = Field(default=0.1, gt=0)
    share: float = Field(default=0.5, le=1)
    name: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    quiet: bool = False
    inner: Inner | None = None
    many: list[Inner] = Field(default=[])
    named: dict[str, Inner] = Field(default={})

    @field_validator("share")
    @classmethod
    def _even(cls, value):
        if value == 0.3:
            raise ValueError("expected anything but 0.3")
        return value


class Nothing(Table):
    pass


TEXT = """\
[policy.demands]
norm = 1
eps = 0
share = 2
name = "A"
quiet = 1
inner = { size = 0 }
other = 1

[[policy.demands.many]]
size = 1
[[policy.demands.many]]
size = 10
sice = 1
"""
KNOWN = "eps, inner, many, name, named, norm, quiet, share"


def refused(model, value, key=("policy", "demands"), text=TEXT):
    with pytest.raises(ProjectError) as caught:
        validate(model, value, key, FILE, text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"norm": 1}, ":2: policy.demands.norm: expected 'linf' or 'l2'"),
        ({"eps": 0}, ":3: policy.demands.eps: expected a number greater than 0"),
        ({"eps": "1"}, ":3: policy.demands.eps: expected a number"),
        ({"eps": True}, ":3: policy.demands.eps: expected a number"),
        ({"eps": float("nan")}, ":3: policy.demands.eps: expected a finite number"),
        ({"eps": float("inf")}, ":3: policy.demands.eps: expected a finite number"),
        ({"share": 2}, ":4: policy.demands.share: expected a number less than or equal to 1"),
        ({"share": 0.3}, ":4: policy.demands.share: expected anything but 0.3"),
        ({"name": "A"}, ":5: policy.demands.name: expected text that matches ^[a-z]+$"),
        ({"name": 1}, ":5: policy.demands.name: expected text"),
        ({"quiet": 1}, ":6: policy.demands.quiet: expected true or false"),
        ({"inner": {"size": 0}}, ":7: policy.demands.inner.size: expected a number greater than or equal to 1"),
        ({"inner": {"size": 1.5}}, ":7: policy.demands.inner.size: expected a whole number"),
        ({"inner": {"sice": 1}}, ":7: policy.demands.inner.sice: unknown key; known here: size (and 1 more)"),
        ({"inner": {}}, ":7: policy.demands.inner.size: this key is required and missing"),
        ({"inner": 3}, ":7: policy.demands.inner: expected a table"),
        ({"other": 1}, f":8: policy.demands.other: unknown key; known here: {KNOWN}"),
        ({"many": 1}, ":10: policy.demands.many: expected a list"),
        ({"many": [{"size": 1}, {"size": 10}]}, ":13: policy.demands.many[1].size: expected a number less than 10"),
        ({"many": [{"size": 1}, {"size": 1, "sice": 1}]}, ":14: policy.demands.many[1].sice: unknown key; known here: size"),
        ({"named": {"x": {"sice": 1, "size": 1}}}, ":1: policy.demands.named.x.sice: unknown key; known here: size"),
        ({"named": {"size": {"sice": 1, "size": 1}}}, ":1: policy.demands.named.size.sice: unknown key; known here: size"),
        ({"eps": 0, "share": 2, "norm": 1}, ":2: policy.demands.norm: expected 'linf' or 'l2' (and 2 more)"),
        ([], ":1: policy.demands: expected a table"),
        ("x", ":1: policy.demands: expected a table"),
    ],
)  # fmt: skip
def test_the_first_mistake_is_named_with_its_line(value, line):
    assert refused(Demands, value) == f"torchkeep.toml{line}"


def test_a_key_that_is_nowhere_has_no_line():
    assert refused(Inner, {}, text="") == (
        "torchkeep.toml: policy.demands.size: this key is required and missing"
    )


def test_a_table_without_keys_says_so():
    assert refused(Nothing, {"eps": 1}) == (
        "torchkeep.toml:3: policy.demands.eps: unknown key; known here: none"
    )


def test_values_are_taken_as_they_are():
    table = validate(Demands, {"eps": 1, "named": {"x": {"size": 3}}}, (), FILE, "")
    assert (table.eps, table.named["x"].size, table.norm) == (1.0, 3, "linf")


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        *[(text, True) for text in ("model:build", "a.b.c:f", "_a:_f", "módulo:función")],
        *[(text, False) for text in ("model", "model:", ":f", "a b:f", "a:f()", "a:b:c", "a/b:f")],
        *[
            (text, False)
            for text in ("a..b:f", "a.:f", ".a:f", "1a:f", "a:1f", "a.1b:f", "a:f\n", "a:b.c")
        ],
    ],
)
def test_an_import_path(text, matches):
    assert bool(re.fullmatch(IMPORT_PATH, text)) == matches
    if matches:
        assert ModelTable(build=text).build == text
        assert ModelTable(test=text).test == TestData(call=text)
    else:
        assert ModelTable(test=text).test == TestData(path=text)
        with pytest.raises(ValueError, match="string_pattern_mismatch"):
            ModelTable(build=text)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"mean": 0.5}, "mean", [0.5]),
        ({"mean": 0}, "mean", [0.0]),
        ({"std": [1, 2]}, "std", [1.0, 2.0]),
        ({"std": None}, "std", None),
        ({"range": [0, 1]}, "range", [0.0, 1.0]),
        ({"test": {"path": "x", "x": "a"}}, "test", TestData(path="x", x=["a"])),
        ({"test": TestData(path="x")}, "test", TestData(path="x")),
        ({"test": None}, "test", None),
        ({}, "outputs", "logits"),
    ],
)
def test_short_forms_mean_the_long_ones(fields, name, value):
    assert getattr(ModelTable(**fields), name) == value


def test_tables_are_closed_and_do_not_change():
    table = ModelTable()
    with pytest.raises(ValueError, match="frozen"):
        table.build = "a:b"
    for kind in (ModelTable, TestData, Demands):
        with pytest.raises(ValueError, match="extra_forbidden"):
            kind.model_validate({"surely not a key": 1})
