"""Feast's value types and ours. The numbers are those of its ``ValueType.Enum``."""

from __future__ import annotations

from typing import Final

from featurestore.registry import types as t

_SCALARS: Final[dict[int, tuple[str, t.DataType]]] = {
    1: ("Bytes", t.Bytes),
    2: ("String", t.String),
    3: ("Int32", t.Int32),
    4: ("Int64", t.Int64),
    5: ("Float64", t.Float64),
    6: ("Float32", t.Float32),
    7: ("Bool", t.Bool),
    8: ("UnixTimestamp", t.Timestamp),
}
LIST_OFFSET: Final = 10
"""A list type is its element's number plus this."""
SET_OFFSET: Final = 21
"""A set type is its element's number plus this."""
MAP, MAP_LIST, JSON, JSON_LIST, STRUCT, STRUCT_LIST = 20, 21, 32, 33, 34, 35
UUID, TIME_UUID, UUID_LIST, TIME_UUID_LIST, UUID_SET, TIME_UUID_SET = 36, 37, 38, 39, 40, 41
VALUE_LIST, VALUE_SET, DECIMAL, DECIMAL_LIST, DECIMAL_SET, SCALAR_MAP, ZONED_TIMESTAMP = 42, 43, 44, 45, 46, 47, 48

_AS_JSON: Final = "the value as JSON text: ours has no map without fixed fields"
_AS_LIST: Final = "a list: ours has no set type; elements keep their order, and repetition is not taken out"
_AS_TEXT: Final = "text in its canonical form, exact"

_OTHERS: Final[dict[int, tuple[t.DataType, str]]] = {
    MAP: (t.String, _AS_JSON),
    MAP_LIST: (t.List(t.String), _AS_JSON),
    JSON: (t.String, ""),
    JSON_LIST: (t.List(t.String), ""),
    STRUCT: (t.String, _AS_JSON),
    STRUCT_LIST: (t.List(t.String), _AS_JSON),
    UUID: (t.String, _AS_TEXT),
    TIME_UUID: (t.String, _AS_TEXT),
    UUID_LIST: (t.List(t.String), _AS_TEXT),
    TIME_UUID_LIST: (t.List(t.String), _AS_TEXT),
    UUID_SET: (t.List(t.String), _AS_LIST),
    TIME_UUID_SET: (t.List(t.String), _AS_LIST),
    DECIMAL: (t.String, _AS_TEXT),
    DECIMAL_LIST: (t.List(t.String), _AS_TEXT),
    DECIMAL_SET: (t.List(t.String), _AS_LIST),
    ZONED_TIMESTAMP: (t.Struct({"instant": t.Timestamp, "zone": t.String}), ""),
}
_NAMES: Final = {
    20: "Map", 21: "Array(Map)", 32: "Json", 33: "Array(Json)", 34: "Struct", 35: "Array(Struct)", 36: "Uuid", 37: "TimeUuid",
    38: "Array(Uuid)", 39: "Array(TimeUuid)", 40: "Set(Uuid)", 41: "Set(TimeUuid)", 42: "nested list", 43: "nested set",
    44: "Decimal", 45: "Array(Decimal)", 46: "Set(Decimal)", 47: "ScalarMap", 48: "ZonedTimestamp",
}  # fmt: skip


def data_type(value_type: int, *, vector_length: int = 0) -> tuple[t.DataType | None, str]:
    """Our type for one of Feast's, and what changes with it (empty: nothing). None where there is no counterpart.

    Args:
        vector_length: of an indexed vector; it then is a ``Vector``.

    >>> data_type(14), data_type(16, vector_length=3)[0]
    ((List(Int64), ''), Vector(Float32, 3))
    """
    if value_type in _SCALARS:
        return _SCALARS[value_type][1], ""
    if value_type - LIST_OFFSET in _SCALARS:
        inner = _SCALARS[value_type - LIST_OFFSET][1]
        return (t.Vector(inner, vector_length) if vector_length and inner in t.FLOATS else t.List(inner)), ""
    if value_type - SET_OFFSET in _SCALARS:
        return t.List(_SCALARS[value_type - SET_OFFSET][1]), _AS_LIST
    return _OTHERS.get(value_type, (None, f"{type_name(value_type)} has no counterpart"))


def type_name(value_type: int) -> str:
    """What Feast calls a value type.

    >>> type_name(4), type_name(14), type_name(25), type_name(47)
    ('Int64', 'Array(Int64)', 'Set(Int64)', 'ScalarMap')
    """
    for offset, form in ((0, "{}"), (LIST_OFFSET, "Array({})"), (SET_OFFSET, "Set({})")):
        if value_type - offset in _SCALARS:
            return form.format(_SCALARS[value_type - offset][0])
    return _NAMES.get(value_type, f"value type {value_type}")
