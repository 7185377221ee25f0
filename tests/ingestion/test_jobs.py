"""The job as a whole: what lands, what does not, and numbers that add up."""

from __future__ import annotations

import gzip
import zipfile
from datetime import UTC, datetime

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import zstandard
from blake3 import blake3

from featurestore import types as t
from featurestore.errors import FeatureStoreError, IngestionError, ValidationError
from featurestore.registry.definitions import EventSource

CSV = "at,user,amount\n2024-01-01T10:00:00Z,ann,1.5\n2024-01-01T09:00:00Z,bob,\n"
SOURCE = EventSource("s", event_time="at")


def test_six_rows_in_six_rows_out_stamped(place):
    path = place.file("a.csv", CSV)
    report = place.ingest(SOURCE, path)
    assert (report.read, report.landed, report.quarantined, report.duplicates) == (2, 2, 0, 0)
    events = place.events()
    assert events["user"].to_list() == ["ann", "bob"]
    assert events["at"].to_list() == [datetime(2024, 1, 1, 10, tzinfo=UTC), datetime(2024, 1, 1, 9, tzinfo=UTC)]
    assert events["__arrival_time"].n_unique() == 1
    assert events["__batch"].unique().to_list() == [blake3(path.read_bytes()).hexdigest()]
    assert place.schema() == {"at": "timestamp[us, tz=UTC]", "user": "string", "amount": "double"}
    assert report.schema_frozen
    assert "2 read = 2 landed" in str(report)
    assert report.to_dict()["schema"]["amount"] == "Float64"


def test_the_same_content_again_is_reported_as_duplicates(place):
    path = place.file("a.csv", CSV)
    place.ingest(SOURCE, path)
    again = place.ingest(SOURCE, place.file("copy.csv", CSV))
    assert (again.landed, again.duplicates, again.schema_frozen) == (0, 2, False)
    assert place.events().height == 2


def test_an_idempotency_key_names_the_batch(place):
    rows = [{"at": "2024-01-01T00:00:00Z", "x": 1}]
    assert place.ingest(SOURCE, rows, idempotency_key="k").landed == 1
    assert place.ingest(SOURCE, [{"at": "2024-01-02T00:00:00Z", "x": 2}], idempotency_key="k").duplicates == 1
    assert place.ingest(SOURCE, rows, idempotency_key="l").landed == 1
    assert place.events()["__batch"].to_list() == ["k", "l"]


def test_sequence_grows_within_and_across_batches(place):
    place.ingest(SOURCE, [place.file("a.csv", CSV), place.file("b.csv", CSV.replace("ann", "eve"))])
    events = place.events()
    assert events["user"].to_list() == ["ann", "bob", "eve", "bob"]
    assert events["__sequence"].n_unique() == 4


def test_a_sources_own_arrival_and_sequence(place):
    source = EventSource("s", event_time="at", arrival_time="seen", sequence="offset")
    rows = [{"at": "2024-01-01T00:00:00Z", "seen": "2024-01-01T00:00:05Z", "offset": 7}]
    place.ingest(source, rows)
    events = place.events()
    assert events["__sequence"].to_list() == [7]
    assert events["__arrival_time"].to_list() == [datetime(2024, 1, 1, 0, 0, 5, tzinfo=UTC)]
    with pytest.raises(IngestionError, match=r"row 1, column 'offset'.*no sequence number"):
        place.ingest(source, [{**rows[0], "offset": None}])


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".zip", ""])
def test_compressed_files(place, suffix):
    path = place.folder / f"a.csv{suffix}"
    match suffix:
        case ".gz":
            path.write_bytes(gzip.compress(CSV.encode()))
        case ".zst":
            path.write_bytes(zstandard.compress(CSV.encode()))
        case ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("inner.csv", CSV)
        case _:
            path.write_text(CSV)
    assert place.ingest(SOURCE, path).landed == 2


def test_damaged_compression_is_an_error_and_nothing_lands(place):
    path = place.file("a.csv.gz", gzip.compress(CSV.encode() * 100)[:-20])
    with pytest.raises(IngestionError, match=r"a\.csv\.gz: damaged compressed data"):
        place.ingest(SOURCE, path)
    assert not place.lake.table("events", "s").exists()


def test_frames_of_every_kind(place):
    columns = {"at": [datetime(2024, 1, 1, tzinfo=UTC)], "x": [1]}
    frame = pl.DataFrame(columns)
    assert place.ingest(SOURCE, frame).landed == 1
    for same in (frame.lazy(), frame.to_arrow(), frame.to_arrow().to_batches()[0]):
        assert place.ingest(SOURCE, same).duplicates == 1
    assert place.ingest(SOURCE, pd.DataFrame({"at": [pd.Timestamp("2024-01-02", tz="UTC")], "x": [2]})).landed == 1
    assert place.ingest(SOURCE, [{"at": "2024-01-03T00:00:00Z", "x": 3}]).landed == 1
    assert place.events()["x"].to_list() == [1, 2, 3]


def test_later_files_may_add_columns_and_lack_some(place):
    place.ingest(SOURCE, place.file("a.csv", "at,x\n2024-01-01,1\n"))
    report = place.ingest(SOURCE, place.file("b.csv", "at,y\n2024-01-02,hello\n"))
    assert report.schema_frozen
    assert report.batches[0].missing == ("x",)
    assert place.events().select("x", "y").rows() == [(1, None), (None, "hello")]


def test_a_changed_type_names_file_row_and_column(place):
    place.ingest(SOURCE, place.file("a.csv", "at,x\n2024-01-01,1\n"))
    with pytest.raises(IngestionError, match="row 3, column 'x': 'one' does not fit the type int64") as raised:
        place.ingest(SOURCE, place.file("b.csv", "at,x\n2024-01-02,2\n2024-01-02,one\n"))
    assert (raised.value.row, raised.value.column) == (3, "x")
    assert place.events().height == 1


def test_types_come_from_the_whole_file_not_from_its_beginning(place, monkeypatch):
    monkeypatch.setattr("featurestore.ingestion.readers.blocks.BLOCK_BYTES", 64)
    lines = [f"2024-01-01,{n},,{n}" for n in range(20)] + ["2024-01-01,0.5,7,x", "2024-01-01,2,,1"]
    place.ingest(SOURCE, place.file("a.csv", "at,a,b,c\n" + "\n".join(lines) + "\n"))
    assert place.schema() == {"at": "timestamp[us, tz=UTC]", "a": "double", "b": "int64", "c": "string"}
    assert place.events()["c"].to_list()[-2:] == ["x", "1"]


def test_a_column_without_values_waits_for_one(place):
    place.ingest(SOURCE, place.file("a.csv", "at,x\n2024-01-01,\n"))
    assert "x" not in place.schema()
    place.ingest(SOURCE, place.file("b.csv", "at,x\n2024-01-02,5\n"))
    assert place.events()["x"].to_list() == [None, 5]


def test_a_declared_schema_decides(place):
    source = EventSource("s", event_time="at", schema={"at": t.Timestamp, "zip": t.String, "day": t.Date, "v": t.Decimal(6, 2)})
    place.ingest(source, place.file("a.csv", "at,zip,day,v\n2024-01-01,123,2024-02-29,12.30\n"))
    assert place.schema()["v"] == "decimal128(6, 2)"
    row = place.events().row(0, named=True)
    assert (row["zip"], str(row["day"]), str(row["v"])) == ("123", "2024-02-29", "12.30")
    with pytest.raises(IngestionError, match=r"column 'v': '1\.234' does not fit"):
        place.ingest(source, place.file("b.csv", "at,v\n2024-01-01,1.234\n"))


def test_rows_that_fail_a_quarantine_expectation_are_put_aside(place):
    source = EventSource(
        "s",
        event_time="at",
        expectations=[
            {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 0}, "policy": "quarantine"}
        ],
    )
    report = place.ingest(source, place.file("a.csv", 'at,x,n\n2024-01-01,1,"a\nb"\n2024-01-02,-1,"c\nd"\n'))
    assert (report.read, report.landed, report.quarantined) == (2, 1, 1)
    row = place.quarantine().row(0, named=True)
    assert (row["line"], row["raw"]) == (4, '2024-01-02,-1,"c\nd"')
    assert "x is -1" in row["reason"]
    assert "expect_column_values_to_be_between" in row["expectation"]
    assert '"x": -1' in row["row"]
    result = next(iter(report.validation.values()))
    assert result["success"] is False


def test_a_rejected_batch_leaves_no_trace(place):
    source = EventSource(
        "s",
        event_time="at",
        expectations=[{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x"}, "policy": "reject"}],
    )
    with pytest.raises(ValidationError, match="expect_column_values_to_not_be_null") as raised:
        place.ingest(source, place.file("a.csv", "at,x\n2024-01-01,1\n2024-01-02,\nbroken\n"))
    assert raised.value.result is not None
    assert raised.value.result["success"] is False
    assert not place.lake.table("events", "s").exists()
    assert not place.lake.table("quarantine", "s").exists()
    assert place.schema() == {}
    assert place.catalog.runs("ingest", "s")[0].status == "failed"


def test_malformed_lines_only(place):
    path = place.file("a.jsonl", "{broken\nalso broken\n")
    source = EventSource("s", event_time="at", invalid_event_time="quarantine")
    assert place.ingest(source, path).quarantined == 2
    assert place.ingest(source, path).duplicates == 2
    assert place.quarantine()["raw"].to_list() == ["{broken", "also broken"]


def test_prepare_derives_columns_before_times(place):
    source = EventSource("s", event_time="landed_at", prepare=landed)
    place.ingest(source, place.file("a.csv", "day,minutes,plane\n2024-01-01,90,N1\n"))
    assert place.events()["landed_at"].to_list() == [datetime(2024, 1, 1, 1, 30, tzinfo=UTC)]
    assert set(place.schema()) == {"plane", "landed_at"}


def landed(rows: pl.LazyFrame) -> pl.LazyFrame:
    start = pl.col("day").str.to_datetime("%Y-%m-%d", time_unit="us")
    return rows.select("plane", landed_at=start + pl.duration(minutes="minutes"))


def test_prepare_may_not_drop_rows(place):
    source = EventSource("s", event_time="at", prepare=only_positive)
    with pytest.raises(IngestionError, match="made 1 rows of 2"):
        place.ingest(source, place.file("a.csv", "at,x\n2024-01-01,1\n2024-01-01,-1\n"))


def only_positive(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("x") > 0)


def test_prepare_sees_the_same_raw_types_in_every_file(place):
    source = EventSource("s", event_time="at", prepare=half)
    place.ingest(source, place.file("a.csv", "at,x\n2024-01-01,1.5\n"))
    place.ingest(source, place.file("b.csv", "at,x\n2024-01-02,3\n"))
    assert place.events()["y"].to_list() == [0.75, 1.5]


def half(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("at", y=pl.col("x") / 2)


def test_an_empty_file_is_no_batch(place):
    report = place.ingest(SOURCE, place.file("a.csv", "at,x\n"))
    assert (report.read, report.landed) == (0, 0)
    assert place.ingest(SOURCE, []).read == 0


def test_a_missing_event_time_column_is_named(place):
    with pytest.raises(IngestionError, match="column 'at': there is no such column"):
        place.ingest(SOURCE, place.file("a.csv", "when,x\n2024-01-01,1\n"))


def test_our_own_names_are_refused(place):
    with pytest.raises(IngestionError, match="featurestore's own"):
        place.ingest(SOURCE, place.file("a.csv", "at,__batch\n2024-01-01,1\n"))


def test_unknown_options_are_definition_errors(place):
    source = EventSource("s", event_time="at", read_options={"null_value": "NA"})
    with pytest.raises(FeatureStoreError, match="did you mean 'null_values'"):
        place.ingest(source, place.file("a.csv", CSV))


def test_progress_is_told(place):
    seen: list[tuple[str, int, int | None]] = []
    path = place.file("a.csv", CSV)
    place.ingest(SOURCE, path, progress=lambda *told: seen.append(told))
    assert seen == [(f"ingest {path}", len(CSV), len(CSV))]


def test_a_table_keeps_its_types(place):
    table = pa.table(
        {
            "at": pa.array([1_700_000_000_000], pa.timestamp("ms", tz="Europe/Paris")),
            "u": pa.array([2**64 - 1], pa.uint64()),
            "f": pa.array([1.5], pa.float32()),
            "l": pa.array([[1, None]], pa.list_(pa.int8())),
            "r": pa.array([{"a": "x"}], pa.struct([("a", pa.large_string())])),
            "d": pa.array(["k"]).dictionary_encode(),
            "b": pa.array([b"\xff"], pa.large_binary()),
        }
    )
    place.ingest(SOURCE, table)
    assert place.schema() == {
        "at": "timestamp[us, tz=UTC]",
        "u": "uint64",
        "f": "float",
        "l": "list<item: int8>",
        "r": "struct<a: string>",
        "d": "string",
        "b": "binary",
    }
    row = place.events().row(0, named=True)
    assert (row["u"], row["l"], row["r"], row["d"], row["b"]) == (2**64 - 1, [1, None], {"a": "x"}, "k", b"\xff")


def test_types_that_nothing_holds_are_named(place):
    with pytest.raises(IngestionError, match="column 'x': no type holds time64"):
        place.ingest(SOURCE, pa.table({"at": [datetime(2024, 1, 1, tzinfo=UTC)], "x": pa.array([1], pa.time64("us"))}))
