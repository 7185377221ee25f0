"""Expectations about the set of a column's values."""

from __future__ import annotations

import polars as pl

from featurestore.validation.checks import SAMPLE_SIZE, AggregateCheck, Check, Metrics, Verdict
from featurestore.validation.columns import Columns
from featurestore.validation.expectations.aggregates import asked
from featurestore.validation.expectations.native import Arguments, NativeType
from featurestore.validation.parameters import COLUMN, ROW_CONDITION, Parameter, boolean, some_values, values


def _set_type(name: str, *, outside: bool, missing: bool) -> NativeType:
    """A type that asks whether values lie ``outside`` the set, or members are ``missing``, or both."""

    def bind(arguments: Arguments, columns: Columns) -> Check:
        column = arguments["column"]
        inside = asked(arguments, columns, columns.is_in(column, arguments["value_set"]))
        stranger = asked(arguments, columns, pl.when(~inside).then(_value(columns, column))).drop_nulls()
        member = asked(arguments, columns, pl.when(inside).then(_value(columns, column))).drop_nulls()
        expected = {columns.literal(column, value) for value in arguments["value_set"] if value is not None}
        metrics = {"members": member.unique().implode()} if missing else {}
        if outside:
            metrics |= {
                "strangers": stranger.n_unique().cast(pl.Int64),
                "shown": stranger.unique().sort().head(SAMPLE_SIZE).implode(),
            }

        def merge(left: Metrics, right: Metrics) -> Metrics:
            merged: Metrics = {}
            if missing:
                merged["members"] = list({*left["members"], *right["members"]})
            if outside:
                merged["strangers"] = left["strangers"] + right["strangers"]
                merged["shown"] = sorted([*left["shown"], *right["shown"]])[:SAMPLE_SIZE]
            return merged

        def verdict(computed: Metrics) -> Verdict:
            result: dict[str, object] = {"observed_value": None}
            absent = sorted(expected - set(computed["members"])) if missing else []
            if outside:
                result |= {"unexpected_count": computed["strangers"], "partial_unexpected_list": list(computed["shown"])}
            if missing:
                result |= {"missing_count": len(absent), "partial_missing_list": absent[:SAMPLE_SIZE]}
            return not absent and not (outside and computed["strangers"]), result

        return AggregateCheck(metrics, verdict, merge, scope="keyed", keys=(column,))

    return NativeType(name, (COLUMN, Parameter("value_set", some_values, required=True), ROW_CONDITION), bind)


def _value(columns: Columns, column: str) -> pl.Expr:
    return columns.key(column) if columns.dtype(column) == pl.Boolean else columns.comparable(column)


def _most_common(arguments: Arguments, columns: Columns) -> Check:
    column = arguments["column"]
    value = asked(arguments, columns, _value(columns, column)).drop_nulls()
    modes = value.mode()
    metrics = {
        # Not unique_counts(): Polars 2.1 streams nothing instead of null for its maximum of no values.
        "times": value.value_counts(name="times").struct.field("times").max(),
        "modes": modes.len().cast(pl.Int64),
        "hits": columns.is_in(column, arguments["value_set"], modes).sum().cast(pl.Int64),
        "shown": modes.sort().head(SAMPLE_SIZE).implode(),
    }

    def merge(left: Metrics, right: Metrics) -> Metrics:
        a, b = left["times"] or 0, right["times"] or 0
        if a != b:
            return left if a > b else right
        return {
            "times": left["times"],
            "modes": left["modes"] + right["modes"],
            "hits": left["hits"] + right["hits"],
            "shown": sorted([*left["shown"], *right["shown"]])[:SAMPLE_SIZE],
        }

    def verdict(computed: Metrics) -> Verdict:
        hit = computed["hits"] > 0 if arguments["ties_okay"] else computed["hits"] == 1 and computed["modes"] == 1
        return bool(hit), {"observed_value": list(computed["shown"])}

    return AggregateCheck(metrics, verdict, merge, scope="keyed", keys=(column,))


TYPES = (
    _set_type("expect_column_distinct_values_to_be_in_set", outside=True, missing=False),
    _set_type("expect_column_distinct_values_to_contain_set", outside=False, missing=True),
    _set_type("expect_column_distinct_values_to_equal_set", outside=True, missing=True),
    NativeType(
        "expect_column_most_common_value_to_be_in_set",
        (
            COLUMN,
            Parameter("value_set", values, required=True),
            Parameter("ties_okay", boolean, default=False),
            ROW_CONDITION,
        ),
        _most_common,
    ),
)
