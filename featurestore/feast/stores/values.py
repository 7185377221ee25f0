"""Values of Feast in packed rows: each of its value types, exactly.

Numbers, texts, bytes, booleans and instants, and lists and sets of them, lie in the row as our own types do. The others (maps,
structs, nested lists) lie there as Feast serialized them, so that nothing about them can change.
"""

from __future__ import annotations

import decimal
import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from feast.protos.feast.types import Value_pb2
from feast.type_map import NULL_TIMESTAMP_INT_VALUE, feast_value_type_to_python_type
from feast.value_type import ValueType

from featurestore.feast import value_types
from featurestore.registry import types as t
from featurestore.time import from_micros, to_micros

Value: Final = Value_pb2.Value
NULL: Final = Value()
_EMPTY_TIME: Final = NULL_TIMESTAMP_INT_VALUE
_MESSAGES: Final = {
    "bytes": "Bytes", "string": "String", "int32": "Int32", "int64": "Int64", "double": "Double", "float": "Float",
    "bool": "Bool", "unix_timestamp": "Int64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ValueCodec:
    """How values of one of Feast's types live in a row.

    Args:
        type: the column.
        from_proto: the column's value of a protocol buffer that is not null.
        to_proto: the protocol buffer of a column's value that is not null.
        to_python: what Feast hands to its users for a column's value; None where it is the value itself.
        arrow: whether an Arrow column of the source can be cast to the column; else values go one by one through Feast.
    """

    type: t.DataType
    from_proto: Callable[[Any], Any]
    to_proto: Callable[[Any], Any]
    to_python: Callable[[Any], Any] | None = None
    arrow: bool = True

    def read_protos(self, values: Iterable[Any]) -> list[Any]:
        """The column of protocol buffers; a value that is not set is null."""
        return [None if is_null(value) else self.from_proto(value) for value in values]

    def write_protos(self, values: Iterable[Any]) -> list[Any]:
        """The protocol buffers of a column."""
        to_proto = self.to_proto
        return [NULL if value is None else to_proto(value) for value in values]

    def pythons(self, values: list[Any]) -> list[Any]:
        """The column as Feast's users see it."""
        convert = self.to_python
        return values if convert is None else [None if value is None else convert(value) for value in values]


def is_null(value: Any) -> bool:
    """Whether a protocol buffer is null: not set, or set to a null."""
    kind = value.WhichOneof("val")
    if kind in (None, "null_val"):
        return True
    return bool(kind == "unix_timestamp_val" and value.unix_timestamp_val == _EMPTY_TIME)


def value_codec(value_type: ValueType) -> ValueCodec:
    """The codec of a value type."""
    return _CODECS.get(value_type.value) or _serialized()


def to_native(value: Any) -> Any:
    """A key's value: a Python value as it is, a protocol buffer's content."""
    if not isinstance(value, Value_pb2.Value):
        return value
    kind = value.WhichOneof("val")
    if kind is None or kind == "null_val":
        return None
    if kind == "unix_timestamp_val":
        return from_micros(value.unix_timestamp_val * 1_000_000)
    return getattr(value, kind)


def _scalar(name: str, data_type: t.DataType) -> ValueCodec:
    field = f"{name}_val"
    return ValueCodec(data_type, _getter(field), lambda value: Value(**{field: value}))


def _getter(field: str) -> Callable[[Any], Any]:
    def get(value: Any) -> Any:
        found = getattr(value, field)
        if found or value.WhichOneof("val") == field:
            return found
        return _other_number(value, field)

    return get


def _other_number(value: Any, field: str) -> Any:
    """A number that came in another of Feast's types than the feature's: taken where it is the same number."""
    kind = value.WhichOneof("val")
    found = getattr(value, kind)
    made = float(found) if field in ("double_val", "float_val") else int(found) if field in ("int32_val", "int64_val") else None
    if not isinstance(found, int | float) or made is None or made != found:
        raise TypeError(f"a value of {kind} for a feature of {field}: {found!r}")
    return made


def _list(name: str, inner: t.DataType, *, unordered: bool) -> ValueCodec:
    form = "set" if unordered else "list"
    field = f"{name}_{form}_val"
    message = getattr(Value_pb2, f"{_MESSAGES[name]}{form.title()}")

    def to_proto(values: list[Any]) -> Any:
        if None in values:  # Feast's typed lists cannot hold a null; its nested ones can
            scalar = _CODECS[_scalar_number(name)]
            members = Value_pb2.RepeatedValue(val=scalar.write_protos(values))
            return Value(set_val=members) if unordered else Value(list_val=members)
        return Value(**{field: message(val=list(map(encode, values)))})

    encode, decode = (_to_seconds, _from_seconds) if inner == t.Timestamp else (_same, _same)
    nested = f"{form}_val"

    def from_proto(value: Any) -> list[Any]:
        if value.WhichOneof("val") == nested:
            return _CODECS[_scalar_number(name)].read_protos(getattr(value, nested).val)
        return [decode(item) for item in getattr(value, field).val]

    return ValueCodec(t.List(inner), from_proto, to_proto, set if unordered else None)


def _scalar_number(name: str) -> int:
    return int(ValueType[name.upper()].value)


def _same(value: Any) -> Any:
    return value


def _to_seconds(instant: datetime) -> int:
    return to_micros(instant) // 1_000_000


def _from_seconds(seconds: int) -> datetime | None:
    return None if seconds == _EMPTY_TIME else from_micros(seconds * 1_000_000)


def _text(name: str, to_python: Callable[[str], Any]) -> ValueCodec:
    field = f"{name}_val"
    return ValueCodec(
        t.String, lambda value: getattr(value, field), lambda text: Value(**{field: text}), to_python, arrow=False
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _serialized() -> ValueCodec:
    return ValueCodec(
        t.Bytes,
        lambda value: value.SerializeToString(),
        Value.FromString,
        lambda raw: feast_value_type_to_python_type(Value.FromString(raw)),
        arrow=False,
    )


def _make_codecs() -> dict[int, ValueCodec]:
    scalars: Sequence[tuple[str, t.DataType]] = (
        ("bytes", t.Bytes), ("string", t.String), ("int32", t.Int32), ("int64", t.Int64), ("double", t.Float64),
        ("float", t.Float32), ("bool", t.Bool), ("unix_timestamp", t.Timestamp),
    )  # fmt: skip
    made: dict[int, ValueCodec] = {}
    for name, data_type in scalars:
        number = _scalar_number(name)
        made[number] = _scalar(name, data_type)
        made[number + value_types.LIST_OFFSET] = _list(name, data_type, unordered=False)
        made[number + value_types.SET_OFFSET] = _list(name, data_type, unordered=True)
    made[_scalar_number("unix_timestamp")] = ValueCodec(
        t.Timestamp,
        lambda value: from_micros(value.unix_timestamp_val * 1_000_000),
        lambda instant: Value(unix_timestamp_val=_to_seconds(instant)),
    )
    made[value_types.JSON] = _text("json", _json)
    made[value_types.UUID] = _text("uuid", uuid.UUID)
    made[value_types.TIME_UUID] = _text("time_uuid", uuid.UUID)
    made[value_types.DECIMAL] = _text("decimal", decimal.Decimal)
    return made


_CODECS: Final = _make_codecs()
