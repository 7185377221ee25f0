"""Columns in the types that are wanted, exactly: a value is kept or refused, never changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.ingestion.nested_text import parse_nested
from featurestore.ingestion.text_types import parse_bools, parse_decimals, parse_floats, parse_ints
from featurestore.registry.types import plain_arrow

if TYPE_CHECKING:
    from featurestore.ingestion.timestamps import TimeReader

p = pa.types


class Cast(NamedTuple):
    """A column in another type, and the first row whose value does not fit, if any."""

    values: pl.Series
    misfit: int | None


def cast_text(texts: pl.Series, target: pa.DataType, times: TimeReader) -> Cast:
    """Text, as a file holds it, in a type."""
    if p.is_string(target):
        return Cast(texts, None)
    values = _parse(texts, target, times)
    wrong = values.is_null() & texts.is_not_null()
    return Cast(values.alias(texts.name), _first(wrong))


def _parse(texts: pl.Series, target: pa.DataType, times: TimeReader) -> pl.Series:
    dtype = polars_type(target)
    if p.is_boolean(target):
        return parse_bools(texts)
    if p.is_integer(target):
        return parse_ints(texts, dtype)
    if p.is_floating(target):
        return parse_floats(texts, dtype)
    if p.is_decimal(target):
        return parse_decimals(texts, target)
    if p.is_date(target):
        dates = texts.str.to_date("%Y-%m-%d", strict=False)
        return pl.select(pl.when(dates.dt.to_string("%Y-%m-%d") == texts).then(dates)).to_series()
    if p.is_timestamp(target):
        return times.read(texts).instants
    if p.is_binary(target):
        return texts.cast(pl.Binary)
    return pl.Series(texts.name, [parse_nested(text, target) for text in texts.to_list()], dtype=dtype)


def cast_typed(values: pl.Series, target: pa.DataType, times: TimeReader, *, from_json: bool = False) -> Cast:
    """A column that has a type in another one.

    Integers and floats pass into each other where the number stays the same; timestamps and dates become instants by the
    rules of the source's times; a list or record fits where its parts do. From JSON, which has no such types, text also
    fits an instant, a date, a decimal or bytes, at the top and in lists and records.
    """
    dtype = polars_type(target)
    if values.dtype == dtype:
        return Cast(values, None)
    if values.dtype == pl.Null:
        return Cast(values.cast(dtype), None)
    if from_json and p.is_nested(target) and (values.dtype == pl.String or _has_texts(target)):
        return _cast_nested(values, target)
    if values.dtype == pl.String:
        if from_json and (p.is_temporal(target) or p.is_decimal(target) or p.is_binary(target)):
            return cast_text(values, target, times)
        return Cast(values, _first(values.is_not_null()))
    if p.is_timestamp(target) and values.dtype.is_temporal():
        found = times.read(values).instants
        return Cast(found, _first(found.is_null() & values.is_not_null()))
    if not _same_family(values.dtype, target):
        return Cast(values, _first(values.is_not_null()))
    return _cast_arrow(values, target)


def _has_texts(target: pa.DataType) -> bool:
    """Whether a part of a list or a record is text in JSON, and has a type of its own here."""
    parts = [target.field(i).type for i in range(target.num_fields)]
    return any(p.is_temporal(part) or p.is_decimal(part) or p.is_binary(part) or _has_texts(part) for part in parts)


def _cast_nested(values: pl.Series, target: pa.DataType) -> Cast:
    """Lists and records of JSON, whose parts Arrow has read, or which are JSON text where Arrow could not read them alike."""
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values.to_list()]
    found = pl.Series(values.name, [parse_nested(text, target) for text in texts], dtype=polars_type(target))
    return Cast(found, _first(found.is_null() & values.is_not_null()))


def _same_family(dtype: pl.DataType, target: pa.DataType) -> bool:
    if dtype.is_integer() or dtype.is_float():
        return bool(p.is_integer(target) or p.is_floating(target) or (p.is_decimal(target) and dtype.is_integer()))
    if dtype.is_decimal():
        return bool(p.is_decimal(target))
    if isinstance(dtype, pl.List | pl.Array):
        return bool(p.is_list(target) or p.is_fixed_size_list(target))
    return isinstance(dtype, pl.Struct) and bool(p.is_struct(target)) and {f.name for f in dtype.fields} <= set(target.names)


def _cast_arrow(values: pl.Series, target: pa.DataType) -> Cast:
    if values.dtype.is_integer() and p.is_decimal(target):
        decimals = parse_decimals(values.cast(pl.String), target)
        return Cast(decimals, _first(decimals.is_null() & values.is_not_null()))
    narrows = _floats(plain_array(values.head(0).to_arrow()).type) and _floats(target)

    def attempt(part: pl.Series) -> pl.Series:
        arrow = plain_array(part.to_arrow())
        found = pl.from_arrow(pc.cast(arrow, target))
        assert isinstance(found, pl.Series)  # noqa: S101 - narrows polars' union type
        # Arrow checks integers on their way to floats and back, but rounds a double to a narrower float.
        if narrows and not found.cast(part.dtype).eq_missing(part).all():
            raise pa.ArrowInvalid("a float that the narrower type does not hold")
        return found.alias(values.name)

    try:
        return Cast(attempt(values), None)
    except pa.ArrowException:
        return Cast(values, _search(values, attempt))


def _floats(given: pa.DataType) -> bool:
    return bool(p.is_floating(given)) or any(_floats(given.field(i).type) for i in range(given.num_fields))


def _search(values: pl.Series, attempt: Callable[[pl.Series], object]) -> int:
    """The first row that an attempt fails on, by halving."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            attempt(values.slice(low, middle - low))
        except pa.ArrowException:
            high = middle
        else:
            low = middle
    return low


def _first(mask: pl.Series) -> int | None:
    return int(mask.arg_max() or 0) if mask.any() else None


def polars_type(target: pa.DataType) -> pl.DataType:
    """The Polars type of an Arrow type."""
    return pl.Schema(pa.schema([("x", target)]))["x"]


def plain_array(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """An array without large, view or dictionary layouts at its top level or below."""
    plain = plain_arrow(array.type)
    return array if plain == array.type else array.cast(plain)


def in_plain_layout(table: pa.Table) -> pa.Table:
    """The same values without large, view or dictionary layouts, and without metadata.

    Column by column: Arrow's cast of a list of nulls to its own type breaks its offsets.
    """
    fields = [pa.field(field.name, plain_arrow(field.type)) for field in table.schema]
    return pa.table([plain_array(column) for column in table.columns], schema=pa.schema(fields))
