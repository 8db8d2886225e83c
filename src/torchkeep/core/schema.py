"""The tables of ``torchkeep.toml``. They are closed: an unknown key is an error."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from torchkeep.core import toml
from torchkeep.core.errors import ProjectError

IMPORT_PATH: Final = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""``package.module:callable``."""


class Table(BaseModel):
    """Base of every table; a room derives its policy table from it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ProjectTable(Table):
    """``[project]``."""

    name: str = Field(min_length=1)


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
    mean: list[float] | None = None
    std: list[float] | None = None
    outputs: Literal["logits", "probabilities"] = "logits"
    classes: int | None = Field(default=None, ge=2)
    train: str | None = Field(default=None, pattern=IMPORT_PATH)

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
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
        if value is not None and min(value, default=1.0) <= 0:
            raise ValueError("expected numbers greater than 0")
        return value

    @field_validator("test", mode="before")
    @classmethod
    def _spelled_out(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"call" if re.match(IMPORT_PATH, value) else "path": value}
        return value


class DataTable(Table):
    """``[data.NAME]``."""

    path: str


class WaiverTable(Table):
    """``[[waivers]]``: a finding that its owner accepts until a date."""

    rule: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    expires: date
    subject: str | None = None


class Profile(Table):
    """The keys of ``[policy]`` itself; its tables belong to the rooms."""

    profile: Literal["baseline", "strict"] = "baseline"


T = TypeVar("T", bound=Table)


def validate(model: type[T], value: object, key: toml.Key, path: Path, text: str) -> T:
    """Check one table of a file.

    Args:
        model: What the table must be.
        value: The parsed table.
        key: Where it stands.
        path: The file, for messages.
        text: The file's text, for line numbers.

    Raises:
        ProjectError: Names file, line and key of the first mistake and counts the others.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    found = [
        ((*key, *problem["loc"]), _describe(model, problem["type"], problem["msg"], problem["loc"]))
        for problem in problems
    ]
    placed = [(_nearest_line(text, where), where, message) for where, message in found]
    line, where, message = min(placed, key=lambda entry: entry[0] or 0)
    more = f" (and {len(placed) - 1} more)" if len(placed) > 1 else ""
    raise ProjectError(message + more, path=path, line=line, key=toml.dotted(where))


def _nearest_line(text: str, key: toml.Key) -> int | None:
    """The line of ``key``, or, for a missing one, of the table that lacks it."""
    while key:
        if line := toml.line_of(text, key):
            return line
        key = key[:-1]
    return None


def _describe(model: type[Table], kind: str, message: str, loc: tuple[str | int, ...]) -> str:
    if kind == "extra_forbidden":
        known = ", ".join(sorted(model.model_fields)) if len(loc) == 1 else ""
        return f"unknown key; known here: {known}" if known else "unknown key"
    if kind == "missing":
        return "this key is required and missing"
    if kind == "string_pattern_mismatch":
        return "expected an import path such as 'package.module:callable'"
    if message.startswith("Input should be "):
        return f"expected {message.removeprefix('Input should be ')}"
    return message.removeprefix("Value error, ")
