"""Expectations about the table: its rows, its columns, their types."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import polars as pl

from featurestore.errors import DefinitionError
from featurestore.validation.bounds import Bounds
from featurestore.validation.checks import AggregateCheck, Check, Metrics, Verdict, merge_counts
from featurestore.validation.columns import Columns
from featurestore.validation.expectations.native import Arguments, NativeType, domain_of
from featurestore.validation.parameters import (
    COLUMN,
    MOSTLY,
    ROW_CONDITION,
    Parameter,
    boolean,
    bounds_parameters,
    text,
    texts,
    values,
    whole_number,
)
from featurestore.validation.type_names import pandas_name, same_type, unknown_type


def _row_count(bounds: Bounds, arguments: Arguments, columns: Columns) -> Check:
    domain = domain_of(arguments, columns)
    rows = pl.len() if domain is None else domain.sum()

    def verdict(computed: Metrics) -> Verdict:
        return bounds.hold(computed["rows"]), {"observed_value": computed["rows"]}

    return AggregateCheck({"rows": rows.cast(pl.Int64)}, verdict, merge_counts)


def _of_schema(success: bool, result: dict[str, Any]) -> Check:
    """A verdict that needs no data."""
    return AggregateCheck({}, lambda _: (success, result), lambda left, _: left)


def _column_count(bounds: Bounds, columns: Columns) -> Check:
    count = len(columns.schema)
    return _of_schema(bounds.hold(count), {"observed_value": count})


def _exactly(arguments: Arguments) -> Bounds:
    return Bounds(arguments["value"], arguments["value"])


def _ordered_list(arguments: Arguments, columns: Columns) -> Check:
    expected, found = list(arguments["column_list"]), columns.schema.names()
    if expected == found:
        return _of_schema(success=True, result={"observed_value": found})
    mismatched = [
        {"Expected Column Position": position, "Expected": wanted, "Found": name}
        for position, (wanted, name) in enumerate(zip_longest(expected, found))
        if wanted != name
    ]
    return _of_schema(success=False, result={"observed_value": found, "details": {"mismatched": mismatched}})


def _column_set(arguments: Arguments, columns: Columns) -> Check:
    expected, found = set(arguments["column_set"]), set(columns.schema.names())
    unexpected, missing = sorted(found - expected), sorted(expected - found)
    result: dict[str, Any] = {"observed_value": sorted(found)}
    if unexpected or missing:
        details = {"unexpected": unexpected, "missing": missing}
        result["details"] = {"mismatched": {name: names for name, names in details.items() if names}}
    exact = arguments["exact_match"]
    return _of_schema(not missing and not (exact and unexpected), result)


def _exists(arguments: Arguments, columns: Columns) -> Check:
    names, column, index = columns.schema.names(), arguments["column"], arguments["column_index"]
    # Great Expectations takes index 0 for no index at all; here it is the first column.
    found = column in names if index is None else index < len(names) and names[index] == column
    return _of_schema(found, {})


def _of_type(arguments: Arguments, columns: Columns) -> Check:
    dtype = columns.dtype(arguments["column"])
    return _of_schema(same_type(dtype, arguments["type_"]), {"observed_value": pandas_name(dtype)})


def _in_type_list(arguments: Arguments, columns: Columns) -> Check:
    dtype = columns.dtype(arguments["column"])
    found = any(same_type(dtype, name) for name in arguments["type_list"])
    return _of_schema(found, {"observed_value": pandas_name(dtype)})


def _known_types(arguments: Arguments) -> None:
    for name in arguments.get("type_list") or [arguments.get("type_")]:
        if (hint := unknown_type(str(name))) is not None:
            raise DefinitionError(f"there is no type {name!r}", hint=hint)


_VALUE = Parameter("value", whole_number, required=True)
_COUNT_BOUNDS = bounds_parameters(whole_number)

TYPES = (
    NativeType(
        "expect_table_row_count_to_be_between",
        (*_COUNT_BOUNDS, ROW_CONDITION),
        lambda a, columns: _row_count(Bounds.of(a, needed=False), a, columns),
        inspect=lambda a: Bounds.of(a, needed=False),
    ),
    NativeType(
        "expect_table_row_count_to_equal", (_VALUE, ROW_CONDITION), lambda a, columns: _row_count(_exactly(a), a, columns)
    ),
    NativeType(
        "expect_table_column_count_to_be_between",
        _COUNT_BOUNDS,
        lambda a, columns: _column_count(Bounds.of(a, needed=False), columns),
    ),
    NativeType("expect_table_column_count_to_equal", (_VALUE,), lambda a, columns: _column_count(_exactly(a), columns)),
    NativeType("expect_table_columns_to_match_ordered_list", (Parameter("column_list", texts, required=True),), _ordered_list),
    NativeType(
        "expect_table_columns_to_match_set",
        (Parameter("column_set", values, required=True), Parameter("exact_match", boolean, default=True)),
        _column_set,
    ),
    NativeType("expect_column_to_exist", (COLUMN, Parameter("column_index", whole_number)), _exists),
    NativeType(
        "expect_column_values_to_be_of_type",
        (COLUMN, Parameter("type_", text, required=True), MOSTLY, ROW_CONDITION),
        _of_type,
        inspect=_known_types,
    ),
    NativeType(
        "expect_column_values_to_be_in_type_list",
        (COLUMN, Parameter("type_list", texts, required=True), MOSTLY, ROW_CONDITION),
        _in_type_list,
        inspect=_known_types,
    ),
)
