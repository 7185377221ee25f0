"""Expectations about every value of one column. Missing values are not asked, except by the two about nulls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from featurestore.validation.bounds import Bounds
from featurestore.validation.checks import Check, RowCheck
from featurestore.validation.columns import Columns
from featurestore.validation.expectations.native import Arguments, NativeType, domain_of, within
from featurestore.validation.parameters import (
    COLUMN,
    MOSTLY,
    ROW_CONDITION,
    Parameter,
    bounds_parameters,
    number,
    one_of,
    pattern,
    patterns,
    text,
    values,
    whole_number,
)
from featurestore.validation.texts import (
    dateutil_reads,
    json_reads,
    matches,
    strptime_reads,
)

_Passes = Callable[[Arguments, Columns], pl.Expr]


def _value_type(
    name: str,
    passes: _Passes,
    wanted: Callable[[Arguments], str],
    *parameters: Parameter,
    inspect: Callable[[Arguments], object] = lambda _: None,
) -> NativeType:
    def bind(arguments: Arguments, columns: Columns) -> Check:
        column, domain = arguments["column"], domain_of(arguments, columns)
        answer = passes(arguments, columns)
        return RowCheck(
            columns=(column,),
            domain=domain,
            considered=within(domain, columns.present(column)),
            passes=lambda _: answer,
            wanted=wanted(arguments),
            mostly=arguments["mostly"],
        )

    return NativeType(name, (COLUMN, *parameters, MOSTLY, ROW_CONDITION), bind, row_level=True, inspect=inspect)


def _null_type(name: str, *, null: bool) -> NativeType:
    def bind(arguments: Arguments, columns: Columns) -> Check:
        column, domain = arguments["column"], domain_of(arguments, columns)
        present = columns.present(column)
        answer = ~present if null else present
        return RowCheck(
            columns=(column,),
            domain=domain,
            considered=within(domain, pl.col(column).is_null() | pl.lit(value=True)),
            passes=lambda _: answer,
            wanted="null" if null else "a value",
            mostly=arguments["mostly"],
            counts_missing=False,
        )

    return NativeType(name, (COLUMN, MOSTLY, ROW_CONDITION), bind, row_level=True)


def _between(arguments: Arguments, columns: Columns) -> pl.Expr:
    column = arguments["column"]
    return Bounds.of(arguments).of_column(columns, column).passes(columns.comparable(column))


def _members(arguments: Arguments, columns: Columns) -> pl.Expr:
    return columns.is_in(arguments["column"], arguments["value_set"])


def _lengths(arguments: Arguments, columns: Columns) -> pl.Expr:
    return Bounds.of(arguments).passes(columns.text(arguments["column"]).str.len_chars().cast(pl.Int64))


def _any_or_all(arguments: Arguments, columns: Columns) -> pl.Expr:
    column = columns.text(arguments["column"])
    tests = [matches(column, regex) for regex in arguments["regex_list"]]
    return pl.all_horizontal(tests) if arguments["match_on"] == "all" else pl.any_horizontal(tests)


def _none_of(arguments: Arguments, columns: Columns) -> pl.Expr:
    column = columns.text(arguments["column"])
    return ~pl.any_horizontal([matches(column, regex) for regex in arguments["regex_list"]])


def _set_text(members: Any) -> str:
    shown = ", ".join(repr(member) for member in list(members)[:8])
    return f"[{shown}{', ...' if len(members) > 8 else ''}]"


_VALUE_SET = Parameter("value_set", values, required=True)

TYPES = (
    _null_type("expect_column_values_to_not_be_null", null=False),
    _null_type("expect_column_values_to_be_null", null=True),
    _value_type(
        "expect_column_values_to_be_between",
        _between,
        lambda a: str(Bounds.of(a)),
        *bounds_parameters(),
        inspect=Bounds.of,
    ),
    _value_type("expect_column_values_to_be_in_set", _members, lambda a: f"one of {_set_text(a['value_set'])}", _VALUE_SET),
    _value_type(
        "expect_column_values_to_not_be_in_set",
        lambda a, columns: ~_members(a, columns),
        lambda a: f"none of {_set_text(a['value_set'])}",
        _VALUE_SET,
    ),
    _value_type(
        "expect_column_values_to_match_regex",
        lambda a, columns: matches(columns.text(a["column"]), a["regex"]),
        lambda a: f"text that matches {a['regex']}",
        Parameter("regex", pattern, default="(?s).*"),
    ),
    _value_type(
        "expect_column_values_to_not_match_regex",
        lambda a, columns: ~matches(columns.text(a["column"]), a["regex"]),
        lambda a: f"text that does not match {a['regex']}",
        Parameter("regex", pattern, required=True),
    ),
    _value_type(
        "expect_column_values_to_match_regex_list",
        _any_or_all,
        lambda a: f"text that matches {a['match_on']} of {_set_text(a['regex_list'])}",
        Parameter("regex_list", patterns, required=True),
        Parameter("match_on", one_of("any", "all"), default="any"),
    ),
    _value_type(
        "expect_column_values_to_not_match_regex_list",
        _none_of,
        lambda a: f"text that matches none of {_set_text(a['regex_list'])}",
        Parameter("regex_list", patterns, required=True),
    ),
    _value_type(
        "expect_column_value_lengths_to_be_between",
        _lengths,
        lambda a: f"text of length {Bounds.of(a)}",
        *bounds_parameters(whole_number),
        inspect=Bounds.of,
    ),
    _value_type(
        "expect_column_value_lengths_to_equal",
        lambda a, columns: columns.text(a["column"]).str.len_chars().cast(pl.Int64) == a["value"],
        lambda a: f"text of length {a['value']}",
        Parameter("value", number, required=True),
    ),
    _value_type(
        "expect_column_values_to_be_dateutil_parseable",
        lambda a, columns: dateutil_reads(columns.text(a["column"])),
        lambda _: "text that dateutil reads as an instant",
    ),
    _value_type(
        "expect_column_values_to_match_strftime_format",
        lambda a, columns: strptime_reads(columns.text(a["column"]), a["strftime_format"]),
        lambda a: f"an instant written as {a['strftime_format']}",
        Parameter("strftime_format", text, required=True),
    ),
    _value_type(
        "expect_column_values_to_be_json_parseable",
        lambda a, columns: json_reads(columns.text(a["column"])),
        lambda _: "text that is JSON",
    ),
)
