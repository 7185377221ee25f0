"""Expectations about a value and the other rows: unique alone or together, in order."""

from __future__ import annotations

from typing import Any

import polars as pl

from featurestore.validation.checks import Check, RowCheck
from featurestore.validation.columns import Columns
from featurestore.validation.expectations.native import Arguments, NativeType, domain_of, within
from featurestore.validation.expectations.records import IGNORE_ROW, asked_rows
from featurestore.validation.parameters import COLUMN, MOSTLY, ROW_CONDITION, Parameter, boolean, several_texts


def _unique(arguments: Arguments, columns: Columns) -> Check:
    column, domain = arguments["column"], domain_of(arguments, columns)
    considered = within(domain, columns.present(column))
    repeated = pl.when(considered).then(columns.key(column)).is_duplicated()
    return RowCheck(
        columns=(column,),
        domain=domain,
        considered=considered,
        passes=lambda _: ~repeated,
        wanted="a value of which there is no other",
        mostly=arguments["mostly"],
        scope="keyed",
        keys=(column,),
    )


def _compound(arguments: Arguments, columns: Columns) -> Check:
    names = tuple(arguments["column_list"])
    domain = domain_of(arguments, columns)
    considered = asked_rows(arguments["ignore_row_if"], names, columns, domain)
    # Rows that are not asked share one key that no asked row has.
    repeated = pl.struct(considered.alias("asked"), *(pl.when(considered).then(columns.key(n)).alias(n) for n in names))
    return RowCheck(
        columns=names,
        domain=domain,
        considered=considered,
        passes=lambda _: ~repeated.is_duplicated(),
        wanted="values that no other row has together",
        mostly=arguments["mostly"],
        scope="keyed",
        keys=names,
        shape="record",
    )


def _ordered_type(name: str, *, rising: bool) -> NativeType:
    def bind(arguments: Arguments, columns: Columns) -> Check:
        column, domain = arguments["column"], domain_of(arguments, columns)
        considered = within(domain, columns.present(column))
        current = pl.when(considered).then(columns.comparable(column))
        strictly = bool(arguments["strictly"])

        def passes(previous: Any) -> pl.Expr:
            before = current.forward_fill().shift(1)
            if previous is not None:
                before = before.fill_null(previous)
            ordered = (
                (current > before if strictly else current >= before)
                if rising
                else (current < before if strictly else current <= before)
            )
            return ordered | before.is_null()

        return RowCheck(
            columns=(column,),
            domain=domain,
            considered=considered,
            passes=passes,
            wanted=f"{'above' if rising else 'below'}{'' if strictly else ' or equal to'} the value before it",
            mostly=arguments["mostly"],
            scope="ordered",
            current=current,
        )

    return NativeType(name, (COLUMN, Parameter("strictly", boolean, default=False), MOSTLY, ROW_CONDITION), bind)


TYPES = (
    NativeType("expect_column_values_to_be_unique", (COLUMN, MOSTLY, ROW_CONDITION), _unique),
    NativeType(
        "expect_compound_columns_to_be_unique",
        (Parameter("column_list", several_texts, required=True), IGNORE_ROW, MOSTLY, ROW_CONDITION),
        _compound,
    ),
    _ordered_type("expect_column_values_to_be_increasing", rising=True),
    _ordered_type("expect_column_values_to_be_decreasing", rising=False),
)
