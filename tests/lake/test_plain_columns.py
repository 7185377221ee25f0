"""Columns that lie plain in a Parquet file, read without a Parquet reader: what one would have read, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.ingestion.parts import encode_part
from featurestore.ingestion.plain_columns import PlainColumns

numbers = st.lists(st.floats(), min_size=1, max_size=60)
writers = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["none", "zstd", "snappy"]),
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "use_byte_stream_split": st.sampled_from([False, ["double"]]),
        "write_statistics": st.booleans(),
        "write_page_index": st.booleans(),
        "write_page_checksum": st.booleans(),
        "max_rows_per_page": st.sampled_from([1, 7, 1 << 20]),
        "write_batch_size": st.sampled_from([1, 5, 1 << 20]),
        "row_group_size": st.sampled_from([1, 9, 1 << 20]),
    }
)


def table_of(values: list[float], nulls: int) -> pa.Table:
    """Numbers in columns of several kinds; ``holes`` has a null at each so many rows."""
    double = pa.array(values, pa.float64())
    holes = pa.array([None if nulls and i % nulls == 0 else v for i, v in enumerate(values)], pa.float64())
    whole = pa.array(range(len(values)), pa.int64())
    with np.errstate(over="ignore"):
        single = pa.array(np.array(values).astype(np.float32))
    listed = pa.array([[v] for v in values], pa.list_(pa.float64()))
    required = pa.field("required", pa.float64(), nullable=False)
    fields = [
        pa.field("double", double.type), pa.field("single", single.type), pa.field("holes", holes.type), required,
        pa.field("whole", whole.type), pa.field("listed", listed.type),
        pa.field("struct", pa.struct([("inner", pa.float64())])),
    ]  # fmt: skip
    struct = pa.StructArray.from_arrays([double], ["inner"])
    return pa.table([double, single, holes, double, whole, listed, struct], schema=pa.schema(fields))


def read_all(path: Path, name: str) -> bytes | None:
    """The bytes of all values of a column; None where it does not lie plain."""
    file = PlainColumns(str(path), ["double", "single", "holes", "required", "whole", "listed", "inner", "absent"])
    if name not in file.types:
        return None
    return b"".join(values.tobytes() for group in range(len(file.rows)) for values in file.read(group, [name]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers, st.integers(0, 5), writers)
def test_what_is_read_is_what_was_written(tmp_path: Path, values: list[float], nulls: int, options: dict[str, Any]) -> None:
    table, path = table_of(values, nulls), tmp_path / "file.parquet"
    if options["use_byte_stream_split"]:
        options = {**options, "use_dictionary": False}
    pq.write_table(table, path, **options)
    for name in ("double", "single", "holes", "required"):
        found = read_all(path, name)
        expected = np.from_dlpack(table[name].combine_chunks().fill_null(0.0)).tobytes()
        assert found in (None, expected)
        if name == "holes" and nulls:
            assert found is None
    assert {read_all(path, name) for name in ("whole", "listed", "inner", "absent")} == {None}


@pytest.mark.parametrize("rows", [1, 1000, 200_000])
def test_parts_of_the_lake_hold_numbers_that_do_not_compress_plain(tmp_path: Path, rows: int) -> None:
    values = np.random.default_rng(1).normal(size=rows)
    table = pa.table({"double": values, "single": values.astype(np.float32), "holes": np.zeros(rows)})
    path = tmp_path / "part.parquet"
    path.write_bytes(encode_part(table))
    assert read_all(path, "double") == values.tobytes()
    assert read_all(path, "single") == values.astype(np.float32).tobytes()
    assert rows < 1000 or read_all(path, "holes") is None
