"""Reports: JSON that round-trips, text for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl

from featurestore.registry.records import make_expectations
from featurestore.validation.evaluation import evaluate
from featurestore.validation.results import ValidationReport

FRAME = pl.DataFrame(
    {"price": [5.0, -1.0, None, 7.0], "name": ["a", "b", "b", None], "at": [datetime(2020, 1, 1, tzinfo=UTC)] * 4}
)
SUITE = make_expectations(
    [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "price", "min_value": 0}, "policy": "reject"},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "name", "mostly": 0.75}, "severity": "warning"},
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "at", "max_value": "2020-01-01"}, "policy": "reject"},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "nowhere", "max_value": 1}},
    ],
    None,
)


def test_json_round_trips() -> None:
    report = evaluate(FRAME, SUITE)
    text = json.dumps(report.to_json_dict(), allow_nan=False)
    assert ValidationReport.from_json_dict(json.loads(text)) == report


def test_json_of_a_row_expectation() -> None:
    assert evaluate(FRAME, SUITE).to_json_dict()["results"][0] == {
        "success": False,
        "expectation_config": {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "price", "min_value": 0},
            "meta": {"policy": "reject"},
            "severity": "critical",
        },
        "result": {
            "element_count": 4,
            "unexpected_count": 1,
            "unexpected_percent": 1 / 3 * 100,
            "partial_unexpected_list": [-1.0],
            "missing_count": 1,
            "missing_percent": 25.0,
            "unexpected_percent_total": 25.0,
            "unexpected_percent_nonmissing": 1 / 3 * 100,
            "partial_unexpected_counts": [{"value": -1.0, "count": 1}],
            "partial_unexpected_index_list": [1],
        },
        "meta": {},
        "exception_info": {"raised_exception": False, "exception_traceback": None, "exception_message": None},
    }


def test_failed_rejections_and_counts() -> None:
    report = evaluate(FRAME, SUITE)
    assert [result.expectation.type for result in report.rejected] == ["expect_column_values_to_be_between"]
    assert report.success is False
    assert report.statistics == {
        "evaluated_expectations": 4,
        "successful_expectations": 2,
        "unsuccessful_expectations": 2,
        "success_percent": 50.0,
    }
    assert report.meta == {"row_count": 4}


def test_text_shows_failures_first() -> None:
    assert str(evaluate(FRAME, SUITE)).splitlines() == [
        "2 of 4 expectations hold on 4 rows",
        "  FAIL expect_column_values_to_be_between(price) (reject): 1 of 4 rows fail, such as -1.0",
        "  FAIL expect_column_mean_to_be_between(nowhere) (warn): could not be judged: "
        "expect_column_mean_to_be_between: no column named 'nowhere'",
        "  ok   expect_column_values_to_not_be_null(name) (warn): 1 of 4 rows fail, such as None",
        "  ok   expect_column_max_to_be_between(at) (reject): observed 2020-01-01T00:00:00+00:00",
    ]


def test_an_empty_suite_holds() -> None:
    report = evaluate(FRAME.lazy(), [])
    assert report.success
    assert str(report) == "0 of 0 expectations hold on 4 rows"
