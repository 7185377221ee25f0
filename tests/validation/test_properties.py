"""One scan equals a loop over rows, and batches equal the whole, on random frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.registry.records import make_expectations
from featurestore.validation.evaluation import BatchEvaluation, evaluate
from featurestore.validation.types import NATIVE_TYPES
from tests.validation import reference

SCHEMA = pl.Schema({"n": pl.Int64, "f": pl.Float64, "s": pl.String, "t": pl.Datetime("us", "UTC")})
START = datetime(2024, 1, 1, tzinfo=UTC)

numbers = st.one_of(st.none(), st.integers(-3, 3))
floats = st.one_of(st.none(), st.just(float("nan")), st.sampled_from([-2.5, -0.0, 0.0, 0.25, 1.0, 2.0, 1e9]))
texts = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab", "é", "b\n", "12", "key-1"]))
instants = st.one_of(st.none(), st.integers(0, 3).map(lambda days: START + timedelta(days=days)))
rows = st.lists(st.fixed_dictionaries({"n": numbers, "f": floats, "s": texts, "t": instants}), max_size=25)

# A row condition in the two spellings that treat missing values as pandas does, and what it means.
CONDITIONS: list[tuple[Any, Callable[[dict[str, Any]], bool]]] = [
    (None, lambda _: True),
    ("n > 0", lambda row: row["n"] is not None and row["n"] > 0),
    ('col("s") != "a"', lambda row: row["s"] != "a"),
    ("f <= 1 and n.notnull()", lambda row: not reference.missing(row["f"]) and row["f"] <= 1 and row["n"] is not None),
    ("(n == 1) | ~(f > 0)", lambda row: row["n"] == 1 or not (not reference.missing(row["f"]) and row["f"] > 0)),
]

RULES: list[tuple[str, dict[str, Any]]] = [
    *[("expect_column_values_to_be_between", {"column": c, "min_value": -1, "max_value": 1, "strict_max": True}) for c in "nf"],
    ("expect_column_values_to_be_in_set", {"column": "n", "value_set": [0, 1]}),
    ("expect_column_values_to_not_be_in_set", {"column": "f", "value_set": [0.25, 1]}),
    ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["a", "b"]}),
    *[
        ("expect_column_values_to_match_regex", {"column": "s", "regex": r})
        for r in ("^b$", r"^\w$", "(?!a)b", r"\d", "^(a|b$)")
    ],
    ("expect_column_values_to_not_match_regex", {"column": "s", "regex": "b$"}),
    ("expect_column_value_lengths_to_be_between", {"column": "s", "min_value": 1, "max_value": 2}),
    *[(f"expect_column_values_to_{word}be_null", {"column": c}) for word in ("", "not_") for c in "nfs"],
    *[("expect_column_values_to_be_unique", {"column": c}) for c in "nfst"],
    ("expect_compound_columns_to_be_unique", {"column_list": ["n", "s"]}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "n", "column_B": "f"}),
    *[
        (f"expect_column_values_to_be_{way}", {"column": c, "strictly": strictly})
        for way in ("increasing", "decreasing")
        for c in "nfst"
        for strictly in (True, False)
    ],
    *[
        (f"expect_column_{function}_to_be_between", {"column": c, "min_value": -1, "max_value": 1})
        for function in ("max", "min", "sum", "mean", "stdev", "median", "unique_value_count", "proportion_of_unique_values")
        for c in "nf"
    ],
    ("expect_column_proportion_of_non_null_values_to_be_between", {"column": "f", "min_value": 0.5}),
    ("expect_table_row_count_to_be_between", {"min_value": 3, "max_value": 9}),
    *[
        (
            "expect_column_quantile_values_to_be_between",
            {"column": c, "quantile_ranges": {"quantiles": [0.0, 0.3, 0.5, 1.0], "value_ranges": [[None, 0]] * 4}},
        )
        for c in "nf"
    ],
    ("expect_column_most_common_value_to_be_in_set", {"column": "n", "value_set": [0, 1]}),
    ("expect_column_distinct_values_to_be_in_set", {"column": "s", "value_set": ["a", "b", ""]}),
    ("expect_column_distinct_values_to_contain_set", {"column": "n", "value_set": [-1, 0, 7]}),
]


def suite(condition: Any, mostly: float) -> tuple[Any, ...]:
    items = []
    for kind, kwargs in RULES:
        extra = {} if condition is None else {"row_condition": condition}
        if any(parameter.name == "mostly" for parameter in NATIVE_TYPES[kind].parameters):
            extra["mostly"] = mostly
        items.append({"type": kind, "kwargs": {**kwargs, **extra}})
    return make_expectations(items, None)


def close(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return set(a) == set(b) and all(close(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6)
    return bool(a == b)


@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from(CONDITIONS), st.sampled_from([1.0, 0.75, 0.5, 0.0]))
def test_one_scan_equals_a_loop_over_rows(
    data: list[dict[str, Any]], condition: tuple[Any, Callable[[dict[str, Any]], bool]], mostly: float
) -> None:
    report = evaluate(pl.DataFrame(data, schema=SCHEMA), suite(condition[0], mostly))
    for result, (kind, kwargs) in zip(report.results, RULES, strict=True):
        wanted = reference.judge(kind, kwargs, data, condition[1])
        if "failing" in wanted:
            failing, asked = wanted["failing"], wanted["asked"]
            assert result.result["element_count"] == wanted["rows"], result
            assert result.result["unexpected_count"] == len(failing), (result, failing)
            assert result.result["partial_unexpected_index_list"] == failing[:20], result
            assert result.result.get("missing_count", 0) == wanted["rows"] - asked, result
            assert result.success == (asked == 0 or (asked - len(failing)) / asked >= mostly), result
            continue
        observed = wanted["observed"]
        if kind == "expect_column_quantile_values_to_be_between":
            assert close(result.result["observed_value"]["values"], observed), result
        elif "distinct_values_to" in kind:
            shown = result.result.get("partial_unexpected_list", result.result.get("partial_missing_list"))
            assert (shown, result.success) == (observed, not observed), result
        elif "most_common" in kind:
            assert result.result["observed_value"] == observed
            assert result.success == (len(observed) == 1 and observed[0] in kwargs["value_set"])
        else:
            found = result.result["observed_value"]
            assert close(found, observed) or close(float(found), float(observed)), (result, observed)
            assert result.success == (found is not None and reference.inside(found, kwargs)), result


@settings(max_examples=60, deadline=None)
@given(rows, st.lists(st.integers(0, 25), max_size=6), st.sampled_from([0, 5, 1000]), st.sampled_from(CONDITIONS), st.data())
def test_any_split_into_batches_equals_the_whole(
    data: list[dict[str, Any]], cuts: list[int], rows_in_memory: int, condition: Any, draw: st.DataObject
) -> None:
    frame = pl.DataFrame(data, schema=SCHEMA)
    expectations = suite(condition[0], 0.5)
    chosen = tuple(draw.draw(st.lists(st.sampled_from(expectations), min_size=1, max_size=12)))
    with BatchEvaluation(chosen, SCHEMA, rows_in_memory=rows_in_memory) as batches:
        for start, end in pairwise(sorted({0, *(min(cut, len(frame)) for cut in cuts), len(frame)})):
            good, bad = batches.update(frame[start:end])
            assert (good.height, bad.height) == (end - start, 0)
        split = batches.finish()
    whole = evaluate(frame, chosen)
    assert split.meta == whole.meta
    for a, b in zip(split.results, whole.results, strict=True):
        assert (a.success, a.error) == (b.success, b.error)
        assert close(a.result, b.result), (a.result, b.result)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 25))
def test_quarantine_splits_rows_by_the_mask_of_each_expectation(data: list[dict[str, Any]], size: int) -> None:
    rules = [rule for rule in RULES if rule[0] in {**reference.ROW_RULES, **reference.NULL_RULES}]
    expectations = make_expectations([{"type": k, "kwargs": kw, "policy": "quarantine"} for k, kw in rules[:8]], None)
    wanted_bad = sorted({n for k, kw in rules[:8] for n in reference.judge(k, kw, data, lambda _: True)["failing"]})
    frame = pl.DataFrame(data, schema=SCHEMA).with_row_index("row")
    goods, bads = [], []
    with BatchEvaluation(expectations, frame.schema) as batches:
        for start in range(0, len(frame), size):
            good, bad = batches.update(frame[start : start + size])
            goods += good["row"].to_list()
            bads += bad["row"].to_list()
            assert bad["__reason"].null_count() == bad["__expectation"].null_count() == 0
    assert bads == wanted_bad
    assert goods == [n for n in range(len(frame)) if n not in set(wanted_bad)]
