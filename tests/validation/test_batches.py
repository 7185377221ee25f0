"""Batches: quarantine, order across borders, what is set aside and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from featurestore.errors import DataTypeError
from featurestore.registry.records import make_expectations
from featurestore.validation.evaluation import BatchEvaluation, evaluate


def suite(*items: tuple[str, dict[str, Any], str]) -> Any:
    return make_expectations([{"type": kind, "kwargs": kwargs, "policy": policy} for kind, kwargs, policy in items], None)


QUARANTINE = suite(
    (
        "expect_column_values_to_be_between",
        {"column": "delay", "min_value": -120, "max_value": 2000, "mostly": 0.5},
        "quarantine",
    ),
    ("expect_column_values_to_not_be_null", {"column": "tail"}, "quarantine"),
    ("expect_column_values_to_be_in_set", {"column": "tail", "value_set": ["N1"]}, "warn"),
)


def test_rows_that_fail_are_set_aside_with_the_reason() -> None:
    flights = pl.DataFrame({"tail": ["N1", None, "N2", None], "delay": [5, 7, 5000, -999]})
    with BatchEvaluation(QUARANTINE, flights.schema) as batches:
        good, bad = batches.update(flights)
        report = batches.finish()
    assert good.to_dicts() == [{"tail": "N1", "delay": 5}]
    assert bad.drop("__reason", "__expectation").to_dicts() == flights[1:].to_dicts()
    assert bad["__reason"].to_list() == [
        "tail is null, expected a value",
        "delay is 5000, expected at least -120 and at most 2000",
        "delay is -999, expected at least -120 and at most 2000; tail is null, expected a value",
    ]
    assert bad["__expectation"].to_list() == [
        "expect_column_values_to_not_be_null(tail)",
        "expect_column_values_to_be_between(delay)",
        "expect_column_values_to_be_between(delay), expect_column_values_to_not_be_null(tail)",
    ]
    assert [result.success for result in report.results] == [True, False, False]


def test_without_quarantine_every_row_is_good() -> None:
    frame = pl.DataFrame({"tail": ["N9"], "delay": [1]})
    with BatchEvaluation(QUARANTINE[2:], frame.schema) as batches:
        good, bad = batches.update(frame)
    assert good.equals(frame)
    assert bad.height == 0
    assert bad.columns == ["tail", "delay", "__reason", "__expectation"]


def test_a_list_column_can_be_asked_for_nulls() -> None:
    frame = pl.DataFrame({"tags": [["a"], None]})
    guard = suite(("expect_column_values_to_be_null", {"column": "tags"}, "quarantine"))
    with BatchEvaluation(guard, frame.schema) as batches:
        assert batches.update(frame)[1]["__reason"].to_list() == ["tags is a value, expected null"]


def test_order_is_checked_across_batches_and_nulls() -> None:
    rising = suite(("expect_column_values_to_be_increasing", {"column": "n", "strictly": True}, "warn"))
    parts = [[1, 2], [None], [2, 3], [], [None, 1]]
    schema = pl.Schema({"n": pl.Int64})
    with BatchEvaluation(rising, schema) as batches:
        for part in parts:
            batches.update(pl.DataFrame({"n": part}, schema=schema))
        result = batches.finish().results[0].result
    assert result["partial_unexpected_index_list"] == [3, 6]
    assert result["partial_unexpected_list"] == [2, 1]


def test_what_is_set_aside_is_exact_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = pl.DataFrame({"n": [(k * 7919) % 5003 for k in range(20_000)], "c": ["x", "y"] * 10_000}).with_columns(
        c=pl.col("c").cast(pl.Categorical)
    )
    exact = suite(
        ("expect_column_values_to_be_unique", {"column": "n"}, "warn"),
        ("expect_compound_columns_to_be_unique", {"column_list": ["n", "c"]}, "warn"),
        ("expect_column_median_to_be_between", {"column": "n", "max_value": 1}, "warn"),
        ("expect_column_unique_value_count_to_be_between", {"column": "c", "max_value": 2}, "warn"),
        ("expect_column_most_common_value_to_be_in_set", {"column": "c", "value_set": ["x"], "ties_okay": True}, "warn"),
    )
    whole = evaluate(frame, exact)
    with BatchEvaluation(exact, frame.schema, rows_in_memory=1_000) as batches:
        for part in frame.iter_slices(777):
            batches.update(part)
        assert len(list(tmp_path.glob("*/keys-*/*.parquet"))) > 64
        assert batches.finish() == whole
    assert list(tmp_path.iterdir()) == []
    assert whole.results[2].result["observed_value"] == 2501.0


def test_leaving_without_finish_removes_what_was_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = pl.DataFrame({"n": range(100)})
    with BatchEvaluation(
        suite(("expect_column_values_to_be_unique", {"column": "n"}, "warn")), frame.schema, rows_in_memory=0
    ) as batches:
        batches.update(frame)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_another_schema_is_refused() -> None:
    with BatchEvaluation(QUARANTINE, {"tail": pl.String, "delay": pl.Int64}) as batches:
        with pytest.raises(DataTypeError, match="column 'delay' of a batch holds Float64, expected Int64"):
            batches.update(pl.DataFrame({"tail": ["a"], "delay": [1.0]}))
        with pytest.raises(DataTypeError, match="column 'tail' of a batch is missing"):
            batches.update(pl.DataFrame({"delay": [1]}))


def test_whole_numbers_add_up_without_wrapping() -> None:
    frame = pl.DataFrame({"n": [2**62, 2**62, 2**62]})
    total = suite(("expect_column_sum_to_be_between", {"column": "n", "max_value": 2**64}, "warn"))
    assert evaluate(frame, total).results[0].result["observed_value"] == 3 * 2**62
    with BatchEvaluation(total, frame.schema) as batches:
        for part in frame.iter_slices(1):
            batches.update(part)
        assert batches.finish().results[0].result["observed_value"] == 3 * 2**62
