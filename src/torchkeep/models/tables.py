"""Tables: Parquet and CSV files with one column per feature and one with the class."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from torchkeep.core.errors import Foreign, MissingExtra, UsageError
from torchkeep.core.text import visible
from torchkeep.models import bounded

if TYPE_CHECKING:
    import polars


def read(
    path: Path, x: list[str] | None, y: str | None, limit: int | None
) -> tuple[Tensor, Tensor]:
    """Columns of a table as float features, in the order named, and classes.

    Args:
        path: A Parquet or CSV file.
        x: The columns of the features; all but ``y`` where None.
        y: The column of the classes; ``y`` where None.
        limit: At most so many rows, the first ones.

    Returns:
        Features of shape N,F and classes of shape N.

    Raises:
        SourceError: It cannot be read.
        UsageError: A column is missing, or is not numeric.
        MissingExtra: polars is not installed.
        Foreign: It is damaged, too large, or has gaps.
    """
    try:
        import polars
    except ImportError as error:
        raise MissingExtra("Reading a table", "data") from error
    shown = bounded.shown(path)
    errors = polars.exceptions
    broken = (errors.PolarsError, errors.PanicException, OSError, UnicodeDecodeError)
    try:
        frame = _scanned(io.BytesIO(bounded.read(path)))
        target = y or "y"
        features = x or [name for name in frame.collect_schema() if name != target]
        table = _columns(frame, [*features, target], limit, shown)
    except broken as error:
        first = str(error).partition("\n")[0]
        raise Foreign(
            f"{shown} is no table that polars can read: {visible(first)}",
            next="expected Parquet, or CSV in UTF-8 with a line of column names",
        ) from error
    values = table.select(features).cast(polars.Float32).to_numpy()
    return torch.from_numpy(np.array(values, order="C")), _classes(table[target])


def _scanned(data: io.BytesIO) -> polars.LazyFrame:
    import polars

    if data.getvalue().startswith(b"PAR1"):
        return polars.scan_parquet(data)
    # Types from all rows: a column that looks whole in the first ones may not stay so.
    return polars.read_csv(data, infer_schema_length=None).lazy()


def _columns(
    frame: polars.LazyFrame, columns: list[str], limit: int | None, shown: str
) -> polars.DataFrame:
    import polars

    _check_columns(frame.collect_schema(), columns, shown)
    rows = frame.select(polars.len()).collect().item()
    kept = rows if limit is None else min(limit, rows)
    bounded.check(4 * len(columns) * kept, shown)
    table = frame.select(columns).head(kept).collect()
    if gaps := [column.name for column in table if column.null_count()]:
        raise Foreign(
            f"{shown} has rows without a value in {visible(', '.join(gaps))}",
            next="fill or drop them, or let a callable do so",
        )
    return table


def _check_columns(schema: polars.Schema, columns: list[str], shown: str) -> None:
    import polars

    if missing := [name for name in columns if name not in schema]:
        raise UsageError(
            f"{shown} has no column {visible(', '.join(missing))}; it has:"
            f" {visible(', '.join(list(schema)[:20]))}",
            next='name them in the entry: test = { path = "...", x = [...], y = "..." }',
        )
    words = [
        name
        for name in columns
        if not (schema[name].is_numeric() or schema[name] == polars.Boolean)
    ]
    if words:
        raise UsageError(
            f"{shown} has columns that are not numbers: {visible(', '.join(words))}",
            next="let a callable of the project turn them into numbers:"
            ' test = "module:callable", which returns (x, y)',
        )


def _classes(column: Any) -> Tensor:
    import polars

    whole = column.dtype.is_integer() or column.dtype == polars.Boolean
    values = column.cast(polars.Int64 if whole else polars.Float64).to_numpy()
    return torch.from_numpy(np.array(values))
