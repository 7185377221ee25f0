"""What a lake table must do; the same on a folder and on S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Schema

from featurestore.config import Config, LakeConfig
from featurestore.errors import LakeError
from featurestore.ingestion.lake import Lake, open_lake
from featurestore.ingestion.lake_table import LakeTable
from featurestore.ingestion.object_storage import ObjectStorage
from featurestore.time import EVENT_TIME, SystemClock
from tests.lake.conftest import MovedClock
from tests.lake.rows import FOLDER_ONLY, SCHEMA, at, rows, values, values_of


@pytest.fixture
def table(lake: Lake) -> LakeTable:
    return lake.table("events", "flights")


def test_a_table_that_was_never_written_does_not_exist(table: LakeTable) -> None:
    assert not table.exists()
    assert table.version() is None
    assert table.row_count() == 0
    assert table.history() == []
    assert not table.has_transaction("file", 1)
    assert table.vacuum() == []
    assert table.sweep() == []
    assert table.compact() == 0
    assert table.delete("value = 1") == 0
    with pytest.raises(LakeError, match="there is no table 'events/flights'"):
        table.schema()


def test_appended_rows_are_read_back_in_their_types(table: LakeTable) -> None:
    commit = table.append(rows(("a", 1, 10), ("b", 2, None)))
    assert (commit.rows, commit.committed, dict(commit.duplicate_of)) == (2, True, {})
    assert table.version() == commit.version
    assert table.schema() == SCHEMA
    assert table.scan().collect().to_dict(as_series=False) == {
        "key": ["a", "b"],
        EVENT_TIME: [at(1), at(2)],
        "value": [10, None],
    }
    assert table.row_count() == 2


@FOLDER_ONLY
@pytest.mark.parametrize("form", ["table", "reader", "batches", "batch", "generator", "polars"])
def test_data_comes_in_every_form_of_arrow(table: LakeTable, form: str) -> None:
    data = rows(("a", 1, 1), ("b", 2, 2))
    forms = {
        "table": data,
        "reader": pa.RecordBatchReader.from_batches(data.schema, data.to_batches()),
        "batches": data.to_batches(),
        "batch": data.to_batches()[0],
        "generator": (batch for batch in data.to_batches(max_chunksize=1)),
        "polars": pl.from_arrow(data),
    }
    table.append(forms[form])
    assert values(table) == [1, 2]
    assert table.schema() == SCHEMA


def test_every_version_stays_readable(table: LakeTable) -> None:
    versions = [table.append(rows(("a", n, n))).version for n in range(3)]
    assert [values(table, version) for version in versions] == [[0], [0, 1], [0, 1, 2]]
    assert [table.row_count(version) for version in versions] == [1, 2, 3]
    assert table.files(versions[0]) == table.files()[:1]
    with pytest.raises(LakeError, match="has no version 99"):
        table.scan(99)


def test_files_that_hold_nothing_between_the_bounds_are_left_out(table: LakeTable) -> None:
    for second in (10, 20, 30):
        table.append(rows(("a", second, second), ("b", second + 5, second + 5)))
    first, second, third = table.files()
    assert table.files(start=at(15), end=at(20)) == [first]
    assert table.files(start=at(16), end=at(20)) == []
    assert table.files(start=at(16), end=at(20.000001)) == [second]
    assert table.files(start=at(25)) == [second, third]
    assert table.files(end=at(30)) == [first, second]
    assert table.files(start=at(0), end=at(100), event_time="another column") == [first, second, third]


@FOLDER_ONLY
def test_small_files_come_in_groups_in_the_order_of_their_writing(table: LakeTable) -> None:
    for second in range(5):
        table.append(rows(("a", second, second)), sort_by=["key"])
    table.append(rows(*(("b", 9, value) for value in range(5, 9))))
    assert [values_of(table, files) for files in table.file_groups(rows=2)] == [[0, 1], [2, 3], [4], [5, 6, 7, 8]]
    assert [values_of(table, files) for files in table.file_groups(rows=100, end=at(3))] == [[0, 1, 2]]
    assert [values_of(table, files) for files in table.file_groups(1, rows=1)] == [[0]]


@FOLDER_ONLY
def test_numbers_that_hardly_shrink_are_kept_as_they_are_beside_packed_ones(table: LakeTable) -> None:
    random = np.random.default_rng(1)
    data = pa.table(
        {"noise": random.normal(size=5_000), "step": np.repeat([0.5, 1.5], 2_500), "none": pa.nulls(5_000, pa.float64())}
    )
    table.append(data)
    with pq.ParquetFile(table.files()[0]) as file:
        codecs = [file.metadata.row_group(0).column(place).compression for place in range(3)]
        assert codecs == ["UNCOMPRESSED", "ZSTD", "ZSTD"]
        assert file.read().equals(data)


def test_bounds_may_be_about_another_column(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)).rename_columns(["key", "landed_at", "value"]))
    assert table.files(start=at(2), event_time="landed_at") == []
    assert len(table.files(start=at(1), event_time="landed_at")) == 1


@FOLDER_ONLY
def test_parts_are_sorted_as_asked_and_equal_rows_keep_their_order(table: LakeTable) -> None:
    table.append(rows(("b", 1, 1), (None, 1, 2), ("a", 2, 3), ("a", 1, 4), ("a", 2, 5)), sort_by=["key", EVENT_TIME])
    assert table.scan().collect()["value"].to_list() == [4, 3, 5, 1, 2]


@FOLDER_ONLY
def test_sorting_by_a_column_that_is_not_there_says_which_are(table: LakeTable) -> None:
    with pytest.raises(LakeError, match="no column 'tailnum' to sort by"):
        table.append(rows(("a", 1, 1)), sort_by=["tailnum"])
    assert not table.exists()


@FOLDER_ONLY
def test_a_column_that_a_batch_lacks_is_null(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)))
    table.append(rows(("b", 2, 2)).drop_columns(["key"]))
    assert table.scan().sort("value").collect()["key"].to_list() == ["a", None]


def test_a_new_column_is_null_in_older_rows_and_absent_from_older_versions(table: LakeTable) -> None:
    before = table.append(rows(("a", 1, 1))).version
    table.append(rows(("b", 2, 2)).append_column("wind", pa.array([7.5])))
    assert table.scan().sort("value").collect()["wind"].to_list() == [None, 7.5]
    assert "wind" not in table.schema(before).names
    assert "wind" not in table.scan(before).collect().columns


@FOLDER_ONLY
def test_columns_may_differ_from_batch_to_batch(table: LakeTable) -> None:
    narrow, wide = rows(("a", 1, 1)), rows(("b", 2, 2)).append_column("wind", pa.array([7.5]))
    table.append([*narrow.to_batches(), *wide.to_batches()])
    assert table.scan().sort("value").collect()["wind"].to_list() == [None, 7.5]


@FOLDER_ONLY
def test_another_type_is_refused_naming_the_column_and_both_types(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)))
    wrong = rows(("b", 2, 2)).set_column(2, "value", pa.array(["two"]))
    with pytest.raises(LakeError, match="column 'value' is Int64 in the table and String in the appended data"):
        table.append(wrong)
    assert values(table) == [1]


@FOLDER_ONLY
def test_a_column_of_nulls_without_type_fits_a_known_column_only(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)))
    table.append(rows(("b", 2, 2)).set_column(0, "key", pa.nulls(1)))
    assert table.scan().sort("value").collect()["key"].to_list() == ["a", None]
    with pytest.raises(LakeError, match="'wind' of the appended data is all null"):
        table.append(rows(("b", 2, 2)).append_column("wind", pa.nulls(1)))


def test_an_error_in_the_middle_of_the_data_leaves_nothing(table: LakeTable, lake: Lake) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from rows(("a", 1, 1)).to_batches()
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        table.append(broken())
    assert not table.exists()
    assert list(lake.storage.list()) == []


@FOLDER_ONLY
def test_no_rows_make_a_table_where_the_schema_is_known(table: LakeTable) -> None:
    commit = table.append(SCHEMA.empty_table())
    assert (commit.rows, commit.committed) == (0, False)
    assert table.scan().collect().shape == (0, 3)
    assert table.schema() == SCHEMA
    with pytest.raises(LakeError, match="columns are unknown"):
        LakeTable(table._storage, "events", "other", SystemClock()).append([])


@FOLDER_ONLY
def test_a_transaction_without_rows_is_remembered(table: LakeTable) -> None:
    assert table.append(SCHEMA.empty_table(), transactions={"file": 1}).committed
    assert table.has_transaction("file", 1)
    assert not table.append(SCHEMA.empty_table(), transactions={"file": 1}).committed


def test_a_transaction_lands_once(table: LakeTable) -> None:
    first = table.append(rows(("a", 1, 1)), transactions={"topic-0": 7})
    again = table.append(rows(("a", 1, 1)), transactions={"topic-0": 7})
    older = table.append(rows(("a", 1, 1)), transactions={"topic-0": 3})
    assert (again.committed, again.rows, again.version, dict(again.duplicate_of)) == (False, 0, first.version, {"topic-0": 7})
    assert not older.committed
    assert table.append(rows(("a", 2, 2)), transactions={"topic-0": 8}).committed
    assert values(table) == [1, 2]
    assert table.has_transaction("topic-0", 8)
    assert not table.has_transaction("topic-0", 9)
    assert not table.has_transaction("topic-1", 1)


@FOLDER_ONLY
def test_a_duplicate_is_not_even_read(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)), transactions={"file": 1})
    reader = iter(rows(("a", 1, 1)).to_batches())
    table.append(reader, transactions={"file": 1})
    assert len(list(reader)) == 1


@FOLDER_ONLY
def test_a_write_of_which_a_part_landed_before_is_refused(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)), transactions={"topic-0": 1})
    with pytest.raises(LakeError, match="a part of this write already: topic-0, but not topic-1"):
        table.append(rows(("a", 2, 2)), transactions={"topic-0": 1, "topic-1": 1})


def test_transactions_outlive_checkpoints_and_vacuum(table: LakeTable) -> None:
    for number in range(21):  # a checkpoint is written every 20 versions
        table.append(rows(("a", number, number)), transactions={f"file-{number}": 1})
    table.compact()
    table.vacuum(0)
    fresh = LakeTable(table._storage, "events", "flights", SystemClock())
    assert all(fresh.has_transaction(f"file-{number}", 1) for number in range(21))
    assert values(fresh) == list(range(21))


def test_overwrite_replaces_rows_and_columns_and_keeps_the_past(table: LakeTable) -> None:
    before = table.append(rows(("a", 1, 1))).version
    commit = table.overwrite(pa.table({"value": ["new type"]}), transactions={"run": 1})
    assert table.scan().collect().to_dict(as_series=False) == {"value": ["new type"]}
    assert values(table, before) == [1]
    assert not table.overwrite(pa.table({"value": ["again"]}), transactions={"run": 1}).committed
    assert table.version() == commit.version
    assert table.overwrite(pa.table({"value": pa.array([], pa.string())})).rows == 0
    assert table.row_count() == 0


@FOLDER_ONLY
def test_overwrite_may_be_the_first_write(table: LakeTable) -> None:
    assert table.overwrite(rows(("a", 1, 1))).committed
    assert values(table) == [1]


def test_history_tells_what_was_done_with_which_metadata(table: LakeTable) -> None:
    table.append(rows(("a", 1, 1)), metadata={"file": "flights.csv"})
    table.append(rows(("b", 2, 2)))
    table.delete("key = 'a'", metadata={"reason": "asked for"})
    operations = [(entry.operation, dict(entry.metadata)) for entry in table.history()]
    assert operations == [
        ("delete", {"reason": "asked for"}),
        ("append", {}),
        ("append", {"file": "flights.csv"}),
        ("create table", {}),
    ]
    assert [entry.version for entry in table.history(2)] == [3, 2]


def test_added_files_hold_the_rows_of_the_versions_after_one(table: LakeTable) -> None:
    versions = [table.append(rows(("a", n, n))).version for n in range(4)]
    assert values_of(table, table.added_files(versions[1]) or ()) == [2, 3]
    assert values_of(table, table.added_files(versions[0], versions[2]) or ()) == [1, 2]
    assert table.added_files(versions[3]) == []
    assert values_of(table, table.added_files(-1) or ()) == [0, 1, 2, 3]


def test_compaction_and_new_columns_do_not_count_as_additions(table: LakeTable) -> None:
    since, *_ = [table.append(rows(("a", n, n))).version for n in range(3)]
    table.compact()
    table.append(rows(("b", 9, 9)).append_column("wind", pa.array([7.5])))
    assert values_of(table, table.added_files(since) or ()) == [1, 2, 9]


@FOLDER_ONLY
def test_added_files_are_unknown_once_rows_went(table: LakeTable) -> None:
    first = table.append(rows(("a", 1, 1), ("b", 1, 2))).version
    table.append(rows(("a", 2, 3)))
    table.delete("value = 1")
    assert table.added_files(first) is None
    last = table.version() or 0
    table.append(rows(("a", 3, 4)))
    assert values_of(table, table.added_files(last) or ()) == [4]
    table.overwrite(rows(("a", 3, 4)))
    assert table.added_files(last) is None


def test_added_files_are_unknown_once_they_were_compacted_and_vacuumed_away(table: LakeTable) -> None:
    since, *_ = [table.append(rows(("a", n, n))).version for n in range(3)]
    table.compact()
    assert values_of(table, table.added_files(since) or ()) == [1, 2]
    table.vacuum(0)
    assert table.added_files(since) is None


def test_vacuum_ends_old_versions_but_those_to_keep(table: LakeTable) -> None:
    kept = [table.append(rows(("a", n, n))).version for n in range(2)][1]
    table.delete("value = 0")
    assert table.vacuum(0, keep_versions=[kept]) == []
    assert values(table, kept) == [0, 1]
    assert len(table.vacuum(0)) == 1
    assert values(table) == [1]


def test_vacuum_leaves_files_that_went_lately(table: LakeTable, storage: ObjectStorage) -> None:
    table.append(rows(("a", 0, 0), ("b", 1, 1)))
    went = table.files()
    table.delete("value = 0")
    assert table.vacuum() == []
    assert LakeTable(storage, "events", "flights", MovedClock(hours=167)).vacuum() == []
    assert LakeTable(storage, "events", "flights", MovedClock(hours=169)).vacuum() == went
    assert table.vacuum(0) == []


def test_vacuum_leaves_the_files_of_a_write_that_is_under_way(
    table: LakeTable, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurestore.ingestion.parts.PART_ROWS", 5)

    def slowly() -> Iterator[pa.RecordBatch]:
        # Where the second part begins to be written, the first one is there.
        for start in (0, 5):
            yield from rows(*[("a", n, n) for n in range(start, start + 5)]).to_batches()
        assert len([found for found in storage.list(table.folder) if found.key.endswith(".parquet")]) >= 2
        assert table.vacuum(0) == []
        assert table.sweep() == []
        yield from rows(*[("a", n, n) for n in range(10, 15)]).to_batches()

    table.append(rows(("a", 15, 15)))
    table.append(slowly())
    assert values(table) == list(range(16))


def test_a_lake_lists_the_tables_that_exist(lake: Lake) -> None:
    for kind, name in (("features", "plane_delays"), ("events", "flights"), ("events", "weather")):
        lake.table(kind, name).append(rows(("a", 1, 1)))  # type: ignore[arg-type]
    lake.table("events", "never_written")
    assert [table.folder for table in lake.tables()] == ["events/flights", "events/weather", "features/plane_delays"]
    assert lake.table("events", "flights") is lake.table("events", "flights")


@FOLDER_ONLY
@pytest.mark.parametrize("name", ["", "../other", "a/b", ".hidden", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(LakeError, match="cannot name a table"):
        lake.table("events", name)


@FOLDER_ONLY
def test_a_kind_that_is_none_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match="kinds are events, quarantine, features"):
        lake.table("labels", "x")  # type: ignore[arg-type]


def test_the_uri_of_a_local_table_is_its_plain_path(tmp_path: Path) -> None:
    lake = open_lake(Config("p", tmp_path, lake=LakeConfig(url="here")), SystemClock())
    assert lake.table("events", "flights").uri == str(tmp_path / "here" / "events" / "flights")
    assert not (tmp_path / "here").exists()


def test_other_delta_software_reads_our_tables(tmp_path: Path) -> None:
    lake = open_lake(Config("p", tmp_path), SystemClock())
    table = lake.table("events", "flights")
    table.append(rows(("a", 1, 1), ("b", 2, 2)))
    table.append(rows(("c", 3, 3)).append_column("wind", pa.array([7], pa.uint8())))
    found = pa.table(DeltaTable(table.uri).to_pyarrow_table()).sort_by("value")
    assert found.column("wind").to_pylist() == [None, None, 7]
    assert DeltaTable(table.uri).count() == 3


def test_tables_that_other_software_partitioned_are_refused(tmp_path: Path) -> None:
    DeltaTable.create(str(tmp_path / "lake/events/flights"), schema=Schema.from_arrow(SCHEMA), partition_by=["key"])
    lake = open_lake(Config("p", tmp_path, lake=LakeConfig(url="lake")), SystemClock())
    with pytest.raises(LakeError, match="partitioned by key"):
        lake.table("events", "flights").version()


@pytest.mark.parametrize(
    ("setting", "feature"), [("delta.enableDeletionVectors", "deletionVectors"), ("delta.columnMapping.mode", "columnMapping")]
)
def test_tables_whose_files_do_not_say_it_all_are_refused(tmp_path: Path, setting: str, feature: str) -> None:
    folder = tmp_path / "lake/events/flights"
    DeltaTable.create(str(folder), schema=Schema.from_arrow(SCHEMA))
    log = folder / "_delta_log" / f"{0:020d}.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "protocol" in line:
            line["protocol"] = {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": [feature],
                "writerFeatures": [feature],
            }
        if "metaData" in line:
            line["metaData"]["configuration"] = {setting: "name" if "mode" in setting else "true"}
    log.write_text("\n".join(map(json.dumps, lines)))
    lake = open_lake(Config("p", tmp_path, lake=LakeConfig(url="lake")), SystemClock())
    with pytest.raises(LakeError, match=feature):
        lake.table("events", "flights").version()
