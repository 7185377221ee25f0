"""The types of columns and features.

A type is a small record: its Arrow counterpart is made on demand, so that definitions load without Arrow.

>>> from featurestore import types as t
>>> t.List(t.Int64), t.Vector(t.Float32, 3), t.Struct({"lat": t.Float64})
(List(Int64), Vector(Float32, 3), Struct({'lat': Float64}))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from featurestore.errors import DataTypeError, DefinitionError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa


class DataType:
    """Base of all types. Two types are equal when they are written the same."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False)
class Primitive(DataType):
    """A type without parameters, such as ``Int64``."""

    name: str

    def __repr__(self) -> str:
        return self.name


Bool: Final = Primitive("Bool")
Int8: Final = Primitive("Int8")
Int16: Final = Primitive("Int16")
Int32: Final = Primitive("Int32")
Int64: Final = Primitive("Int64")
UInt8: Final = Primitive("UInt8")
UInt16: Final = Primitive("UInt16")
UInt32: Final = Primitive("UInt32")
UInt64: Final = Primitive("UInt64")
Float16: Final = Primitive("Float16")
Float32: Final = Primitive("Float32")
Float64: Final = Primitive("Float64")
String: Final = Primitive("String")
Bytes: Final = Primitive("Bytes")
Date: Final = Primitive("Date")
Timestamp: Final = Primitive("Timestamp")
"""An instant: UTC, microseconds."""

PRIMITIVES: Final[dict[str, Primitive]] = {
    p.name: p
    for p in (
        Bool,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        String,
        Bytes,
        Date,
        Timestamp,
    )
}
INTEGERS: Final = frozenset({Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64})
FLOATS: Final = frozenset({Float16, Float32, Float64})


@dataclass(frozen=True, slots=True)
class Decimal(DataType):
    """A decimal number of ``precision`` digits, ``scale`` of them after the point (at most 38)."""

    precision: int
    scale: int

    def __post_init__(self) -> None:
        if not 1 <= self.precision <= 38 or not 0 <= self.scale <= self.precision:
            raise DefinitionError(f"no such decimal: precision {self.precision}, scale {self.scale}", hint="1 to 38 digits")

    def __repr__(self) -> str:
        return f"Decimal({self.precision}, {self.scale})"


@dataclass(frozen=True, slots=True, repr=False)
class List(DataType):
    """A list of any length; its elements may be null."""

    inner: DataType

    def __repr__(self) -> str:
        return f"List({self.inner!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Vector(DataType):
    """A vector of exactly ``size`` numbers, such as an embedding."""

    inner: DataType
    size: int

    def __post_init__(self) -> None:
        if self.size < 1 or self.inner not in INTEGERS | FLOATS:
            raise DefinitionError(f"no such vector: {self.size} of {self.inner!r}", hint="a positive size of a number type")

    def __repr__(self) -> str:
        return f"Vector({self.inner!r}, {self.size})"


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Struct(DataType):
    """A record with named fields."""

    fields: tuple[tuple[str, DataType], ...]

    def __init__(self, fields: Mapping[str, DataType]) -> None:
        object.__setattr__(self, "fields", tuple(fields.items()))

    def __repr__(self) -> str:
        return f"Struct({dict(self.fields)!r})"


def type_to_json(data_type: DataType) -> Any:
    """A type as JSON data: a name, or a one-key object. Read back by :func:`type_from_json`."""
    match data_type:
        case Primitive(name):
            return name
        case Decimal(precision, scale):
            return {"Decimal": [precision, scale]}
        case List(inner):
            return {"List": type_to_json(inner)}
        case Vector(inner, size):
            return {"Vector": [type_to_json(inner), size]}
        case Struct():
            return {"Struct": [[name, type_to_json(inner)] for name, inner in data_type.fields]}
    raise DataTypeError(f"not a featurestore type: {data_type!r}", hint="see featurestore.types")


def type_from_json(data: Any) -> DataType:
    """The type that :func:`type_to_json` wrote."""
    match data:
        case str(name) if name in PRIMITIVES:
            return PRIMITIVES[name]
        case {"Decimal": [precision, scale]}:
            return Decimal(precision, scale)
        case {"List": inner}:
            return List(type_from_json(inner))
        case {"Vector": [inner, size]}:
            return Vector(type_from_json(inner), size)
        case {"Struct": fields}:
            return Struct({name: type_from_json(inner) for name, inner in fields})
    raise DataTypeError(f"unknown type {data!r}", hint=did_you_mean(str(data), PRIMITIVES))


def to_arrow(data_type: DataType) -> pa.DataType:
    """The Arrow type that holds every value of a type exactly."""
    import pyarrow as pa

    match data_type:
        case Primitive(name):
            arrow: pa.DataType = {
                "Bool": pa.bool_(),
                "Float16": pa.float16(),
                "Float32": pa.float32(),
                "Float64": pa.float64(),
                "String": pa.string(),
                "Bytes": pa.binary(),
                "Date": pa.date32(),
                "Timestamp": pa.timestamp("us", tz="UTC"),
            }.get(name) or getattr(pa, name.lower())()
            return arrow
        case Decimal(precision, scale):
            return pa.decimal128(precision, scale)
        case List(inner):
            return pa.list_(to_arrow(inner))
        case Vector(inner, size):
            return pa.list_(to_arrow(inner), size)
        case Struct():
            return pa.struct([pa.field(name, to_arrow(inner)) for name, inner in data_type.fields])
    raise DataTypeError(f"not a featurestore type: {data_type!r}", hint="see featurestore.types")


def from_arrow(arrow: pa.DataType, *, column: str = "") -> DataType:
    """The type of an Arrow column. Views, large and dictionary layouts map to the plain type of the same values.

    Raises:
        DataTypeError: no type of ours holds its values unchanged (durations, intervals, unions, nanoseconds).
    """
    import pyarrow as pa

    p = pa.types
    if p.is_dictionary(arrow):
        return from_arrow(arrow.value_type, column=column)
    if p.is_string(arrow) or p.is_large_string(arrow) or p.is_string_view(arrow):
        return String
    if p.is_binary(arrow) or p.is_large_binary(arrow) or p.is_binary_view(arrow) or p.is_fixed_size_binary(arrow):
        return Bytes
    if p.is_boolean(arrow):
        return Bool
    if p.is_integer(arrow):
        return PRIMITIVES[str(arrow).replace("uint", "UInt").replace("int", "Int")]
    if p.is_floating(arrow):
        return {16: Float16, 32: Float32, 64: Float64}[arrow.bit_width]
    if p.is_date32(arrow):
        return Date
    if p.is_timestamp(arrow) and arrow.unit != "ns":
        return Timestamp
    if p.is_decimal(arrow) and arrow.precision <= 38:
        return Decimal(arrow.precision, arrow.scale)
    if p.is_fixed_size_list(arrow):
        return Vector(from_arrow(arrow.value_type, column=column), arrow.list_size)
    if p.is_list(arrow) or p.is_large_list(arrow) or p.is_list_view(arrow) or p.is_large_list_view(arrow):
        return List(from_arrow(arrow.value_type, column=column))
    if p.is_struct(arrow):
        return Struct({field.name: from_arrow(field.type, column=column) for field in arrow})
    where = f"column {column!r}: " if column else ""
    raise DataTypeError(
        f"{where}no featurestore type holds Arrow's {arrow} unchanged",
        hint="cast it to one of featurestore.types, such as Timestamp (microseconds) or Int64",
    )


def plain_arrow(arrow: pa.DataType) -> pa.DataType:
    """The simplest Arrow layout of the same values: no large offsets, no views, no dictionaries."""
    import pyarrow as pa

    p = pa.types
    if p.is_dictionary(arrow):
        return plain_arrow(arrow.value_type)
    if p.is_large_string(arrow) or p.is_string_view(arrow):
        return pa.string()
    if p.is_large_binary(arrow) or p.is_binary_view(arrow) or p.is_fixed_size_binary(arrow):
        return pa.binary()
    if p.is_fixed_size_list(arrow):
        return pa.list_(plain_arrow(arrow.value_type), arrow.list_size)
    if p.is_list(arrow) or p.is_large_list(arrow) or p.is_list_view(arrow) or p.is_large_list_view(arrow):
        return pa.list_(plain_arrow(arrow.value_type))
    if p.is_struct(arrow):
        return pa.struct([pa.field(field.name, plain_arrow(field.type)) for field in arrow])
    return arrow
