"""Numbers of Parquet files as arrays: what a Parquet reader would have read, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.ingestion.parts import encode_part
from featurestore.ingestion.stored_numbers import FileNumbers, StoredNumbers

INSTANT = pl.Datetime("us", "UTC")
SCHEMA = {
    **dict.fromkeys(["double", "holes", "required", "listed", "inner", "absent"], pl.Float64()),
    "single": pl.Float32(),
    **dict.fromkeys(["whole", "gaps", "unsigned", "short"], pl.Int64()),
    "at": INSTANT,
    "naive": INSTANT,
    "text": pl.String(),
}
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
    """Numbers in columns of several kinds; ``holes`` and ``gaps`` have a null at each so many rows."""
    places = range(len(values))
    whole = pa.array([(-1) ** i * 7**i % (1 << 62) for i in places], pa.int64())
    holes = pa.array([None if nulls and i % nulls == 0 else v for i, v in enumerate(values)], pa.float64())
    gaps = pa.array([None if nulls and i % nulls == 0 else i for i in places], pa.int64())
    double = pa.array(values, pa.float64())
    with np.errstate(over="ignore"):
        single = pa.array(np.array(values).astype(np.float32))
    columns = {
        "double": double,
        "single": single,
        "holes": holes,
        "required": double,
        "whole": whole,
        "gaps": gaps,
        "at": whole.cast(pa.timestamp("us", "UTC")),
        "naive": whole.cast(pa.timestamp("us")),
        "unsigned": gaps.fill_null(3).cast(pa.uint64()),
        "short": gaps.fill_null(3).cast(pa.int32()),
        "listed": pa.array([[v] for v in values], pa.list_(pa.float64())),
        "struct": pa.StructArray.from_arrays([double], ["inner"]),
        "text": pa.array([str(i) for i in places]),
    }
    fields = [pa.field(name, column.type, nullable=name != "required") for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def read_all(path: Path, name: str) -> bytes | None:
    """The bytes of all values of a column; None where it cannot be had."""
    file = FileNumbers(str(path), {name: dtype for name, dtype in SCHEMA.items() if name != "text"})
    if name not in file.names:
        return None
    # An array holds until the next one is asked for: its bytes are taken before.
    return b"".join(values.tobytes() for group in range(len(file.rows)) for values in file.read(group, [name]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers, st.integers(0, 5), writers)
def test_what_is_read_is_what_was_written(tmp_path: Path, values: list[float], nulls: int, options: dict[str, Any]) -> None:
    table, path = table_of(values, nulls), tmp_path / "file.parquet"
    if options["use_byte_stream_split"]:
        options = {**options, "use_dictionary": False}
    pq.write_table(table, path, **options)
    for name in ("double", "single", "holes", "required", "whole", "gaps", "at"):
        found = read_all(path, name)
        column = table[name].combine_chunks()
        stored = column.cast(pa.int64()) if name == "at" else column
        assert found in (None, np.from_dlpack(stored.fill_null(0)).tobytes())
        if column.null_count or not options["write_statistics"]:
            assert found is None
        elif pa.types.is_integer(stored.type):
            assert found is not None
    assert {read_all(path, name) for name in ("naive", "unsigned", "short", "listed", "inner", "absent")} == {None}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(numbers, min_size=1, max_size=4), st.integers(0, 5), st.data())
def test_files_together_give_their_rows_one_after_the_other(
    tmp_path: Path, files: list[list[float]], nulls: int, data: st.DataObject
) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(len(files))]
    tables = [table_of(values, nulls) for values in files]
    for path, table in zip(paths, tables, strict=True):
        group = data.draw(st.sampled_from([1, 3, 1 << 20]))
        options = {"compression": "none", "use_dictionary": False, "write_page_index": True}
        pq.write_table(table, path, row_group_size=group, **options)
    expected = pl.DataFrame(pa.concat_tables(tables))
    stored = StoredNumbers([str(path) for path in paths], SCHEMA)
    assert stored.types.keys() == {"double", "single", "required", "whole", "at"} | (set() if nulls else {"holes", "gaps"})
    whole = stored.whole()
    assert whole is not None
    assert whole.equals(expected.select(whole.columns), null_equal=True)
    assert whole.schema == {name: SCHEMA[name] for name in whole.columns}
    rows = np.array(data.draw(st.lists(st.integers(0, expected.height - 1))), dtype=np.int64)
    taken = pl.DataFrame(stored.take(rows, ["at", "single", "whole", "double"]))
    assert taken.equals(expected[rows.tolist()].select(taken.columns), null_equal=True)


def test_many_remote_large_and_broken_files_are_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.parquet"
    pq.write_table(table_of([1.0, 2.0], 0), path, row_group_size=1)
    assert StoredNumbers([str(path)] * 16, SCHEMA).count == 32
    assert not StoredNumbers([str(path)] * 17, SCHEMA).types
    assert not StoredNumbers([f"s3://bucket{path}"], SCHEMA).types
    assert not StoredNumbers([], SCHEMA).types
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for name in ("absent.parquet", "broken.parquet"):
        assert not StoredNumbers([str(path), str(tmp_path / name)], SCHEMA).types
    monkeypatch.setattr("featurestore.ingestion.stored_numbers._MOST_ROWS", 1)
    stored = StoredNumbers([str(path)], {"whole": pl.Int64()})
    assert (stored.types, stored.whole()) == ({"whole": pl.Int64()}, None)
    monkeypatch.setattr("featurestore.ingestion.stored_numbers._MOST_ROWS", 0)
    assert not StoredNumbers([str(path)], SCHEMA).types


@pytest.mark.parametrize("rows", [1, 1000, 200_000])
def test_parts_of_the_lake_hold_numbers_that_do_not_compress_plain(tmp_path: Path, rows: int) -> None:
    values = np.random.default_rng(1).normal(size=rows)
    table = pa.table({"double": values, "single": values.astype(np.float32), "holes": np.zeros(rows)})
    path = tmp_path / "part.parquet"
    with pa.OSFile(str(path), "wb") as sink:
        encode_part(sink, [table])
    assert read_all(path, "double") == values.tobytes()
    assert read_all(path, "single") == values.astype(np.float32).tobytes()
    assert rows < 1000 or read_all(path, "holes") is None
