"""The newest rows of files, their features read late: the same as sorting whole rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.ingestion.stored_numbers import StoredNumbers
from featurestore.materialize import newest_in_files
from featurestore.materialize.newest_in_files import ROW, with_features

FEATURES = {"n": pl.Int64, "s": pl.String, "f": pl.Float64}


@settings(max_examples=60, deadline=None)
@given(
    heights=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    data=st.data(),
    most=st.integers(1, 5),
    gap=st.integers(1, 4),
    group=st.integers(1, 4),
    dictionaries=st.booleans(),
)
def test_each_row_gets_its_own_features(
    heights: list[int], data: Any, most: int, gap: int, group: int, dictionaries: bool
) -> None:
    total = sum(heights)
    chosen = sorted(data.draw(st.sets(st.integers(0, total - 1), min_size=1)))
    features = pl.DataFrame(
        {"n": range(total), "s": [f"v{i}" if i % 3 else None for i in range(total)], "f": [i / 7 for i in range(total)]},
        schema=FEATURES,
    )
    rows = pl.DataFrame({"key": [f"k{i}" for i in chosen], ROW: chosen}, schema={"key": pl.String, ROW: pl.UInt32})
    with tempfile.TemporaryDirectory() as folder:
        files, start = [], 0
        for height in heights:
            files.append(Path(folder, f"{start}.parquet"))
            table = features.slice(start, height).to_arrow()
            pq.write_table(table, files[-1], row_group_size=group, compression="none", use_dictionary=dictionaries)
            start += height
        with patch.object(newest_in_files, "_GAP", gap):
            stored = StoredNumbers([*map(str, files)], features.schema)
            parts = list(with_features(rows, pl.scan_parquet(files).select("n", "f", "s"), stored, most))
    found = pl.concat(parts).sort("n").select("key", "n", "s", "f")
    assert found.rows() == [(f"k{i}", i, f"v{i}" if i % 3 else None, i / 7) for i in chosen]


def test_the_last_rows_come_first() -> None:
    """Most of the newest rows are there, and the store can begin with them."""
    rows = pl.DataFrame({"key": [0, 1, 2, 3], ROW: [0, 5, 8, 9]}, schema_overrides={ROW: pl.UInt32})
    parts = list(with_features(rows, pl.LazyFrame({"n": range(10)}), StoredNumbers((), {}), 2))
    assert parts[0].drop(ROW).rows() == [(2, 8), (3, 9)]
    assert pl.concat(parts).drop(ROW).sort("key").rows() == [(0, 0), (1, 5), (2, 8), (3, 9)]
