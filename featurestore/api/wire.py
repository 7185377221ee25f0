"""Values as JSON, both ways; ``docs/http.md`` says the same for people.

======================  ==========================================================================
bool, integers, string  as JSON has them; integers of 64 bits are written in full
floats                  numbers; ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` for what JSON lacks
decimal                 text, ``"12.50"``
bytes                   base64 text (RFC 4648, with padding)
date                    ``"2013-01-31"``
timestamp               RFC 3339 in UTC, ``"2013-01-31T12:00:00.000001Z"``
list, vector, struct    arrays and objects of the above
======================  ==========================================================================

Null is null. An encoder or decoder is made once per type; types that JSON holds as they are have none.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal as DecimalValue
from decimal import InvalidOperation
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
from starlette.responses import Response

from featurestore.errors import DataTypeError
from featurestore.registry.types import FLOATS, Bytes, DataType, Date, Decimal, List, Struct, Timestamp, Vector

Convert = Callable[[Any], Any]
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_FEW: Final = 16
"""Up to here Python looks through values quicker than numpy converts them."""
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(data: Any) -> bytes:
    """JSON text of plain data, instants and numpy arrays; anything else as its text."""
    return orjson.dumps(data, default=_default, option=_OPTIONS)


def json_answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An HTTP answer of JSON."""
    return Response(to_json(data), status, headers, "application/json")


def _default(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    to_dict = getattr(value, "to_dict", None)
    return to_dict() if callable(to_dict) else str(value)


# -- out -----------------------------------------------------------------------------------------------------------------


def encode_column(values: Sequence[Any], data_type: DataType) -> Sequence[Any]:
    """A column in its JSON form.

    >>> from featurestore import types as t
    >>> encode_column([1.5, float("nan"), None], t.Float64), encode_column([b"abc"], t.Bytes)
    ([1.5, 'NaN', None], ['YWJj'])
    """
    if data_type in FLOATS:
        return _encode_floats(values)
    encode = encoder(data_type)
    return values if encode is None else [None if value is None else encode(value) for value in values]


def _encode_floats(values: Sequence[Any]) -> Sequence[Any]:
    if len(values) < _FEW:
        finite = all(value is None or math.isfinite(value) for value in values)
    else:
        finite = bool(np.isfinite(np.asarray(values, dtype=np.float64)).all())
    if finite:
        return values
    return [None if value is None else _encode_float(value) for value in values]


def _encode_float(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


@lru_cache(maxsize=1024)
def encoder(data_type: DataType) -> Convert | None:
    """What turns a value that is not null into its JSON form; None where it is that already."""
    if data_type in FLOATS:
        return _encode_float
    if data_type == Bytes:
        return lambda value: base64.b64encode(value).decode()
    if isinstance(data_type, Decimal):
        return str
    if data_type == Timestamp:
        return lambda value: value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(data_type, List | Vector):
        inner = data_type.inner
        return lambda values: list(encode_column(values if isinstance(values, list) else list(values), inner))
    if isinstance(data_type, Struct):
        parts = dict(data_type.fields)
        return lambda record: {name: encode_column([record[name]], part)[0] for name, part in parts.items()}
    return None


# -- in ------------------------------------------------------------------------------------------------------------------


def decode_column(values: Iterable[Any], data_type: DataType, column: str) -> list[Any]:
    """A column of JSON values as Python values of its type.

    Raises:
        DataTypeError: names the column, the place in it and what was expected.
    """
    decode = decoder(data_type)
    if decode is None:
        return values if isinstance(values, list) else list(values)
    decoded = []
    for index, value in enumerate(values):
        try:
            decoded.append(None if value is None else decode(value))
        except (TypeError, ValueError, InvalidOperation, binascii.Error):
            raise DataTypeError(
                f"column {column!r}, value {index}: {value!r} is no {data_type!r}", hint=f"write it as {_example(data_type)}"
            ) from None
    return decoded


@lru_cache(maxsize=1024)
def decoder(data_type: DataType) -> Convert | None:
    """What turns a JSON value that is not null into a Python value of a type; None where it is that already."""
    if data_type in FLOATS:
        return _decode_float
    if data_type == Bytes:
        return lambda value: base64.b64decode(value, validate=True)
    if isinstance(data_type, Decimal):
        return _decode_decimal
    if data_type == Timestamp:
        return _decode_timestamp
    if data_type == Date:
        return lambda value: date.fromisoformat(value)
    if isinstance(data_type, List | Vector):
        inner = data_type.inner
        return lambda values: decode_column(_listed(values), inner, "element")
    if isinstance(data_type, Struct):
        parts = dict(data_type.fields)
        return lambda record: {name: decode_column([record.get(name)], part, name)[0] for name, part in parts.items()}
    return None


def _decode_float(value: Any) -> Any:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _decode_decimal(value: Any) -> DecimalValue:
    if isinstance(value, bool | float):
        raise TypeError  # a JSON number with a fraction has been rounded to binary on its way already
    return DecimalValue(value)


def _decode_timestamp(value: Any) -> datetime:
    instant = datetime.fromisoformat(value)
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def _listed(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise TypeError
    return values


def _example(data_type: DataType) -> str:
    if data_type == Timestamp:
        return '"2013-01-31T12:00:00Z"'
    if data_type == Date:
        return '"2013-01-31"'
    if data_type == Bytes:
        return 'base64 text, "YWJj"'
    if isinstance(data_type, Decimal):
        return 'text, "12.50"'
    if isinstance(data_type, List | Vector):
        return "an array"
    return "an object" if isinstance(data_type, Struct) else '1.5 or "NaN"'
