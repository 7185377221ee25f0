"""Writes protocol buffers from the schemas that ``featurestore.feast`` reads: registries for tests, without Feast."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from featurestore.feast.messages import MESSAGES
from featurestore.feast.wire import FieldKind, Schema


def encode(message: Mapping[str, Any], name: str, schemas: Mapping[str, Schema] = MESSAGES) -> bytes:
    """The bytes of a message given as a dictionary of its fields."""
    numbers = {field.name: (number, field) for number, field in schemas[name].items()}
    return b"".join(
        _field(*numbers[key], item, schemas)
        for key, value in message.items()
        for item in (value if numbers[key][1].repeated else [value])
    )


def _field(number: int, field: FieldKind, value: Any, schemas: Mapping[str, Schema]) -> bytes:
    match field.kind:
        case "int" | "bool":
            return varint(number << 3) + varint(int(value) % (1 << 64))
        case "double":
            return varint(number << 3 | 1) + struct.pack("<d", value)
        case "float":
            return varint(number << 3 | 5) + struct.pack("<f", value)
        case "text map":
            return b"".join(_bytes(number, _bytes(1, k.encode()) + _bytes(2, v.encode())) for k, v in value.items())
        case "text":
            return _bytes(number, value.encode())
        case "bytes":
            return _bytes(number, value)
        case "micros":
            seconds, micros = divmod(value, 1_000_000)
            return _bytes(number, varint(8) + varint(seconds % (1 << 64)) + varint(16) + varint(micros * 1_000))
    return _bytes(number, encode(value, field.kind, schemas))


def _bytes(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """A number in base 128, least digit first."""
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
