"""Our verdicts and numbers against Great Expectations' own, on pandas, case by case.

What differs on purpose stands in ``DEVIATIONS``, each with its reason and both verdicts. Besides: samples of missing values are
null in JSON (pandas: NaN or NaT), and their counts are of nulls that equal each other (``partial_unexpected_counts``); Great
Expectations refuses text as a bound, here text columns are compared with it; more than 20 most common values are not listed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from featurestore.errors import DefinitionError
from featurestore.registry.records import Expectation, make_expectations
from featurestore.validation import gx
from featurestore.validation.evaluation import BatchEvaluation, evaluate
from featurestore.validation.types import NATIVE_TYPES, check_expectation

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

INSTANTS = [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4, 5)]

FRAMES = {
    "mixed": pl.DataFrame(
        {
            "whole": [1, 2, 3, 3, 5],
            "holes": [1.0, None, 2.5, float("nan"), 2.5],
            "text": ["a", "b", None, "abc", "b"],
            "day": ["2020-01-01", "Jan 2 2020", "nonsense", "", "2020-01-03"],
            "flag": [True, False, True, True, False],
            "at": INSTANTS,
            "other": [5, 4, 3, 2, 1],
            "fraction": [0.5, 0.25, 3.0, 3.0, 9.75],
        }
    ),
    "empty": pl.DataFrame(
        schema={
            "whole": pl.Int64,
            "holes": pl.Float64,
            "text": pl.String,
            "day": pl.String,
            "flag": pl.Boolean,
            "at": pl.Datetime("us", "UTC"),
            "other": pl.Int64,
            "fraction": pl.Float64,
        }
    ),
    "missing": pl.DataFrame(
        {
            "whole": [7, 7],
            "holes": [None, float("nan")],
            "text": ["x", "x"],
            "day": ["1999-12-31", "1999-12-31"],
            "flag": [True, True],
            "at": [INSTANTS[2], INSTANTS[2]],
            "other": [7, 8],
            "fraction": [-0.0, 0.0],
        },
        schema_overrides={"holes": pl.Float64},
    ),
    "long": pl.DataFrame(
        {
            "whole": [n % 37 for n in range(300)],
            "holes": [None if n % 11 == 0 else float("nan") if n % 13 == 0 else n / 7 for n in range(300)],
            "text": [None if n % 17 == 0 else f"key-{n % 29}" for n in range(300)],
            "day": [f"2021-{1 + n % 13:02}-10" for n in range(300)],
            "flag": [n % 3 == 0 for n in range(300)],
            "at": [datetime(2020, 1 + n % 12, 1 + n % 28, tzinfo=UTC) for n in range(300)],
            "other": [300 - n for n in range(300)],
            "fraction": [(n * 7919 % 101) / 101 for n in range(300)],
        }
    ),
}

Case = tuple[str, dict[str, Any]]


def column(kind: str, **kwargs: Any) -> Case:
    return f"expect_column_{kind}", kwargs


CASES: list[Case] = [
    *[column("values_to_not_be_null", column=c, mostly=m) for c in ("holes", "text", "whole") for m in (1.0, 0.6, 0.5)],
    *[column("values_to_be_null", column=c, mostly=m) for c in ("holes", "text", "whole") for m in (1.0, 0.4, 0.41)],
    *[
        column("values_to_be_between", column=c, mostly=m, **bounds)
        for c in ("whole", "holes", "fraction")
        for m in (1.0, 0.6)
        for bounds in (
            {"min_value": 2, "max_value": 3},
            {"min_value": 2, "strict_min": True},
            {"max_value": 2.5, "strict_max": True},
            {"min_value": 1, "max_value": 5, "strict_min": True, "strict_max": True},
        )
    ],
    column("values_to_be_between", column="at", min_value="2020-01-03T00:00:00+00:00"),
    column("values_to_be_between", column="at", max_value="2020-01-03T00:00:00+00:00", strict_max=True, mostly=0.4),
    *[column("values_to_be_in_set", column="whole", value_set=s, mostly=m) for s in ([1, 2, 3], [], [9]) for m in (1.0, 0.8)],
    column("values_to_be_in_set", column="holes", value_set=[1, 2.5]),
    column("values_to_be_in_set", column="text", value_set=["a", "b"]),
    column("values_to_be_in_set", column="flag", value_set=[True]),
    column("values_to_not_be_in_set", column="whole", value_set=[3]),
    column("values_to_not_be_in_set", column="holes", value_set=[2.5], mostly=0.3),
    column("values_to_not_be_in_set", column="text", value_set=["b", "x"]),
    *[column("values_to_be_unique", column=c) for c in ("whole", "holes", "text", "flag", "at", "other", "fraction")],
    column("values_to_be_unique", column="whole", mostly=0.6),
    *[
        column(f"values_to_{word}match_regex", column="text", regex=r)
        for word in ("", "not_")
        for r in ("^b$", "b", "a|key", "(?=b)b", r"\d+", "^[a-z]{1,2}$", r"(.)\1", "(?i)B", r"^\w+-?\d*$")
    ],
    column("values_to_match_regex", column="other", regex="^[0-9]$"),
    column("values_to_match_regex_list", column="text", regex_list=["^a", "c$"], match_on="any"),
    column("values_to_match_regex_list", column="text", regex_list=["^a", "c$"], match_on="all"),
    column("values_to_not_match_regex_list", column="text", regex_list=["^a", "-1"]),
    column("value_lengths_to_be_between", column="text", min_value=1, max_value=1),
    column("value_lengths_to_be_between", column="text", min_value=1, strict_min=True, mostly=0.25),
    column("value_lengths_to_be_between", column="whole", max_value=1),
    column("value_lengths_to_equal", column="text", value=1),
    column("values_to_be_dateutil_parseable", column="day", mostly=0.6),
    column("values_to_match_strftime_format", column="day", strftime_format="%Y-%m-%d"),
    column("values_to_be_json_parseable", column="text"),
    *[
        column(f"values_to_be_{way}", column=c, strictly=s)
        for way in ("increasing", "decreasing")
        for c in ("whole", "holes", "other", "at", "fraction")
        for s in (True, False)
    ],
    *[
        column("pair_values_a_to_be_greater_than_b", column_A=a, column_B=b, or_equal=o, ignore_row_if=i)
        for a, b in (("whole", "other"), ("whole", "holes"), ("holes", "fraction"))
        for o in (True, False)
        for i in ("both_values_are_missing", "either_value_is_missing", "neither")
    ],
    *[
        column("pair_values_to_be_equal", column_A="whole", column_B=b, ignore_row_if=i)
        for b in ("other", "holes")
        for i in ("both_values_are_missing", "either_value_is_missing", "neither")
    ],
    *[
        column(f"{f}_to_be_between", column=c, **bounds)
        for f in ("max", "min", "mean", "median", "stdev", "sum")
        for c in ("whole", "holes", "fraction")
        for bounds in ({"min_value": 2, "max_value": 3}, {"min_value": 2.5, "strict_min": True}, {"max_value": 100})
    ],
    column("max_to_be_between", column="at", max_value="2020-01-04T00:00:00+00:00"),
    column("min_to_be_between", column="at", min_value="2020-01-01T00:00:00+00:00"),
    *[
        column(
            "quantile_values_to_be_between",
            column=c,
            quantile_ranges={
                "quantiles": [0.0, 0.1, 0.5, 0.75, 1.0],
                "value_ranges": [[0, 1], [None, 2], [2, 3], [1, None], [5, 5]],
            },
            allow_relative_error=how,
        )
        for c in ("whole", "holes", "fraction")
        for how in (False, "linear", "lower", "higher", "midpoint")
    ],
    *[
        column(f"distinct_values_to_{word}_set", column=c, value_set=s)
        for word in ("be_in", "contain", "equal")
        for c, s in (
            ("whole", [1, 2, 3, 5]),
            ("whole", [1]),
            ("text", ["a", "b", "abc"]),
            ("text", ["q"]),
            ("flag", [True, False]),
        )
    ],
    *[
        column("most_common_value_to_be_in_set", column="whole", value_set=s, ties_okay=t)
        for s in ([3], [1, 7], [0])
        for t in (True, False)
    ],
    *[
        column("unique_value_count_to_be_between", column=c, min_value=2, max_value=4)
        for c in ("whole", "holes", "text", "flag")
    ],
    *[column("proportion_of_unique_values_to_be_between", column=c, min_value=0.5) for c in ("whole", "holes", "text")],
    *[column("proportion_of_non_null_values_to_be_between", column=c, min_value=0.6) for c in ("whole", "holes", "text")],
    column("to_exist", column="whole"),
    column("to_exist", column="nowhere"),
    column("to_exist", column="text", column_index=2),
    column("to_exist", column="text", column_index=70),
    column("values_to_be_of_type", column="whole", type_="int64"),
    column("values_to_be_of_type", column="holes", type_="int64"),
    column("values_to_be_of_type", column="holes", type_="float64"),
    column("values_to_be_of_type", column="flag", type_="bool"),
    column("values_to_be_of_type", column="text", type_="str"),
    column("values_to_be_in_type_list", column="whole", type_list=["int64", "str"]),
    ("expect_compound_columns_to_be_unique", {"column_list": ["whole", "text"]}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["whole", "flag"], "mostly": 0.6}),
    *[
        ("expect_compound_columns_to_be_unique", {"column_list": ["holes", "text"], "ignore_row_if": i})
        for i in ("all_values_are_missing", "any_value_is_missing", "never")
    ],
    (
        "expect_compound_columns_to_be_unique",
        {"column_list": ["flag", "whole", "text"], "row_condition": "whole > 2", "condition_parser": "pandas"},
    ),
    *[
        ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["whole", c], "ignore_row_if": i})
        for c in ("other", "holes")
        for i in ("all_values_are_missing", "any_value_is_missing", "never")
    ],
    ("expect_multicolumn_values_to_be_equal", {"column_list": ["whole", "other"]}),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["whole", "other"], "sum_total": 6}),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["whole", "holes"], "sum_total": 2}),
    ("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": 5}),
    ("expect_table_row_count_to_be_between", {"min_value": 2, "strict_min": True}),
    ("expect_table_row_count_to_equal", {"value": 5}),
    ("expect_table_column_count_to_be_between", {"min_value": 8, "max_value": 8}),
    ("expect_table_column_count_to_equal", {"value": 7}),
    ("expect_table_columns_to_match_ordered_list", {"column_list": ["whole", "text", "holes", "nowhere"]}),
    ("expect_table_columns_to_match_ordered_list", {"column_list": FRAMES["mixed"].columns}),
    ("expect_table_columns_to_match_set", {"column_set": ["whole", "nowhere"]}),
    ("expect_table_columns_to_match_set", {"column_set": ["whole", "text"], "exact_match": False}),
]

CONDITIONS = [
    "whole > 2",
    "whole >= 2 and text == 'b'",
    "(whole > 1) & ~(flag == True)",
    "holes != 2.5",
    "text in ['a', 'b']",
    "text.notnull() or whole < 2",
    "1 < whole <= 3",
    "whole > other",
    "not whole == 3",
]
CASES += [
    (kind, {"column": "whole", "row_condition": condition, "condition_parser": "pandas", **kwargs})
    for condition in CONDITIONS
    for kind, kwargs in (
        ("expect_column_values_to_be_between", {"max_value": 2}),
        ("expect_column_values_to_be_unique", {}),
        ("expect_column_mean_to_be_between", {"max_value": 3}),
        ("expect_column_values_to_be_increasing", {"strictly": True}),
        ("expect_column_distinct_values_to_be_in_set", {"value_set": [1, 2]}),
    )
]
CASES += [
    ("expect_table_row_count_to_be_between", {"min_value": 2, "row_condition": c, "condition_parser": "pandas"})
    for c in CONDITIONS
]

# The case, the frame, Great Expectations' verdict ("error" where it raises), ours, and the reason.
DEVIATIONS: list[tuple[Case, pl.DataFrame, bool | str, bool, str]] = [
    (
        column("max_to_be_between", column="at", max_value="2020-01-06"),
        FRAMES["mixed"],
        "error",
        True,
        "a naive bound is an instant in UTC; a timestamp without zone does not compare with one that has it",
    ),
    (
        column("values_to_be_in_set", column="at", value_set=["2020-01-03T00:00:00+00:00"], mostly=0.2),
        FRAMES["mixed"],
        False,
        True,
        "instants written as text are read, as they are for not_be_in_set; text equals no instant",
    ),
    (
        column("values_to_be_of_type", column="n", type_="int"),
        pl.DataFrame({"n": [1]}, schema={"n": pl.Int32}),
        False,
        True,
        "a name without a width stands for every width; int is numpy's default width, 64 bits",
    ),
    (
        column("value_lengths_to_equal", column="n", value=1),
        pl.DataFrame({"n": [1, None]}),
        False,
        True,
        "an integer with nulls is an integer; it becomes a float, whose text is 1.0",
    ),
    (
        column("to_exist", column="holes", column_index=0),
        FRAMES["mixed"],
        True,
        False,
        "index 0 is the first column; 0 is taken for no index",
    ),
    (
        column("values_to_be_between", column="n", min_value=2**53 + 1),
        pl.DataFrame({"n": [2**53]}),
        True,
        False,
        "whole numbers are compared as such; the bound becomes a float that equals the value",
    ),
]

# Lists whose order Great Expectations takes from a hash table, and counts of values in which NaN does not equal itself.
UNORDERED = {"partial_missing_list"}
NOT_COMPARED = {"partial_unexpected_counts"}


@pytest.fixture(scope="module")
def batches() -> dict[str, Any]:
    return {name: gx._batch(frame) for name, frame in FRAMES.items()}


def expectation(case: Case) -> Expectation:
    return make_expectations([{"type": case[0], "kwargs": case[1]}], None)[0]


def same(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None:
        return ours is theirs or theirs == "NaT"
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours == theirs
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return set(ours) == set(theirs) and all(same(ours[key], theirs[key]) for key in ours)
    return bool(ours == theirs)


@pytest.mark.parametrize("frame", FRAMES)
def test_verdict_and_numbers_equal_great_expectations(frame: str, batches: dict[str, Any]) -> None:
    suite = [expectation(case) for case in CASES]
    report = evaluate(FRAMES[frame], suite)
    different = []
    for ours, theirs in zip(report.results, gx.judge_batch(batches[frame], suite, {}), strict=True):
        if theirs.error is not None:
            different.append((ours.expectation, "Great Expectations raises", theirs.error))
            continue
        if ours.success != theirs.success or ours.error is not None:
            different.append((ours.expectation, ours.success, theirs.success, ours.error, ours.result, theirs.result))
            continue
        for key, value in theirs.result.items():
            if key in NOT_COMPARED:
                continue
            found = ours.result.get(key)
            if not same(sorted(found, key=str), sorted(value, key=str)) if key in UNORDERED else not same(found, value):
                different.append((ours.expectation, key, found, value))
    assert different == []


def test_every_native_type_is_compared() -> None:
    assert {kind for kind, _ in CASES} == set(NATIVE_TYPES)


@pytest.mark.parametrize(("case", "frame", "theirs", "ours", "reason"), DEVIATIONS)
def test_deviation(case: Case, frame: pl.DataFrame, theirs: bool | str, ours: bool, reason: str) -> None:
    result = gx.evaluate(frame.lazy(), [expectation(case)])[0]
    assert ("error" if result.error else result.success) == theirs, reason
    assert evaluate(frame, [expectation(case)]).success == ours, reason


def test_great_expectations_reaches_our_verdicts_from_our_metrics() -> None:
    compared = 0
    for case in CASES:
        asked = [expectation(case)]
        ours = evaluate(FRAMES["mixed"], asked).results[0]
        if "unexpected_percent" not in ours.result:
            continue
        theirs = gx.validation_results(FRAMES["mixed"], asked)[0]
        assert theirs.success == ours.success, case
        assert theirs.to_json_dict()["result"]["unexpected_count"] == ours.result["unexpected_count"], case
        compared += 1
    assert compared > 150


def test_one_number_bridges_too() -> None:
    case = column("mean_to_be_between", column="whole", min_value=2.8, max_value=2.8)
    result = gx.validation_results(FRAMES["mixed"], [expectation(case)])[0]
    assert result.success
    assert result.to_json_dict()["result"] == {"observed_value": 2.8}


def test_metrics_that_great_expectations_lacks_are_refused() -> None:
    case = column("median_to_be_between", column="whole", min_value=1)
    with pytest.raises(DefinitionError, match=r"column\.median"):
        gx.validation_results(FRAMES["mixed"], [expectation(case)])


def test_other_types_run_through_great_expectations() -> None:
    z_score = column("value_z_scores_to_be_less_than", column="n", threshold=2, double_sided=True)
    frame = pl.DataFrame({"n": [0] * 20 + [1000]})
    result = evaluate(frame, [expectation(z_score)]).results[0]
    assert (result.success, result.result["partial_unexpected_list"]) == (False, [1000])
    with BatchEvaluation([expectation(z_score)], frame.schema) as batches:
        batches.update(frame[:7])
        batches.update(frame[7:])
        assert batches.finish().results == (result,)


def test_large_frames_are_sampled_and_say_so() -> None:
    z_score = column("value_z_scores_to_be_less_than", column="n", threshold=9, double_sided=True)
    result = gx.evaluate(pl.LazyFrame({"n": range(100)}), [expectation(z_score)], row_limit=30)[0]
    assert result.meta == {"engine": "great_expectations", "judged_rows": 25, "of_rows": 100}
    assert result.result["element_count"] == 25


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (column("valus_to_be_null", column="n"), "did you mean 'expect_column_values_to_be_null'"),
        (column("value_z_scores_to_be_less_than", column="n"), "refuses it"),
    ],
)
def test_unknown_types_and_kwargs_are_refused(case: Case, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        check_expectation(expectation(case))


def test_quarantine_needs_a_row_level_type() -> None:
    z_score = column("value_z_scores_to_be_less_than", column="n", threshold=9, double_sided=True)
    with pytest.raises(DefinitionError, match="judges no single row"):
        check_expectation(replace(expectation(z_score), policy="quarantine"))


def test_objects_of_great_expectations_are_accepted() -> None:
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    written = [
        gxe.ExpectColumnValuesToBeBetween(
            column="whole", min_value=2, max_value=3, mostly=0.5, severity="warning", meta={"policy": "quarantine"}
        ),
        gxe.ExpectColumnValuesToBeUnique(column="whole", row_condition=(Column("whole") > 2) & Column("text").is_not_null()),
        gxe.ExpectColumnMaxToBeBetween(column="whole", max_value=4, row_condition=Column("text").is_in(["a", "abc"])),
        gxe.ExpectColumnMinToBeBetween(column="at", min_value=INSTANTS[0]),
    ]
    made = make_expectations(written, None)
    for one in made:
        check_expectation(one, FRAMES["mixed"].schema)
    assert (made[0].policy, made[0].severity) == ("quarantine", "warning")
    report = evaluate(FRAMES["mixed"], made)
    assert [result.success for result in report.results] == [True, True, True, True]
    assert report.results[0].result["unexpected_count"] == 2
    assert report.results[1].result["element_count"] == 2
    assert report.results[2].result["observed_value"] == 3


def test_result_json_has_the_keys_of_great_expectations(batches: dict[str, Any]) -> None:
    import great_expectations

    asked = expectation(column("values_to_be_between", column="whole", min_value=2))
    suite = great_expectations.ExpectationSuite(name="s", expectations=[gx._domain_object(asked)])
    theirs = batches["mixed"].validate(suite, result_format="SUMMARY").to_json_dict()
    ours = evaluate(FRAMES["mixed"], [asked]).to_json_dict()
    assert set(ours) == set(theirs) - {"suite_name"}
    assert set(ours["statistics"]) == set(theirs["statistics"])
    assert set(ours["results"][0]) == set(theirs["results"][0])
    assert set(ours["results"][0]["expectation_config"]) == set(theirs["results"][0]["expectation_config"])
    assert set(ours["results"][0]["exception_info"]) == set(theirs["results"][0]["exception_info"])
    assert list(ours["results"][0]["result"].items()) == list(theirs["results"][0]["result"].items())
