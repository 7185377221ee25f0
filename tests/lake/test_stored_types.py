"""Types that Delta knows and types that it does not come back as they went in."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.config import Config
from featurestore.errors import LakeError
from featurestore.ingestion.lake import open_lake
from featurestore.ingestion.lake_table import LakeTable
from featurestore.ingestion.part_statistics import statistics_json
from featurestore.ingestion.parts import encode_part
from featurestore.ingestion.stored_types import Columns, columns_of
from featurestore.registry import types as t
from featurestore.time import SystemClock

EXTREMES: list[tuple[t.DataType, list[Any]]] = [
    (t.Bool, [True, False, None]),
    (t.Int8, [-128, 127, None]),
    (t.Int64, [-(2**63), 2**63 - 1, None]),
    (t.UInt8, [0, 255, None]),
    (t.UInt16, [0, 65_535, None]),
    (t.UInt32, [0, 2**32 - 1, None]),
    (t.UInt64, [0, 2**64 - 1, None]),
    (t.Float16, [np.float16(1.5), np.float16(-0.1), None]),
    (t.Float32, [1.5, float("-inf"), None]),
    (t.Float64, [1e308, -0.0, None]),
    (t.String, ["", "ü\U0001f6e9", None]),
    (t.Bytes, [b"", b"\x00\xff", None]),
    (t.Date, [date(1, 1, 1), date(9999, 12, 31), None]),
    (t.Timestamp, [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), None]),
    (t.Decimal(38, 10), [Decimal("-9999999999999999999999999999.9999999999"), Decimal("0.0000000001"), None]),
    (t.List(t.UInt8), [[0, 255, None], [], None]),
    (t.Vector(t.Float32, 3), [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], None]),
    (t.Struct({"lat": t.Float64, "hop": t.UInt32}), [{"lat": 1.0, "hop": 2**32 - 1}, {"lat": None, "hop": None}, None]),
]


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    return open_lake(Config("types", tmp_path), SystemClock()).table("features", "all")


@pytest.mark.parametrize(("data_type", "held"), EXTREMES, ids=lambda value: str(value) if isinstance(value, t.DataType) else "")
def test_every_type_holds_its_extremes(table: LakeTable, data_type: t.DataType, held: list[Any]) -> None:
    data = pa.table({"x": pa.array(held, t.to_arrow(data_type))})
    table.append(data)
    assert table.columns().types == {"x": data_type}
    assert table.schema() == data.schema
    assert table.scan().collect().to_arrow().cast(data.schema).equals(data)
    table.append(data)
    table.compact()
    assert (
        table.scan()
        .collect()
        .to_arrow()
        .cast(data.schema)
        .combine_chunks()
        .equals(pa.concat_tables([data, data]).combine_chunks())
    )
    assert DeltaTable(table.uri).to_pyarrow_table().num_rows == 6


@pytest.mark.parametrize(
    ("given_array", "stored"),
    [
        (pa.array(["a", None]).dictionary_encode(), t.String),
        (pa.array(["a", None], pa.large_string()), t.String),
        (pa.array(["a", None], pa.string_view()), t.String),
        (pa.array([b"ab", None], pa.binary(2)), t.Bytes),
        (pa.array([[1], None], pa.large_list(pa.int64())), t.List(t.Int64)),
        (pa.array([1, None], pa.timestamp("s", "Europe/Paris")), t.Timestamp),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_other_layouts_are_stored_as_the_plain_type(table: LakeTable, given_array: pa.Array, stored: t.DataType) -> None:
    table.append(pa.table({"x": given_array}))
    assert table.columns().types == {"x": stored}
    assert table.scan().collect()["x"].to_list()[1] is None


@pytest.mark.parametrize(
    "wrong", [pa.timestamp("ns"), pa.duration("us"), pa.time64("us"), pa.map_(pa.string(), pa.int64())], ids=str
)
def test_a_type_that_cannot_be_held_unchanged_is_refused(table: LakeTable, wrong: pa.DataType) -> None:
    with pytest.raises(LakeError, match="column 'x'"):
        table.append(pa.table({"x": pa.array([None], wrong)}))


def test_a_column_twice_or_in_two_spellings_is_refused(table: LakeTable) -> None:
    with pytest.raises(LakeError, match="names a column twice"):
        table.append(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]))
    table.append(pa.table({"id": [1]}))
    with pytest.raises(LakeError, match="'ID' and 'id' differ only in case"):
        table.append(pa.table({"ID": [1]}))


def test_the_delta_schema_tells_the_types_again() -> None:
    columns = Columns((f"c{n}", data_type) for n, (data_type, _) in enumerate(EXTREMES))
    assert columns_of(columns.delta).types == columns.types


def statistics_of(data: pa.Table) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(statistics_json(encode_part(pa.BufferOutputStream(), [data])))
    return found


def test_statistics_of_each_type() -> None:
    held = {
        f"c{n}": pa.array(values, t.to_arrow(data_type)) for n, (data_type, values) in enumerate(EXTREMES[:1] + EXTREMES[1:3])
    }
    held |= {
        "text": pa.array(["b", "a", None]),
        "long": pa.array(["x" * 65, "a", None]),
        "day": pa.array([date(2013, 1, 2), None, date(2013, 1, 1)]),
        "instant": pa.array([1, -1, None], pa.timestamp("us", "UTC")),
        "number": pa.array([1.5, float("nan"), None]),
        "nothing": pa.array([None, None, None], pa.int64()),
        "several": pa.array([[1], None, [2]]),
        "record": pa.array([{"day": 1}, None, None]),
    }
    found = statistics_of(pa.table(held))
    assert found["numRecords"] == 3
    assert found["minValues"] == {
        "c1": -128,
        "c2": -(2**63),
        "text": "a",
        "day": "2013-01-01",
        "instant": "1969-12-31T23:59:59.999999Z",
    }
    assert found["maxValues"] == {
        "c1": 127,
        "c2": 2**63 - 1,
        "text": "b",
        "day": "2013-01-02",
        "instant": "1970-01-01T00:00:00.000001Z",
    }
    assert found["nullCount"] == {
        "c0": 1, "c1": 1, "c2": 1, "text": 1, "long": 1, "day": 1, "instant": 1, "number": 1, "nothing": 3,
    }  # fmt: skip


@settings(max_examples=50)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=20))
def test_bounds_of_integers_are_those_of_the_values(values: list[int | None]) -> None:
    found = statistics_of(pa.table({"x": pa.array(values, pa.int64())}))
    known = [value for value in values if value is not None]
    assert found["minValues"].get("x") == (min(known) if known else None)
    assert found["maxValues"].get("x") == (max(known) if known else None)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=80), max_size=8))
def test_bounds_of_texts_are_those_of_delta_or_none(values: list[str]) -> None:
    found = statistics_of(pa.table({"x": pa.array(values, pa.string())}))
    if "x" in found["minValues"]:
        # Delta compares texts by their UTF-8 bytes.
        assert found["minValues"]["x"] == min(values, key=str.encode)
        assert found["maxValues"]["x"] == max(values, key=str.encode)
