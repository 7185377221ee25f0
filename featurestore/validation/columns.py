"""The columns of a frame as expectations see them: present values, missing ones, literals of their type.

A NaN is a missing value here, as it is for Great Expectations on pandas, which cannot tell it from null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from featurestore.errors import DefinitionError, did_you_mean


def as_schema(schema: Any) -> pl.Schema:
    """A Polars schema of any schema: Polars' own, Arrow's, a mapping of names to Polars types, featurestore Fields."""
    if isinstance(schema, pl.Schema):
        return schema
    if isinstance(schema, Mapping):
        return pl.Schema({name: _polars_type(data_type) for name, data_type in schema.items()})
    if hasattr(schema, "empty_table"):  # pyarrow.Schema
        return pl.Schema(schema)
    return pl.Schema({field.name: _polars_type(field.type) for field in schema})


def _polars_type(data_type: Any) -> Any:
    from featurestore.registry.types import DataType, to_arrow

    if not isinstance(data_type, DataType):
        return data_type
    import pyarrow as pa

    return pl.Schema(pa.schema([("x", to_arrow(data_type))]))["x"]


class Columns:
    """A schema that answers with expressions. Every method raises DefinitionError for a column that is not there."""

    def __init__(self, schema: pl.Schema) -> None:
        self.schema = schema

    def dtype(self, name: str) -> pl.DataType:
        if name not in self.schema:
            raise DefinitionError(f"no column named {name!r}", hint=did_you_mean(name, self.schema.names()))
        return self.schema[name]

    def value(self, name: str) -> pl.Expr:
        """The column, its NaN made null."""
        column = pl.col(name)
        return column.fill_nan(None) if self.dtype(name).is_float() else column

    def present(self, name: str) -> pl.Expr:
        """Whether a row has a value there."""
        column = pl.col(name)
        return column.is_not_null() & column.is_not_nan() if self.dtype(name).is_float() else column.is_not_null()

    def number(self, name: str) -> pl.Expr:
        """The column as numbers; booleans count as 0 and 1, decimals as floats."""
        dtype = self.dtype(name)
        if dtype == pl.Boolean:
            return pl.col(name).cast(pl.Int64)
        if dtype.is_decimal():
            return pl.col(name).cast(pl.Float64)
        if not dtype.is_numeric():
            raise DefinitionError(f"column {name!r} holds {dtype}, not numbers", hint="cast it, or check another column")
        return self.value(name)

    def text(self, name: str) -> pl.Expr:
        """The column as text: strings as they are, whole numbers as they are written."""
        dtype = self.dtype(name)
        if dtype == pl.String:
            return pl.col(name)
        if dtype.is_integer() or isinstance(dtype, pl.Categorical | pl.Enum):
            return pl.col(name).cast(pl.String)
        raise DefinitionError(f"column {name!r} holds {dtype}, not text", hint="cast it to text first")

    def key(self, name: str) -> pl.Expr:
        """The column as something to tell apart: one with equality and a hash that is the same in every batch."""
        dtype = self.dtype(name)
        if dtype.is_nested() or dtype == pl.Object:
            raise DefinitionError(f"column {name!r} holds {dtype}, whose values cannot be told apart")
        return pl.col(name).cast(pl.String) if isinstance(dtype, pl.Categorical | pl.Enum) else self.value(name)

    def comparable(self, name: str) -> pl.Expr:
        """The column as something to order: numbers, text, instants (a date is its midnight)."""
        dtype = self.dtype(name)
        if dtype == pl.Date:
            return pl.col(name).cast(pl.Datetime("us"))
        if dtype.is_numeric() or dtype.is_decimal():
            return self.number(name)
        if isinstance(dtype, pl.Categorical | pl.Enum):
            return pl.col(name).cast(pl.String)
        if dtype == pl.String or dtype.is_temporal():
            return pl.col(name)
        raise DefinitionError(f"column {name!r} holds {dtype}, which has no order")

    def literal(self, name: str, value: Any) -> Any:
        """A value of an expectation as a Python value that compares with :meth:`comparable` and :meth:`key`.

        Text becomes an instant for columns of instants (naive means UTC), a whole float becomes an integer.

        Raises:
            DefinitionError: the value is of another kind than the column.
        """
        dtype = self.dtype(name)
        fits = (
            _instant(value, dtype)
            if dtype == pl.Date or isinstance(dtype, pl.Datetime)
            else _number(value)
            if dtype.is_numeric() or dtype.is_decimal()
            else value
            if isinstance(value, bool if dtype == pl.Boolean else str)
            else None
        )
        if fits is None:
            raise DefinitionError(f"{value!r} does not compare with column {name!r}, which holds {dtype}")
        return fits

    def is_in(self, name: str, values: Iterable[Any], tested: pl.Expr | None = None) -> pl.Expr:
        """Whether each value (of the column, or ``tested`` ones like its) is one of a set; null stays null.

        Raises:
            DefinitionError: a member of the set is of another kind than the column.
        """
        dtype = self.dtype(name)
        own = self.key(name) if dtype == pl.Boolean else self.comparable(name)
        members = [self.literal(name, value) for value in values if value is not None]
        if dtype.is_integer():  # what the column cannot hold is in no row
            low, high = _limits(dtype)
            members = [member for member in members if isinstance(member, int) and low <= member <= high]
        kind = (
            pl.Float64
            if dtype.is_decimal()
            else pl.Datetime("us")
            if dtype == pl.Date
            else pl.String
            if isinstance(dtype, pl.Categorical | pl.Enum)
            else dtype
        )
        return (own if tested is None else tested).is_in(pl.Series(members, dtype=kind).implode())


def _limits(dtype: pl.DataType) -> tuple[int, int]:
    bits = int(str(dtype).lstrip("UInt"))
    return (0, 2**bits - 1) if dtype.is_unsigned_integer() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if float(value).is_integer() else value


def _instant(value: Any, dtype: pl.DataType) -> datetime | None:
    parsed = parse_instant(value)
    if parsed is None:
        return None
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return aware.astimezone(UTC) if getattr(dtype, "time_zone", None) else aware.astimezone(UTC).replace(tzinfo=None)


def parse_instant(value: Any) -> datetime | None:
    """An instant from a datetime, a date (its midnight) or a text as dateutil reads it; None for anything else."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a date has no zone; the caller decides
    if not isinstance(value, str):
        return None
    from dateutil import parser  # type: ignore[import-untyped,unused-ignore]

    try:
        parsed: datetime = parser.parse(value)
    except (ValueError, OverflowError):
        return None
    return parsed
