"""Lists and structs as bytes: every value says for itself whether it is null and where it ends.

A packer and an unpacker are compiled once per type, as closures over those of the inner types. One byte tells null (0) from
a value (1); numbers are little-endian; text and bytes have their length in front, lists their count.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date
from decimal import Decimal as PyDecimal
from typing import Any, Final, TypeAlias

from featurestore.registry import types as t
from featurestore.time import from_micros, to_micros

Packer: TypeAlias = Callable[[Any], bytes]
Reader: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
"""Reads one value at an offset and returns it with the offset after it."""

_COUNT: Final = struct.Struct("<I")
_CODES: Final = {
    t.Bool: "?",
    t.Int8: "b",
    t.Int16: "h",
    t.Int32: "i",
    t.Int64: "q",
    t.UInt8: "B",
    t.UInt16: "H",
    t.UInt32: "I",
    t.UInt64: "Q",
    t.Float16: "e",
    t.Float32: "f",
    t.Float64: "d",
}
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


def make_packer(data_type: t.DataType) -> Packer:
    """The function that packs a value (not null) of a type."""
    match data_type:
        case t.List(inner) | t.Vector(inner, _):
            pack = _optional(make_packer(inner))
            return lambda values: _COUNT.pack(len(values)) + b"".join(map(pack, values))
        case t.Struct():
            members = [(name, _optional(make_packer(inner))) for name, inner in data_type.fields]
            return lambda value: b"".join([pack(value[name]) for name, pack in members])
        case t.Decimal():
            return lambda value: _unscaled(value, data_type.scale).to_bytes(16, "little", signed=True)
    if data_type == t.String:
        return lambda value: _sized(value.encode())
    if data_type == t.Bytes:
        return _sized
    if data_type == t.Date:
        return lambda value: struct.pack("<i", value.toordinal() - _EPOCH_DAY)
    if data_type == t.Timestamp:
        return lambda value: struct.pack("<q", to_micros(value))
    return struct.Struct("<" + _CODES[data_type]).pack  # type: ignore[index]


def make_unpacker(data_type: t.DataType) -> Callable[[bytes], Any]:
    """The function that makes the value of what :func:`make_packer` made."""
    read = _reader(data_type)
    return lambda raw: read(raw, 0)[0]


def _optional(pack: Packer) -> Packer:
    return lambda value: b"\0" if value is None else b"\1" + pack(value)


def _sized(raw: bytes) -> bytes:
    return _COUNT.pack(len(raw)) + raw


def _unscaled(value: PyDecimal, scale: int) -> int:
    sign, digits, exponent = value.as_tuple()
    number: int = int("".join(map(str, digits))) * 10 ** (int(exponent) + scale)
    return -number if sign else number


def _reader(data_type: t.DataType) -> Reader:
    match data_type:
        case t.List(inner) | t.Vector(inner, _):
            return _list_reader(_optional_reader(_reader(inner)))
        case t.Struct():
            return _struct_reader([(name, _optional_reader(_reader(inner))) for name, inner in data_type.fields])
        case t.Decimal(_, scale):
            return lambda raw, at: (_decimal(raw[at : at + 16], scale), at + 16)
    if data_type in (t.String, t.Bytes):
        return _sized_reader(text=data_type == t.String)
    if data_type == t.Date:
        return _number_reader("i", lambda days: date.fromordinal(_EPOCH_DAY + days))
    if data_type == t.Timestamp:
        return _number_reader("q", from_micros)
    return _number_reader(_CODES[data_type], None)  # type: ignore[index]


def _decimal(raw: bytes, scale: int) -> PyDecimal:
    number = int.from_bytes(raw, "little", signed=True)
    return PyDecimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))


def _optional_reader(read: Reader) -> Reader:
    return lambda raw, at: read(raw, at + 1) if raw[at] else (None, at + 1)


def _number_reader(code: str, convert: Callable[[Any], Any] | None) -> Reader:
    number = struct.Struct("<" + code)

    def read(raw: bytes, at: int) -> tuple[Any, int]:
        value = number.unpack_from(raw, at)[0]
        return (value if convert is None else convert(value)), at + number.size

    return read


def _sized_reader(*, text: bool) -> Reader:
    def read(raw: bytes, at: int) -> tuple[Any, int]:
        start = at + 4
        end = start + _COUNT.unpack_from(raw, at)[0]
        return (raw[start:end].decode() if text else raw[start:end]), end

    return read


def _list_reader(element: Reader) -> Reader:
    def read(raw: bytes, at: int) -> tuple[Any, int]:
        values, (count,) = [], _COUNT.unpack_from(raw, at)
        at += 4
        for _ in range(count):
            value, at = element(raw, at)
            values.append(value)
        return values, at

    return read


def _struct_reader(members: list[tuple[str, Reader]]) -> Reader:
    def read(raw: bytes, at: int) -> tuple[Any, int]:
        value = {}
        for name, member in members:
            value[name], at = member(raw, at)
        return value, at

    return read
