"""Feast's values on the wire, read and written without Feast: one message for each, its kind told by the number of its field.

Source: the wire format of protocol buffers, version 3, and the field numbers of Feast's ``Value``, as of release 0.67.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from featurestore.feast.wire import Message, Schema, decode, parts, schema, varint
from featurestore.registry import types as t
from featurestore.time import from_micros, to_micros

NO_TIME: Final = -(2**63)
"""What Feast writes for an instant that is null."""
Writer = Callable[[Any], bytes]
"""Makes the message of a value that is not null."""
_SECOND: Final = 1_000_000

_LISTS: Final = {
    "BytesList": "bytes*", "StringList": "text*", "IntList": "int*", "DoubleList": "double*", "FloatList": "float*",
    "BoolList": "bool*",
}  # fmt: skip
VALUES: Final[Mapping[str, Schema]] = {
    "Value": schema(
        bytes_val=(1, "bytes"),
        string_val=(2, "text"),
        int32_val=(3, "int"),
        int64_val=(4, "int"),
        double_val=(5, "double"),
        float_val=(6, "float"),
        bool_val=(7, "bool"),
        unix_timestamp_val=(8, "int"),
        bytes_list_val=(11, "BytesList"),
        string_list_val=(12, "StringList"),
        int32_list_val=(13, "IntList"),
        int64_list_val=(14, "IntList"),
        double_list_val=(15, "DoubleList"),
        float_list_val=(16, "FloatList"),
        bool_list_val=(17, "BoolList"),
        unix_timestamp_list_val=(18, "IntList"),
        null_val=(19, "int"),
        map_val=(20, "Map"),
        map_list_val=(21, "MapList"),
        bytes_set_val=(22, "BytesList"),
        string_set_val=(23, "StringList"),
        int32_set_val=(24, "IntList"),
        int64_set_val=(25, "IntList"),
        double_set_val=(26, "DoubleList"),
        float_set_val=(27, "FloatList"),
        bool_set_val=(28, "BoolList"),
        unix_timestamp_set_val=(29, "IntList"),
        json_val=(32, "text"),
        json_list_val=(33, "StringList"),
        struct_val=(34, "Map"),
        struct_list_val=(35, "MapList"),
        uuid_val=(36, "text"),
        time_uuid_val=(37, "text"),
        uuid_list_val=(38, "StringList"),
        time_uuid_list_val=(39, "StringList"),
        uuid_set_val=(40, "StringList"),
        time_uuid_set_val=(41, "StringList"),
        list_val=(42, "Repeated"),
        set_val=(43, "Repeated"),
        decimal_val=(44, "text"),
        decimal_list_val=(45, "StringList"),
        decimal_set_val=(46, "StringList"),
        zoned_timestamp_val=(48, "Zoned"),
    ),
    **{name: schema(val=(1, kind)) for name, kind in _LISTS.items()},
    "Repeated": schema(val=(1, "Value*")),
    "Map": schema(val=(1, "MapEntry*")),
    "MapEntry": schema(key=(1, "text"), value=(2, "Value")),
    "MapList": schema(val=(1, "Map*")),
    "Zoned": schema(unix_timestamp=(1, "int"), zone=(2, "text")),
    "Time": schema(seconds=(1, "int"), nanos=(2, "int")),
}

# -- read ----------------------------------------------------------------------------------------------------------------


def read_content(raw: bytes | memoryview) -> Any:
    r"""The content of a value: numbers, texts, instants, lists of them, dictionaries; None where it is null.

    >>> read_content(b"\x20\x07"), read_content(b"\x12\x02hi"), read_content(b"")
    (7, 'hi', None)
    """
    number, found = 0, None
    for number, _, found in parts(raw):  # noqa: B007 - of the kinds that are set the last one counts
        pass
    read = _SCALARS.get(number)
    return _content(decode(raw, "Value", VALUES)) if read is None else read(found)


def read_contents(raw: bytes | memoryview) -> list[Any]:
    """The content of each of some repeated values."""
    return [read_content(part) for number, _, part in parts(raw) if number == 1]


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _text(raw: memoryview) -> str:
    return bytes(raw).decode()


_SCALARS: Final[Mapping[int, Callable[[Any], Any]]] = {
    0: lambda _: None,
    1: bytes,
    2: _text,
    3: _signed,
    4: _signed,
    5: lambda raw: struct.unpack("<d", raw)[0],
    6: lambda raw: struct.unpack("<f", raw)[0],
    7: bool,
    8: lambda number: _instant(_signed(number)),
    19: lambda _: None,
}


def _content(value: Message) -> Any:
    """The content of a value: numbers, texts, instants, lists of them, dictionaries."""
    for name, found in value.items():
        if name == "null_val":
            return None
        if name == "unix_timestamp_val":
            return _instant(found)
        if name in ("list_val", "set_val"):
            return [_content(item) for item in found["val"]]
        if name in ("map_val", "struct_val"):
            return _dictionary(found)
        if name in ("map_list_val", "struct_list_val"):
            return [_dictionary(item) for item in found["val"]]
        if name.startswith("unix_timestamp"):
            return [_instant(item) for item in found["val"]]
        if name == "zoned_timestamp_val":
            return {"instant": _instant(found.get("unix_timestamp", 0)), "zone": found.get("zone", "")}
        return found["val"] if isinstance(found, dict) else found
    return None


def _dictionary(found: Message) -> dict[str, Any]:
    return {entry.get("key", ""): _content(entry.get("value", {})) for entry in found["val"]}


def _instant(seconds: int) -> datetime | None:
    return None if seconds == NO_TIME else from_micros(seconds * 1_000_000)


# -- write ---------------------------------------------------------------------------------------------------------------


def write_repeated(values: Sequence[Any], data_type: t.DataType) -> bytes:
    """A column as repeated values, each the field 1 of the message that holds them.

    >>> write_repeated([7, None], t.Int64).hex(" ")
    '0a 02 20 07 0a 00'
    """
    write = writer(data_type)
    return b"".join([b"\x0a\x00" if value is None else sized(1, write(value)) for value in values])


def sized(number: int, content: bytes) -> bytes:
    """A field of text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


@lru_cache(maxsize=1024)
def writer(data_type: t.DataType) -> Writer:
    """What makes the messages of a type's values.

    Types that Feast lacks: decimals and unsigned integers of 64 bits go as its decimals (text), dates as ISO text.
    """
    match data_type:
        case t.List(inner) | t.Vector(inner):
            return _list_writer(inner)
        case t.Struct():
            members = [(name.encode(), writer(inner)) for name, inner in data_type.fields]
            return lambda record: sized(34, _map(record, members))
        case t.Decimal():
            return lambda value: sized(44, format(value, "f").encode())
    return _WRITERS[data_type]


def _map(record: Mapping[str, Any], members: Sequence[tuple[bytes, Writer]]) -> bytes:
    made = []
    for name, write in members:
        value = record[name.decode()]
        made.append(sized(1, sized(1, name) + sized(2, b"" if value is None else write(value))))
    return b"".join(made)


def _list_writer(inner: t.DataType) -> Writer:
    number, pack = _LIST_WRITERS.get(inner, (0, None))

    def write(values: Sequence[Any]) -> bytes:
        if pack is None or None in values:  # Feast's typed lists cannot hold a null; its nested ones can
            return sized(42, write_repeated(values, inner))
        return sized(number, pack(values))

    return write


def _integer(tag: bytes) -> Writer:
    return lambda value: tag + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _seconds(value: datetime) -> int:
    return to_micros(value) // _SECOND & 0xFFFF_FFFF_FFFF_FFFF


def _utf8(value: str) -> bytes:
    return value.encode()


def _date(value: date) -> bytes:
    return sized(2, value.isoformat().encode())


_INT32, _INT64, _FLOAT32 = _integer(b"\x18"), _integer(b"\x20"), struct.Struct("<Bf").pack
_FLOAT64: Final = struct.Struct("<Bd").pack
_WRITERS: Final[Mapping[t.DataType, Writer]] = {
    t.Bytes: lambda value: sized(1, bytes(value)),
    t.String: lambda value: sized(2, value.encode()),
    **dict.fromkeys((t.Int8, t.Int16, t.Int32, t.UInt8, t.UInt16), _INT32),
    **dict.fromkeys((t.Int64, t.UInt32), _INT64),
    t.UInt64: lambda value: sized(44, str(value).encode()),
    t.Float64: lambda value: _FLOAT64(0x29, value),
    **dict.fromkeys((t.Float32, t.Float16), lambda value: _FLOAT32(0x35, value)),
    t.Bool: lambda value: b"\x38\x01" if value else b"\x38\x00",
    t.Timestamp: lambda value: b"\x40" + varint(_seconds(value)),
    t.Date: _date,
}


def _each(encode: Callable[[Any], bytes]) -> Writer:
    return lambda values: b"".join([sized(1, encode(value)) for value in values])


def _packed(encode: Callable[[Any], bytes]) -> Writer:
    return lambda values: sized(1, b"".join(map(encode, values))) if len(values) else b""


_NUMBERS: Final = _packed(lambda value: varint(value & 0xFFFF_FFFF_FFFF_FFFF))
_FLOATS: Final = _packed(struct.Struct("<f").pack)
_LIST_WRITERS: Final[Mapping[t.DataType, tuple[int, Writer]]] = {
    t.Bytes: (11, _each(bytes)),
    t.String: (12, _each(_utf8)),
    **dict.fromkeys((t.Int8, t.Int16, t.Int32, t.UInt8, t.UInt16), (13, _NUMBERS)),
    **dict.fromkeys((t.Int64, t.UInt32), (14, _NUMBERS)),
    t.Float64: (15, _packed(struct.Struct("<d").pack)),
    **dict.fromkeys((t.Float32, t.Float16), (16, _FLOATS)),
    t.Bool: (17, _NUMBERS),
    t.Timestamp: (18, _packed(lambda value: varint(_seconds(value)))),
}
