"""Deleting rows and merging files."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore.errors import LakeError
from featurestore.ingestion.lake import Lake
from featurestore.ingestion.lake_table import LakeTable
from featurestore.ingestion.object_storage import ObjectStorage
from featurestore.ingestion.parts import sorting_of
from featurestore.ingestion.rewrites import footer
from featurestore.time import EVENT_TIME
from tests.lake.rows import FOLDER_ONLY, at, rows, values


@pytest.fixture
def table(lake: Lake) -> LakeTable:
    return lake.table("features", "plane_delays")


def sortings(table: LakeTable, storage: ObjectStorage) -> list[tuple[str, ...]]:
    return [sorting_of(footer(storage, storage.key(file))) for file in table.files()]


def test_only_files_with_matching_rows_are_rewritten(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1), ("b", 2, 2)))
    table.append(rows(("c", 3, 3)))
    _, untouched = table.files()
    assert table.delete("key = 'b'") == 1
    assert values(table) == [1, 3]
    assert untouched in table.files()
    version = table.version()
    assert table.delete("key = 'nobody'") == 0
    assert table.version() == version


@FOLDER_ONLY
def test_a_condition_that_is_null_deletes_nothing(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1), (None, 2, 2), ("b", 3, 3)))
    assert table.delete("key <> 'a'") == 1
    assert values(table) == [1, 2]


@FOLDER_ONLY
@pytest.mark.parametrize(
    "condition",
    ["key = 'a' AND value IN (1, 2)", "value < 3 OR key IS NULL AND key IS NOT NULL", pl.col("value").is_in([1, 2])],
    ids=str,
)
def test_conditions_are_sql_or_expressions(table: LakeTable, condition: str | pl.Expr) -> None:
    table.append(rows(("a", 1, 1), ("a", 2, 2), ("a", 3, 3)))
    assert table.delete(condition) == 2
    assert values(table) == [3]


@FOLDER_ONLY
def test_a_file_whose_rows_all_go_goes(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)))
    table.append(rows(("b", 2, 2)))
    assert table.delete("key = 'a'") == 1
    assert len(table.files()) == 1
    assert table.delete("true") == 1
    assert table.files() == []
    assert table.scan().collect().shape == (0, 3)


@FOLDER_ONLY
@pytest.mark.parametrize(("condition", "complaint"), [("key === 1", "not a condition"), ("tailnum = 'x'", "columns are: key")])
def test_a_condition_that_cannot_be_decided_is_an_error(table: LakeTable, condition: str, complaint: str) -> None:
    table.append(rows(("a", 1, 1)))
    with pytest.raises(LakeError, match=complaint):
        table.delete(condition)
    assert values(table) == [1]


@FOLDER_ONLY
def test_a_condition_may_be_about_a_column_that_older_files_lack(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)))
    table.append(rows(("b", 2, 2), ("b", 3, 3)).append_column("gust", pa.array([1, 2], pa.uint64())))
    assert table.delete("gust = 2") == 1
    assert table.delete("gust IS NULL") == 1
    assert table.scan().collect()["gust"].to_list() == [1]
    assert table.schema().field("gust").type == pa.uint64()


def test_deleting_keeps_the_order_and_says_so(table: LakeTable, storage: ObjectStorage) -> None:
    table.append(rows(("b", 1, 1), ("a", 2, 2), ("a", 1, 3), ("c", 1, 4)), sort_by=["key", EVENT_TIME])
    table.delete("key = 'b'")
    assert table.scan().collect()["value"].to_list() == [3, 2, 4]
    assert sortings(table, storage) == [("key", EVENT_TIME)]


def test_compaction_makes_one_sorted_file_of_many(table: LakeTable, storage: ObjectStorage) -> None:
    for n in range(3):
        table.append(rows(("b", n, n), ("a", n, n + 10)), sort_by=["key", EVENT_TIME])
    before = table.version()
    assert table.compact() == 2
    assert table.scan().collect()["value"].to_list() == [10, 11, 12, 0, 1, 2]
    assert sortings(table, storage) == [("key", EVENT_TIME)]
    assert values(table, before) == values(table)
    assert table.compact() == 0


@FOLDER_ONLY
def test_compaction_leaves_large_files_and_their_order_of_writing_alone(table: LakeTable) -> None:
    table.append(rows(*[("a", n, n) for n in range(8)]))
    for n in (8, 9):
        table.append(rows(("a", n, n)))
    large = table.files()[0]
    assert table.compact(target_rows=10) == 1
    assert table.files()[0] == large
    assert values(table) == list(range(10))


@FOLDER_ONLY
def test_files_that_are_sorted_differently_are_not_mixed(table: LakeTable, storage: ObjectStorage) -> None:
    for sort_by in ([], [], ["key"], ["key"], [EVENT_TIME]):
        table.append(rows(("b", 1, 1), ("a", 2, 2)), sort_by=sort_by)
    assert table.compact() == 2
    assert sorted(sortings(table, storage)) == [(), (EVENT_TIME,), ("key",)]


@FOLDER_ONLY
def test_compaction_keeps_added_columns_and_their_types(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)))
    table.append(rows(("b", 2, 2)).append_column("gust", pa.array([200], pa.uint8())))
    assert table.compact() == 1
    assert table.scan().sort("value").collect()["gust"].to_list() == [None, 200]
    assert table.schema().field("gust").type == pa.uint8()


@FOLDER_ONLY
def test_compacted_files_are_still_pruned_by_time(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)))
    table.append(rows(("a", 5, 5)))
    table.compact()
    assert len(table.files(start=at(5))) == 1
    assert table.files(start=at(6)) == []


def test_a_footer_longer_than_the_first_guess_is_read_whole(storage: ObjectStorage) -> None:
    wide = pa.table({f"a_rather_long_column_name_{n:04}": [n] for n in range(800)})
    sink = pa.BufferOutputStream()
    pq.write_table(wide, sink)
    storage.put("wide.parquet", sink.getvalue())
    assert footer(storage, "wide.parquet").num_columns == 800
