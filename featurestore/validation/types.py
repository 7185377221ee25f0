"""Every native expectation type by name, and the check of an expectation when it is defined."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from featurestore.errors import DefinitionError
from featurestore.registry.records import Expectation
from featurestore.validation.columns import Columns, as_schema
from featurestore.validation.expectations import aggregates, distinct, records, rows, sequences, tables
from featurestore.validation.expectations.native import NativeType

NATIVE_TYPES: Final[dict[str, NativeType]] = {
    native.name: native for room in (rows, records, sequences, aggregates, distinct, tables) for native in room.TYPES
}
"""The types that are evaluated in one scan, without Great Expectations."""


def check_expectation(expectation: Expectation, schema: Any = None) -> None:
    """Refuse an expectation that cannot be right; used when definitions are planned.

    Args:
        expectation: the one to check.
        schema: of the rows that it will judge (Polars, Arrow, or featurestore Fields); None checks its kwargs only.

    Raises:
        DefinitionError: an unknown type (Great Expectations' own are known where it is installed), unknown, missing or
            impossible kwargs, a row condition that cannot be read, a column that is missing or of the wrong type, or
            policy ``quarantine`` on a type that judges no single rows.
    """
    native = NATIVE_TYPES.get(expectation.type)
    if expectation.policy == "quarantine" and not (native and native.row_level):
        row_level = [name for name, candidate in NATIVE_TYPES.items() if candidate.row_level]
        raise DefinitionError(
            f"{expectation.type}: policy quarantine sets single rows aside, and this type judges no single row",
            hint=f"use policy reject or warn, or a row-level type: {', '.join(sorted(row_level)[:5])}, ...",
        )
    if native is None:
        from featurestore.validation.gx import check_expectation as check_foreign

        check_foreign(expectation)
    elif schema is None:
        native.arguments(expectation.arguments)
    else:
        native.check(expectation.arguments, Columns(as_schema(schema)))


def check_expectations(expectations: Iterable[Expectation], schema: Any = None) -> None:
    """:func:`check_expectation` for each."""
    for expectation in expectations:
        check_expectation(expectation, schema)
