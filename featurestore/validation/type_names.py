"""The names that a column type goes by: Polars', featurestore's, pandas' and Python's.

A name without a width (``int``, ``float``, ``datetime``) stands for every width.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from featurestore.errors import did_you_mean

_WIDTHS: Final = {
    "int8": pl.Int8,
    "int16": pl.Int16,
    "int32": pl.Int32,
    "int64": pl.Int64,
    "int128": pl.Int128,
    "uint8": pl.UInt8,
    "uint16": pl.UInt16,
    "uint32": pl.UInt32,
    "uint64": pl.UInt64,
    "float32": pl.Float32,
    "float64": pl.Float64,
    "double": pl.Float64,
    "bool": pl.Boolean,
    "bool_": pl.Boolean,
    "boolean": pl.Boolean,
    "str": pl.String,
    "str_": pl.String,
    "string": pl.String,
    "utf8": pl.String,
    "object": pl.String,
    "object_": pl.String,
    "bytes": pl.Binary,
    "binary": pl.Binary,
    "date": pl.Date,
    "time": pl.Time,
    "datetime": pl.Datetime,
    "datetime64": pl.Datetime,
    "timestamp": pl.Datetime,
    "datetimetzdtype": pl.Datetime,
    "duration": pl.Duration,
    "timedelta": pl.Duration,
    "decimal": pl.Decimal,
    "list": pl.List,
    "array": pl.Array,
    "vector": pl.Array,
    "struct": pl.Struct,
    "dict": pl.Struct,
    "category": pl.Categorical,
    "categorical": pl.Categorical,
    "enum": pl.Enum,
}
_FAMILIES: Final = ("int", "integer", "long", "uint", "float", "number")


def _plain(name: str) -> str:
    return name.strip().lower().split("[")[0].split("(")[0]


def unknown_type(name: str) -> str | None:
    """The hint for a name that is no type's, or None where it is one."""
    if _plain(name) in _WIDTHS or _plain(name) in _FAMILIES:
        return None
    return did_you_mean(name, [*_WIDTHS, *_FAMILIES])


def same_type(dtype: pl.DataType, name: str) -> bool:
    """Whether a column type goes by a name.

    >>> same_type(pl.Int32(), "int"), same_type(pl.Int32(), "int64"), same_type(pl.Datetime("us", "UTC"), "Timestamp")
    (True, False, True)
    """
    plain = _plain(name)
    if plain in ("int", "integer", "long"):
        return dtype.is_integer()
    if plain == "uint":
        return dtype.is_unsigned_integer()
    if plain == "float":
        return dtype.is_float()
    if plain == "number":
        return dtype.is_numeric()
    return plain in _WIDTHS and dtype == _WIDTHS[plain]


def pandas_name(dtype: pl.DataType) -> str:
    """What Great Expectations reports for such a column: pandas' name where there is one, else Polars'."""
    if dtype == pl.Boolean:
        return "bool"
    if dtype == pl.String:
        return "str"
    if isinstance(dtype, pl.Datetime):
        return "Timestamp" if dtype.time_zone else "datetime64"
    return str(dtype).lower() if dtype.is_integer() or dtype.is_float() else str(dtype)
