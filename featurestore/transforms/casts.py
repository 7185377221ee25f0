"""Between featurestore's types and those of Polars, without ever changing a value."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from featurestore.errors import DataTypeError
from featurestore.registry.records import Field
from featurestore.registry.types import DataType, from_arrow, to_arrow

INSTANT = pl.Datetime("us", "UTC")


def polars_type(data_type: DataType) -> pl.DataType:
    """The Polars type that holds every value of a type exactly."""
    return polars_schema(pa.schema([("column", to_arrow(data_type))]))["column"]


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """The schema of a Polars frame of Arrow data.

    Not by way of Arrow's ``empty_table()``: making an Arrow array of a Python list loads pandas where it is installed, which
    takes half a second.
    """
    return pl.Schema(schema)


def type_of(dtype: pl.DataType, column: str) -> DataType:
    """The type of a Polars column.

    Raises:
        DataTypeError: no type of ours holds its values unchanged.
    """
    if dtype == pl.Null or dtype == pl.Object:
        raise DataTypeError(
            f"column {column!r} has no type of its own (Polars calls it {dtype})",
            hint="cast it, or declare its type in features=",
        )
    arrow = pl.DataFrame(schema={column: dtype}).to_arrow().schema.field(column).type
    return from_arrow(arrow, column=column)


def cast_exactly(values: pl.Series, data_type: DataType) -> pl.Series:
    """The same values in another type.

    Integers, floats and decimals become each other where every value stays what it is; categories become strings; a naive
    timestamp is taken as UTC. Nothing is parsed from text.

    Raises:
        DataTypeError: some value would change; it says which.

    >>> from featurestore import types as t
    >>> cast_exactly(pl.Series("n", [1.0, None]), t.Int64).to_list()
    [1, None]
    """
    target = polars_type(data_type)
    if values.dtype == target:
        return values
    if values.dtype == pl.Null:
        return values.cast(target)
    if _kind(values.dtype) != _kind(target):
        raise DataTypeError(
            f"column {values.name!r} is {values.dtype}, not {data_type!r}",
            hint="cast it yourself: only equal values are taken over",
        )
    if isinstance(values.dtype, pl.Datetime) and isinstance(target, pl.Datetime):
        result = _to_instant(values)
        back = result.dt.convert_time_zone(values.dtype.time_zone or "UTC")
        back = back.dt.replace_time_zone(None) if values.dtype.time_zone is None else back
    else:
        try:
            result = values.cast(target, strict=False)
        except PolarsError as error:  # such as a list of another length than the vector
            raise DataTypeError(
                f"column {values.name!r}: {str(error).splitlines()[0]}", hint=f"it is declared {data_type!r}"
            ) from error
        back = result
    changed = back.cast(values.dtype, strict=False).ne_missing(values)
    if changed.any():
        example = values.filter(changed)[0]
        raise DataTypeError(
            f"column {values.name!r}: {example!r} ({values.dtype}) is no {data_type!r}",
            hint="declare a type that holds every value",
        )
    return result


def exact_expression(column: str, dtype: pl.DataType, data_type: DataType) -> pl.Expr:
    """A column in its declared type, for a lazy frame: checked value by value where the types differ."""
    target = polars_type(data_type)
    if dtype == target:
        return pl.col(column)
    if _kind(dtype) != _kind(target) and dtype != pl.Null:
        raise DataTypeError(
            f"column {column!r} is {dtype}, not {data_type!r}", hint="cast it in the transform, or declare its type"
        )
    return pl.col(column).map_batches(lambda values: cast_exactly(values, data_type), return_dtype=target, is_elementwise=True)


def arrow_schema(fields: list[Field]) -> pa.Schema:
    """Fields as an Arrow schema."""
    return pa.schema([(field.name, to_arrow(field.type)) for field in fields])


def _to_instant(values: pl.Series) -> pl.Series:
    aware = values.dt.replace_time_zone("UTC") if values.dtype.time_zone is None else values  # type: ignore[attr-defined]
    return aware.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _kind(dtype: pl.DataType) -> str:
    """Types between which a value can stay itself."""
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    if isinstance(dtype, pl.List | pl.Array):
        return f"list of {_kind(dtype.inner)}"  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return f"struct of {[(f.name, _kind(f.dtype)) for f in dtype.fields]}"  # type: ignore[arg-type]
    return str(dtype.base_type())
