"""Lists and records as JSON text, in a declared type: every part is kept exactly, or the whole is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import polars as pl
import pyarrow as pa

from featurestore.ingestion.text_types import parse_floats

_WIDTHS: Final[dict[int, type[pl.DataType]]] = {16: pl.Float16, 32: pl.Float32, 64: pl.Float64}


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def parse_nested(text: str | None, target: pa.DataType) -> Any:
    """The list or record that a text holds, as Python values; None where it is none, or would not be kept as written.

    Instants in it are text in ISO 8601 with a zone.

    >>> parse_nested('[1, null]', pa.list_(pa.int8())), parse_nested('[1.5, 300]', pa.list_(pa.int8()))
    ([1, None], None)
    """
    if text is None:
        return None
    try:
        value = json.loads(text, parse_float=_Number, parse_int=_Number, parse_constant=_Number)
        return pa.array([_exact(value, target)], target)[0].as_py()
    except (ArithmeticError, ValueError, TypeError, pa.ArrowException):
        return None


def _exact(value: Any, target: pa.DataType) -> Any:
    """The value as Arrow takes it for the type.

    Raises:
        ValueError: it is of another kind, or would change.
    """
    p = pa.types
    if value is None:
        return None
    if p.is_struct(target):
        fields = {target.field(i).name: target.field(i).type for i in range(target.num_fields)}
        record = _of(dict, value)
        if not record.keys() <= fields.keys():
            raise ValueError(f"no such field: {record.keys() - fields.keys()}")
        return {name: _exact(inner, fields[name]) for name, inner in record.items()}
    if p.is_list(target) or p.is_fixed_size_list(target):
        if p.is_floating(target.value_type):
            return _floats(_of(list, value), target.value_type)
        return [_exact(inner, target.value_type) for inner in _of(list, value)]
    if p.is_floating(target):
        return _floats([value], target)[0]
    return _scalar(target)(value)


def _scalar(target: pa.DataType) -> Callable[[Any], Any]:
    p = pa.types
    if p.is_boolean(target):
        return lambda value: _of(bool, value)
    if p.is_integer(target):
        return lambda value: int(_of(_Number, value))
    if p.is_decimal(target):
        return lambda value: Decimal(_of(str, value))
    if p.is_date(target):
        return lambda value: date.fromisoformat(_text(value))
    if p.is_timestamp(target):
        return lambda value: _instant(_text(value))
    return (lambda value: _text(value).encode()) if p.is_binary(target) else _text


def _floats(values: list[Any], target: pa.DataType) -> list[float | None]:
    texts = pl.Series([None if value is None else str(_of(_Number, value)) for value in values], dtype=pl.String)
    numbers = parse_floats(texts, _WIDTHS[target.bit_width])
    if numbers.null_count() > texts.null_count():
        raise ValueError("a number that the float does not hold")
    return numbers.to_list()


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("an instant without a zone")
    return found.astimezone(UTC)


def _text(value: Any) -> str:
    if isinstance(value, _Number):
        raise ValueError("a number where text is wanted")  # noqa: TRY004 - one error for all
    text: str = _of(str, value)
    return text


def _of(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r} is no {kind.__name__}")  # noqa: TRY004 - one error for all
    return value
