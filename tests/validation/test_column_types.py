"""Every column type: what can be asked of it, and that the answer is right at its limits."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from featurestore.registry.records import make_expectations
from featurestore.validation.evaluation import BatchEvaluation, evaluate

COLUMNS = {
    "flag": pl.Series([True, None]),
    "i8": pl.Series([1, None], dtype=pl.Int8),
    "u64": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
    "f32": pl.Series([0.5, None], dtype=pl.Float32),
    "text": pl.Series(["a", None]),
    "bytes": pl.Series([b"\x00\xff", None]),
    "day": pl.Series([date(2020, 2, 29), None]),
    "naive": pl.Series([datetime(2020, 1, 1), None]),  # noqa: DTZ001
    "at": pl.Series([datetime(2020, 1, 1, tzinfo=UTC), None]),
    "clock": pl.Series([time(12, 30), None]),
    "span": pl.Series([timedelta(seconds=90), None]),
    "money": pl.Series([Decimal("1.50"), None]),
    "color": pl.Series(["red", None], dtype=pl.Categorical),
    "size": pl.Series(["S", None], dtype=pl.Enum(["S", "M"])),
    "tags": pl.Series([["a"], None]),
    "vector": pl.Series([[1.0, 2.0], None], dtype=pl.Array(pl.Float32, 2)),
    "point": pl.Series([{"x": 1}, None]),
    "nothing": pl.Series([None, None], dtype=pl.Null),
}


def one(kind: str, policy: str = "warn", **kwargs: Any) -> Any:
    return make_expectations([{"type": kind, "kwargs": kwargs, "policy": policy}], None)


@pytest.mark.parametrize("name", COLUMNS)
def test_missing_values_of_every_type_can_be_set_aside(name: str) -> None:
    frame = COLUMNS[name].alias("c").to_frame()
    present = 0 if name == "nothing" else 1
    with BatchEvaluation(one("expect_column_values_to_not_be_null", "quarantine", column="c"), frame.schema) as batches:
        good, bad = batches.update(frame)
    assert (good.height, bad["__reason"].to_list()) == (present, ["c is null, expected a value"] * (2 - present))
    with BatchEvaluation(one("expect_column_values_to_be_null", "quarantine", column="c"), frame.schema) as batches:
        reasons = batches.update(frame)[1]["__reason"].to_list()
        report = batches.finish()
    assert len(reasons) == present
    assert report.to_json_dict() == evaluate(frame, report_suite(report)).to_json_dict()


def report_suite(report: Any) -> Any:
    return [result.expectation for result in report.results]


@pytest.mark.parametrize("name", [n for n in COLUMNS if n not in ("tags", "vector", "point", "nothing")])
def test_values_of_every_plain_type_can_be_told_apart(name: str) -> None:
    frame = pl.concat([COLUMNS[name], COLUMNS[name]]).alias("c").to_frame()
    unique = one("expect_column_values_to_be_unique", column="c")
    whole = evaluate(frame, unique)
    assert whole.results[0].result["partial_unexpected_index_list"] == [0, 2]
    with BatchEvaluation(unique, frame.schema, rows_in_memory=0) as batches:
        batches.update(frame[:2])
        batches.update(frame[2:])
        assert batches.finish() == whole


@pytest.mark.parametrize(
    ("name", "bounds", "holds"),
    [
        ("i8", {"min_value": -1000, "max_value": 1000}, True),
        ("i8", {"min_value": 1000}, False),
        ("i8", {"max_value": 0.5}, False),
        ("u64", {"min_value": -1}, True),
        ("u64", {"min_value": 2**64 - 1}, True),
        ("u64", {"max_value": 2**63}, False),
        ("f32", {"min_value": 0.5, "max_value": 0.5}, True),
        ("text", {"min_value": "a", "max_value": "b"}, True),
        ("day", {"min_value": "2020-02-29", "max_value": "2020-02-29"}, True),
        ("day", {"max_value": "2020-02-28T23:59:59"}, False),
        ("naive", {"min_value": "2020-01-01T00:00:00Z"}, True),
        ("naive", {"max_value": "2020-01-01T00:00:00", "strict_max": True}, False),
        ("at", {"min_value": "2020-01-01T01:00:00+01:00", "max_value": "2020-01-01"}, True),
        ("at", {"min_value": "2020-01-01T00:00:00.000001"}, False),
        ("money", {"min_value": 1.5, "max_value": 1.5}, True),
        ("color", {"min_value": "r", "max_value": "s"}, True),
    ],
)
def test_bounds_at_the_limits(name: str, bounds: dict[str, Any], holds: bool) -> None:
    frame = COLUMNS[name].alias("c").to_frame()
    assert evaluate(frame, one("expect_column_values_to_be_between", column="c", **bounds)).success is holds
    assert evaluate(frame, one("expect_column_max_to_be_between", column="c", **bounds)).success is holds
    assert evaluate(frame, one("expect_column_min_to_be_between", column="c", **bounds)).success is holds


@pytest.mark.parametrize(
    ("name", "members", "holds"),
    [
        ("flag", [True], True),
        ("i8", [1, 1000], True),
        ("i8", [1.5, 1.0], True),
        ("u64", [-1, 2**64 - 1], True),
        ("f32", [0.5], True),
        ("text", ["b"], False),
        ("day", ["2020-02-29"], True),
        ("at", ["2020-01-01"], True),
        ("money", [1.5], True),
        ("color", ["red"], True),
        ("size", ["S", "XXL"], True),
    ],
)
def test_members_at_the_limits(name: str, members: list[Any], holds: bool) -> None:
    frame = COLUMNS[name].alias("c").to_frame()
    assert evaluate(frame, one("expect_column_values_to_be_in_set", column="c", value_set=members)).success is holds
    assert evaluate(frame, one("expect_column_distinct_values_to_be_in_set", column="c", value_set=members)).success is holds
    assert evaluate(frame, one("expect_column_values_to_not_be_in_set", column="c", value_set=members)).success is not holds


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("i8", ["Int8", "int8", "int", "number"], ["int64", "float", "uint"]),
        ("u64", ["UInt64", "uint", "int"], ["int64"]),
        ("f32", ["float32", "float", "number"], ["float64", "int"]),
        ("text", ["str", "String", "object", "utf8"], ["bytes"]),
        ("at", ["Timestamp", "datetime", "datetime64[us]", "timestamp[us]"], ["date"]),
        ("day", ["date", "Date"], ["datetime"]),
        ("money", ["Decimal(10, 2)", "decimal"], ["float"]),
        ("tags", ["list"], ["vector"]),
        ("vector", ["Vector"], ["list"]),
        ("point", ["struct", "dict"], ["list"]),
    ],
)
def test_names_of_types(name: str, good: list[str], bad: list[str]) -> None:
    frame = COLUMNS[name].alias("c").to_frame()
    for type_name in good:
        assert evaluate(frame, one("expect_column_values_to_be_of_type", column="c", type_=type_name)).success, type_name
    for type_name in bad:
        assert not evaluate(frame, one("expect_column_values_to_be_of_type", column="c", type_=type_name)).success, type_name
