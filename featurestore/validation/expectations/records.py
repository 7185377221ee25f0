"""Expectations about several columns of one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal, TypeAlias

import polars as pl

from featurestore.validation.checks import Check, RowCheck
from featurestore.validation.columns import Columns
from featurestore.validation.expectations.native import Arguments, NativeType, domain_of, within
from featurestore.validation.parameters import (
    MOSTLY,
    ROW_CONDITION,
    Parameter,
    boolean,
    number,
    one_of,
    several_texts,
    text,
)

_Passes: TypeAlias = Callable[[Arguments, Columns], pl.Expr]
_Wanted: TypeAlias = Callable[[Arguments], str]
IGNORE_ROW = Parameter(
    "ignore_row_if", one_of("all_values_are_missing", "any_value_is_missing", "never"), default="all_values_are_missing"
)
_IGNORE_PAIR = Parameter(
    "ignore_row_if",
    one_of("both_values_are_missing", "either_value_is_missing", "neither"),
    default="both_values_are_missing",
)


def asked_rows(ignore: str, names: Sequence[str], columns: Columns, domain: pl.Expr | None) -> pl.Expr:
    """The rows of the domain that ``ignore_row_if`` does not leave out."""
    present = [columns.present(name) for name in names]
    if ignore in ("all_values_are_missing", "both_values_are_missing"):
        return within(domain, pl.any_horizontal(present))
    if ignore in ("any_value_is_missing", "either_value_is_missing"):
        return within(domain, pl.all_horizontal(present))
    return within(domain, present[0] | pl.lit(value=True))


def _pair_type(name: str, passes: _Passes, wanted: _Wanted, *parameters: Parameter) -> NativeType:
    bind = _binding(lambda arguments: (arguments["column_A"], arguments["column_B"]), passes, wanted, "pair")
    pair = (Parameter("column_A", text, required=True), Parameter("column_B", text, required=True))
    return NativeType(name, (*pair, *parameters, _IGNORE_PAIR, MOSTLY, ROW_CONDITION), bind, row_level=True)


def _record_type(name: str, passes: _Passes, wanted: _Wanted, *parameters: Parameter) -> NativeType:
    bind = _binding(lambda arguments: tuple(arguments["column_list"]), passes, wanted, "record")
    listed = Parameter("column_list", several_texts, required=True)
    return NativeType(name, (listed, *parameters, IGNORE_ROW, MOSTLY, ROW_CONDITION), bind, row_level=True)


def _binding(
    names_of: Callable[[Arguments], tuple[str, ...]], passes: _Passes, wanted: _Wanted, shape: Literal["pair", "record"]
) -> Callable[[Arguments, Columns], Check]:
    def bind(arguments: Arguments, columns: Columns) -> Check:
        names = names_of(arguments)
        domain = domain_of(arguments, columns)
        answer = passes(arguments, columns)
        return RowCheck(
            columns=names,
            domain=domain,
            considered=asked_rows(arguments["ignore_row_if"], names, columns, domain),
            passes=lambda _: answer,
            wanted=wanted(arguments),
            mostly=arguments["mostly"],
            shape=shape,
        )

    return bind


def _greater(arguments: Arguments, columns: Columns) -> pl.Expr:
    a, b = columns.comparable(arguments["column_A"]), columns.comparable(arguments["column_B"])
    return a >= b if arguments["or_equal"] else a > b


def _all_different(arguments: Arguments, columns: Columns) -> pl.Expr:
    keys = [columns.key(name) for name in arguments["column_list"]]
    return pl.all_horizontal([a.ne_missing(b) for a, b in combinations(keys, 2)])


def _all_equal(arguments: Arguments, columns: Columns) -> pl.Expr:
    first, *others = [columns.key(name) for name in arguments["column_list"]]
    return pl.all_horizontal([first.eq_missing(other) for other in others])


def _sums_to(arguments: Arguments, columns: Columns) -> pl.Expr:
    total: pl.Expr = pl.sum_horizontal([columns.number(name) for name in arguments["column_list"]], ignore_nulls=False)
    return total.eq(arguments["sum_total"])


TYPES = (
    _pair_type(
        "expect_column_pair_values_a_to_be_greater_than_b",
        _greater,
        lambda a: f"{a['column_A']} above{' or equal to' if a['or_equal'] else ''} {a['column_B']}",
        Parameter("or_equal", boolean, default=False),
    ),
    _pair_type(
        "expect_column_pair_values_to_be_equal",
        lambda a, columns: columns.key(a["column_A"]) == columns.key(a["column_B"]),
        lambda a: f"{a['column_A']} equal to {a['column_B']}",
    ),
    _record_type("expect_select_column_values_to_be_unique_within_record", _all_different, lambda _: "values that all differ"),
    _record_type("expect_multicolumn_values_to_be_equal", _all_equal, lambda _: "values that are all equal"),
    _record_type(
        "expect_multicolumn_sum_to_equal",
        _sums_to,
        lambda a: f"values that add up to {a['sum_total']}",
        Parameter("sum_total", number, required=True),
    ),
)
