"""DuckDB over local files and S3 gives the same answers, whatever its threads do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore.config import Config, EngineConfig
from featurestore.errors import LakeError
from featurestore.ingestion.duckdb_files import connect, quote_name, read_parquet_sql, sql_type
from featurestore.ingestion.lake import Lake
from featurestore.ingestion.object_storage import ObjectStorage, open_storage
from featurestore.registry import types as t
from featurestore.time import SystemClock
from tests.lake.rows import FOLDER_ONLY, at, rows
from tests.lake.test_stored_types import EXTREMES
from tests.servers.s3 import S3Server


@pytest.fixture
def connection(config: Config, storage: ObjectStorage) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(config, storage) as opened:
        yield opened


def test_a_table_is_read_through_its_files(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    table = lake.table("events", "flights")
    table.append(rows(("a", 1, 1), ("b", 2, 2)))
    table.append(rows(("c", 3, 3)).append_column("wind", pa.array([7.5])))
    found = connection.execute(f"SELECT key, value, wind FROM {read_parquet_sql(table.files())} ORDER BY value").fetchall()
    assert found == [("a", 1, None), ("b", 2, None), ("c", 3, 7.5)]


def test_instants_are_utc(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    table = lake.table("events", "flights")
    table.append(rows(("a", 3, 1)))
    query = f"SELECT __event_time, strftime(__event_time, '%H:%M:%S') FROM {read_parquet_sql(table.files())}"
    assert connection.execute(query).fetchall() == [(at(3), "00:00:03")]


@FOLDER_ONLY
def test_columns_that_no_file_has_and_tables_without_files_are_read_by_their_columns(
    connection: duckdb.DuckDBPyConnection, lake: Lake
) -> None:
    table = lake.table("events", "flights")
    version = table.append(rows(("a", 1, 1))).version
    table.append(rows(("b", 2, 2)).append_column("gust", pa.array([9], pa.uint64())))
    only_old = read_parquet_sql(table.files(version), table.columns())
    assert connection.execute(f"SELECT gust, key FROM {only_old}").fetchall() == [(None, "a")]
    none = read_parquet_sql([], table.columns())
    assert connection.execute(f"SELECT count(*) FROM {none}").fetchall() == [(0,)]
    described = connection.execute(f"DESCRIBE SELECT * FROM {none}").fetchall()
    assert [(name, kind) for name, kind, *_ in described] == [
        ("key", "VARCHAR"), ("__event_time", "TIMESTAMP WITH TIME ZONE"), ("value", "BIGINT"), ("gust", "UBIGINT"),
    ]  # fmt: skip
    with pytest.raises(LakeError, match="no files to read"):
        read_parquet_sql([])


@pytest.mark.parametrize(("data_type", "held"), EXTREMES, ids=lambda value: str(value) if isinstance(value, t.DataType) else "")
def test_every_type_is_read_as_itself(tmp_path: Path, data_type: t.DataType, held: list[object]) -> None:
    lake = Lake(open_storage(str(tmp_path)), SystemClock())
    table = lake.table("features", "all")
    data = pa.table({'odd "name"': pa.array(held, t.to_arrow(data_type))})
    table.append(data)
    with connect(Config("p", tmp_path), lake.storage) as opened:
        source = read_parquet_sql(table.files(), table.columns())
        kinds = opened.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        expected = opened.execute(f"DESCRIBE SELECT NULL::{sql_type(t.to_arrow(data_type))} AS x").fetchall()
        assert kinds[0][1] == expected[0][1]
        name = quote_name('odd "name"')
        assert opened.execute(f"SELECT count({name}) FROM {source}").fetchall() == [(2,)]


def test_threads_that_share_a_file_do_not_mix_their_reads(config: Config, storage: ObjectStorage) -> None:
    count = 600_000
    random = np.random.default_rng(0)
    data = pa.table({f"c{n}": random.integers(0, 1000, count) for n in range(6)})
    sink = pa.BufferOutputStream()
    pq.write_table(data, sink, row_group_size=20_000, compression="snappy")
    storage.put("wide.parquet", sink.getvalue())
    expected = [tuple(int(column.to_numpy().sum()) for column in data.columns)]
    sums = ", ".join(f"sum({name})" for name in data.column_names)
    for threads in (1, 2, 8):
        with connect(config, storage) as opened:
            opened.execute(f"SET threads = {threads}")
            query = f"SELECT {sums} FROM {read_parquet_sql([storage.uri('wide.parquet')])}"
            assert [tuple(map(int, row)) for row in opened.execute(query).fetchall()] == expected


def test_copy_to_writes_files_folders_and_partitions(connection: duckdb.DuckDBPyConnection, storage: ObjectStorage) -> None:
    storage.put("exists", b"")
    connection.execute(f"COPY (SELECT range AS a, range % 3 AS b FROM range(100000)) TO '{storage.uri('one.parquet')}'")
    connection.execute(f"COPY (SELECT range AS a FROM range(10)) TO '{storage.uri('one.csv')}'")
    connection.execute(
        f"COPY (SELECT range AS a, range % 3 AS b FROM range(9)) TO '{storage.uri('parts')}' (FORMAT parquet, PARTITION_BY (b))"
    )
    total = sum(range(100_000))
    assert connection.execute(f"SELECT sum(a) FROM '{storage.uri('one.parquet')}'").fetchall() == [(total,)]
    assert connection.execute(f"SELECT sum(a) FROM '{storage.uri('one.csv')}'").fetchall() == [(45,)]
    found = connection.execute(
        f"SELECT sum(a), sum(b) FROM read_parquet('{storage.uri('parts')}/*/*.parquet', hive_partitioning = true)"
    )
    assert found.fetchall() == [(36, 9)]
    assert storage.folders("parts") == ("b=0", "b=1", "b=2")


def test_a_copy_that_fails_publishes_nothing(server: S3Server, tmp_path: Path) -> None:
    config = Config("p", tmp_path, lake=server.settings())
    with connect(config, server.storage()) as opened:
        rows = "SELECT CASE WHEN range = 900000 THEN error('boom') ELSE range END AS a FROM range(1000000)"
        with pytest.raises(duckdb.Error, match="boom"):
            opened.execute(f"COPY ({rows}) TO 's3://lake/bad.parquet'")
        with pytest.raises(duckdb.Error, match="No files found"):
            opened.execute("SELECT * FROM 's3://lake/bad.parquet'")


def test_globs_find_what_is_there(connection: duckdb.DuckDBPyConnection, storage: ObjectStorage) -> None:
    for name in ("a/1", "a/2", "b/3"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"n": [int(name[-1])]}), sink)
        storage.put(f"{name}.parquet", sink.getvalue())
    assert connection.execute(f"SELECT sum(n) FROM '{storage.uri('a')}/*.parquet'").fetchall() == [(3,)]
    assert connection.execute(f"SELECT sum(n) FROM '{storage.uri()}/**/*.parquet'").fetchall() == [(6,)]
    with pytest.raises(duckdb.Error, match="No files found"):
        connection.execute(f"SELECT * FROM '{storage.uri('c')}/*.parquet'")


@FOLDER_ONLY
def test_memory_and_spill_are_those_of_the_settings(tmp_path: Path, storage: ObjectStorage) -> None:
    config = Config("p", tmp_path, engine=EngineConfig(memory_limit=512 << 20, spill="spill here"))
    with connect(config, storage) as opened:
        found = opened.execute("SELECT current_setting('memory_limit'), current_setting('temp_directory')").fetchall()
    assert found == [("512.0 MiB", str(tmp_path / "spill here"))]
