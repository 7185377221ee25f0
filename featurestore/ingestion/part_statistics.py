"""What a Parquet file's footer tells of its columns, as the Delta log keeps it: counts, smallest and greatest values.

Delta's statistics are JSON: see "Per-file Statistics" in the Delta transaction log protocol. Columns inside lists and structs
have none. Numbers with a point have no bounds: Parquet's leave NaN out, and a reader that prunes by them would lose its rows.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.time import EPOCH, from_micros, to_micros

_LONGEST_TEXT: Final = 64
_EARLIEST: Final = -62_135_596_800_000_000
_LATEST: Final = 253_402_300_799_999_999
"""Microseconds of the years 1 and 9999: what an ISO timestamp can say."""


def statistics_json(metadata: pq.FileMetaData) -> str:
    """The ``stats`` text of an add action."""
    schema = metadata.schema.to_arrow_schema()
    nulls: dict[str, int] = {}
    smallest: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    for index in range(metadata.num_columns):
        described = metadata.schema.column(index)
        if described.path != described.name or described.max_repetition_level or described.max_definition_level > 1:
            continue
        name = described.name
        groups = [metadata.row_group(group).column(index).statistics for group in range(metadata.num_row_groups)]
        if any(group is None or not group.has_null_count for group in groups):
            continue
        nulls[name] = sum(group.null_count for group in groups)
        if bounds := _bounds(groups, schema.field(name).type):
            smallest[name], greatest[name] = bounds
    return json.dumps(
        {"numRecords": metadata.num_rows, "minValues": smallest, "maxValues": greatest, "nullCount": nulls},
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _bounds(groups: list[Any], data_type: pa.DataType) -> tuple[Any, Any] | None:
    filled = [group for group in groups if group.has_min_max]
    # A group of nulls has no bounds; one with values but without bounds (long texts) would make the file's bounds a lie.
    if not filled or any(group.num_values and not group.has_min_max for group in groups):
        return None
    low, high = min(group.min_raw for group in filled), max(group.max_raw for group in filled)
    if pa.types.is_integer(data_type):
        return low, high
    if pa.types.is_timestamp(data_type) and _EARLIEST <= low <= high <= _LATEST:
        return _instant(low), _instant(high)
    if pa.types.is_date32(data_type) and _EARLIEST <= low * 86_400_000_000 <= high * 86_400_000_000 <= _LATEST:
        return _day(low), _day(high)
    if pa.types.is_string(data_type) and max(len(low), len(high)) <= _LONGEST_TEXT:
        return low.decode(), high.decode()
    return None


def _instant(micros: int) -> str:
    return from_micros(micros).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


def _day(days: int) -> str:
    return date.isoformat((EPOCH + timedelta(days=days)).date())


def overlapping(files: pa.Table, column: str, start: datetime | None, end: datetime | None) -> pa.Array:
    """Which files may hold a row in ``[start, end)`` by their statistics; without any a file may.

    Args:
        files: the add actions of a version, flattened.
        column: of instants.
    """
    import polars as pl  # Arrow would compare with a Python value only after it imported pandas: 40 MB, half a second

    low, high = f"min.{column}", f"max.{column}"
    if low not in files.column_names or high not in files.column_names:
        return pl.repeat(True, files.num_rows, eager=True).to_arrow()
    instant = pl.Datetime("us", "UTC")
    first, last = (pl.col(name).cast(instant).to_physical() for name in (low, high))
    keep = pl.repeat(True, pl.len())
    if start is not None:
        # Other writers cut a file's greatest instant to milliseconds, as Delta allows.
        keep &= last.is_null() | (last + 1_000 >= to_micros(start))
    if end is not None:
        keep &= first.is_null() | (first < to_micros(end))
    bounds = pl.DataFrame(files.select([low, high]))
    return bounds.select(keep).to_series().to_arrow()
