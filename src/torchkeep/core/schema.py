"""The tables of ``torchkeep.toml``. They are closed: an unknown key is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from torchkeep.core import toml
from torchkeep.core.errors import ProjectError

IMPORT_PATH: Final = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""``package.module:callable``."""

_SOME_TEXT: Final = r"\S"


class Table(BaseModel):
    """Base of every table; a room derives its policy table from it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Words = Annotated[str, Field(pattern=_SOME_TEXT)]
"""Text that says something."""


class ProjectTable(Table):
    """``[project]``."""

    name: Words


class TestData(Table):
    """``test`` of a model: what measurements run on.

    Attributes:
        path: A ``.npz``, Parquet or CSV file, a folder of images, or a folder with IDX files.
        call: Or a callable that returns ``(x, y)``.
        x: Array, column names or IDX file of the inputs.
        y: Array, column or IDX file of the labels.
        limit: At most so many samples, the first ones.
    """

    __test__ = False  # not a test case, whatever its name says to a test runner

    path: str | None = None
    call: str | None = Field(default=None, pattern=IMPORT_PATH)
    x: list[str] | None = None
    y: str | None = None
    limit: int | None = Field(default=None, gt=0)

    @field_validator("x", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, str | list | None):
            raise ValueError("expected a name or a list of names")
        return [value] if isinstance(value, str) else value


class ModelTable(Table):
    """``[models.NAME]``.

    Attributes:
        build: Import path of a callable that returns the ``nn.Module``; not for ``.pt2`` and
            TorchScript, which bring their structure.
        weights: The weights file.
        test: What measurements run on.
        range: Lowest and highest value of an input.
        mean: What is subtracted from an input before the module sees it, per channel or once.
        std: What it is then divided by.
        outputs: What the module returns.
        classes: Number of classes.
        train: Import path of ``fn(indices, seed, out) -> path``, for measurements that must
            train the model anew.
    """

    build: str | None = Field(default=None, pattern=IMPORT_PATH)
    weights: str | None = None
    test: TestData | None = None
    range: list[float] | None = Field(default=None, min_length=2, max_length=2)
    mean: list[float] | None = Field(default=None, min_length=1)
    std: list[float] | None = Field(default=None, min_length=1)
    outputs: Literal["logits", "probabilities"] = "logits"
    classes: int | None = Field(default=None, ge=2)
    train: str | None = Field(default=None, pattern=IMPORT_PATH)

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | list | None):
            raise ValueError("expected a number or a list of numbers")
        return [value] if isinstance(value, int | float) else value

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError("expected [lowest, highest]")
        return value

    @field_validator("std")
    @classmethod
    def _positive(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("expected numbers greater than 0")
        return value

    @field_validator("test", mode="before")
    @classmethod
    def _spelled_out(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"call" if re.fullmatch(IMPORT_PATH, value) else "path": value}
        if not isinstance(value, dict | TestData | None):
            raise ValueError("expected a path, an import path such as 'module:callable' or a table")
        return value


class DataTable(Table):
    """``[data.NAME]``."""

    path: str


class WaiverTable(Table):
    """``[[waivers]]``: a finding that its owner accepts until a date."""

    rule: Words
    reason: Words
    owner: Words
    expires: date
    subject: str | None = None


class Profile(Table):
    """The keys of ``[policy]`` itself; its tables belong to the rooms."""

    profile: Literal["baseline", "strict"] = "baseline"


T = TypeVar("T", bound=Table)

_PATTERNS: Final = {
    IMPORT_PATH: "expected an import path such as 'package.module:callable'",
    _SOME_TEXT: "expected some text",
}
_KINDS: Final = {
    "missing": "this key is required and missing",
    "model_type": "expected a table",
    "list_type": "expected a list",
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "date_type": "expected a date such as 2027-03-01, without quotes and time",
}


def validate(model: type[T], value: object, key: toml.Key, path: Path, text: str) -> T:
    """Check one table of a file.

    Args:
        model: What the table must be.
        value: The parsed table.
        key: Where it stands.
        path: The file, for messages.
        text: The file's text, for line numbers.

    Raises:
        ProjectError: Names file, line and key of the first mistake and counts the others. A key
            that is missing comes last: where one was misspelled, that is the mistake to name.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    placed = [((*key, *problem["loc"]), problem) for problem in problems]
    where, first = min(
        placed,
        key=lambda entry: (entry[1]["type"] == "missing", _nearest_line(text, entry[0]) or 0),
    )
    more = f" (and {len(placed) - 1} more)" if len(placed) > 1 else ""
    raise ProjectError(
        _describe(model, first) + more,
        path=path,
        line=_nearest_line(text, where),
        key=toml.dotted(where),
    )


def _nearest_line(text: str, key: toml.Key) -> int | None:
    """The line of ``key``, or, for a missing one, of the table that lacks it."""
    while key:
        if line := toml.line_of(text, key):
            return line
        key = key[:-1]
    return None


def _describe(model: type[Table], problem: Any) -> str:
    kind, message = problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        known = ", ".join(sorted(_table_at(model, problem["loc"][:-1]).model_fields))
        return f"unknown key; known here: {known or 'none'}"
    if kind == "string_pattern_mismatch":
        pattern = problem["ctx"]["pattern"]
        return _PATTERNS.get(pattern, f"expected text that matches {pattern}")
    if kind in _KINDS:
        return _KINDS[kind]
    if kind.startswith(("greater_than", "less_than")):
        message = message.replace("should be", "should be a number")
    message = re.sub(r"^\w+ should (be|have) ", "expected ", message)
    return str(message.removeprefix("Value error, ").replace(" after validation", ""))


def _table_at(model: type[Table], loc: tuple[str | int, ...]) -> type[Table]:
    """The table in ``model`` at ``loc``, whatever lists and mappings lie on the way."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            kinds = _parts(model.model_fields[part].annotation)
            tables = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Table))
            model = next(tables, model)
    return model


def _parts(annotation: Any) -> Iterator[Any]:
    """A type and every type that it is made of."""
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)
