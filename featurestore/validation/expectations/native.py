"""What a native expectation type is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl

from featurestore.errors import DefinitionError
from featurestore.validation.checks import Check
from featurestore.validation.columns import Columns
from featurestore.validation.conditions import parse_condition
from featurestore.validation.parameters import Parameter, check_arguments

Arguments: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NativeType:
    """One expectation type.

    Args:
        name: Great Expectations' name.
        parameters: its kwargs.
        bind: the check for arguments that are complete, on the columns of a frame.
        row_level: whether a single row can fail on its own, so that ``quarantine`` can set it aside.
        inspect: what else must hold of the arguments, whatever the columns; raises DefinitionError.
    """

    name: str
    parameters: tuple[Parameter, ...]
    bind: Callable[[Arguments, Columns], Check]
    row_level: bool = False
    inspect: Callable[[Arguments], object] = lambda _: None

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The complete arguments.

        Raises:
            DefinitionError: they cannot be right, whatever the columns are.
        """
        complete = check_arguments(self.name, {p.name: p for p in self.parameters}, given)
        try:
            self.inspect(complete)
            if complete.get("row_condition") is not None:
                parse_condition(complete["row_condition"], None)
        except DefinitionError as error:
            raise DefinitionError(f"{self.name}: {error.message}", hint=error.hint) from None
        return complete

    def check(self, given: Mapping[str, Any], columns: Columns) -> Check:
        """The check for these kwargs on these columns.

        Raises:
            DefinitionError: a column is missing or of a type that this expectation cannot judge.
        """
        complete = self.arguments(given)
        try:
            return self.bind(complete, columns)
        except DefinitionError as error:
            raise DefinitionError(f"{self.name}: {error.message}", hint=error.hint) from None


def domain_of(arguments: Arguments, columns: Columns) -> pl.Expr | None:
    """The rows of the row condition; None is all."""
    condition = arguments.get("row_condition")
    return None if condition is None else parse_condition(condition, columns)


def within(domain: pl.Expr | None, rows: pl.Expr) -> pl.Expr:
    """Rows that are also in the domain."""
    return rows if domain is None else domain & rows
