"""Protocol buffers, read without generated code: enough to read what Feast's registry, online store and clients hold.

A message becomes a dictionary. A schema names, for each field number, the field and its kind; fields of other numbers are
passed by, so that what a newer Feast adds does no harm. Source: the encoding specification of protocol buffers, version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from featurestore.errors import RegistryError

Message: TypeAlias = dict[str, Any]
Schema: TypeAlias = Mapping[int, "FieldKind"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DOUBLE: Final = struct.Struct("<d")
_FLOAT: Final = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class FieldKind:
    """One field of a message.

    Args:
        name: its key in the dictionary.
        kind: ``int`` (also enums; signed), ``bool``, ``double``, ``float``, ``text``, ``bytes``, ``micros`` (a duration or
            an instant of protocol buffers), ``text map``, or the name of a message.
        repeated: it may come any number of times; the value is a list.
    """

    name: str
    kind: str
    repeated: bool = False


def schema(**fields: tuple[int, str]) -> Schema:
    """A schema from ``name=(number, kind)``; a kind that ends in ``*`` is repeated.

    >>> schema(name=(1, "text"), tags=(8, "text map"))[8].kind
    'text map'
    """
    return {number: FieldKind(name, kind.removesuffix("*"), kind.endswith("*")) for name, (number, kind) in fields.items()}


def decode(raw: bytes | memoryview, message: str, schemas: Mapping[str, Schema]) -> Message:
    """A message as a dictionary of the fields that it holds. Absent repeated fields and maps are empty; others are absent.

    Args:
        message: its name in ``schemas``.

    Raises:
        RegistryError: the bytes are no message of that kind.

    >>> decode(bytes([10, 2, 104, 105, 16, 7]), "M", {"M": schema(word=(1, "text"), number=(2, "int"))})
    {'word': 'hi', 'number': 7}
    """
    fields = schemas[message]
    decoded: Message = {
        f.name: {} if f.kind == "text map" else [] for f in fields.values() if f.repeated or f.kind == "text map"
    }
    try:
        for number, wire, value in parts(raw):
            field = fields.get(number)
            if field is not None:
                _take(decoded, field, wire, value, schemas)
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise RegistryError(
            f"{len(raw)} bytes are no {message} of Feast's: {error}",
            hint="give the registry file that Feast wrote, uncompressed",
        ) from None
    return decoded


def parts(raw: bytes | memoryview) -> Iterator[tuple[int, int, Any]]:
    """The fields of a message as they lie: number, wire type, and a number or bytes."""
    data, at = memoryview(raw), 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at > len(data) or number == 0:
            raise ValueError(f"field {number} is cut short")
        yield number, wire, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number of more than 10 bytes at byte {at}")


def varint(value: int) -> bytes:
    """A number that is not negative in base 128, least digit first.

    >>> varint(1).hex(), varint(300).hex()
    ('01', 'ac02')
    """
    if value < 0x80:
        return _DIGITS[value]
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


_DIGITS: Final = tuple(bytes([value]) for value in range(0x80))


def _take(decoded: Message, field: FieldKind, wire: int, value: Any, schemas: Mapping[str, Schema]) -> None:
    if field.kind == "text map":
        entry = {number: bytes(part).decode() for number, _, part in parts(value)}
        decoded[field.name][entry.get(1, "")] = entry.get(2, "")
    elif field.repeated and wire == _BYTES and field.kind in _PACKED:
        decoded[field.name] += _packed(value, field.kind)
    elif field.repeated:
        decoded[field.name].append(_value(field.kind, value, schemas))
    else:
        decoded[field.name] = _value(field.kind, value, schemas)


_PACKED: Final = frozenset({"int", "bool", "double", "float"})


def _packed(value: memoryview, kind: str) -> list[Any]:
    if kind == "double":
        return [number for (number,) in _DOUBLE.iter_unpack(value)]
    if kind == "float":
        return [number for (number,) in _FLOAT.iter_unpack(value)]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(_value(kind, number, {}))
    return numbers


def _value(kind: str, value: Any, schemas: Mapping[str, Schema]) -> Any:
    match kind:
        case "int":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "bool":
            return bool(value)
        case "text":
            return bytes(value).decode()
        case "bytes":
            return bytes(value)
        case "double":
            return _DOUBLE.unpack(value)[0]
        case "float":
            return _FLOAT.unpack(value)[0]
        case "micros":
            whole = decode(value, "micros", {"micros": _SECONDS})
            return whole.get("seconds", 0) * 1_000_000 + whole.get("nanos", 0) // 1_000
    return decode(value, kind, schemas)


_SECONDS: Final = schema(seconds=(1, "int"), nanos=(2, "int"))
