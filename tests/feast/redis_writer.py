"""Rows as Feast's Redis store writes them, without Feast."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from featurestore.feast.redis_rows import field_name, key_prefix, time_field
from featurestore.feast.value_messages import VALUES
from featurestore.time import to_micros
from tests.feast.protobuf_writer import encode


def entity_key(join_keys: Mapping[str, Any], project: str) -> bytes:
    """The key of an entity: integers of 64 bits, and texts."""
    parts = [key_prefix(tuple(join_keys))]
    for _, value in sorted(join_keys.items()):
        kind, raw = (4, struct.pack("<q", value)) if isinstance(value, int) else (2, value.encode())
        parts.append(struct.pack("<II", kind, len(raw)) + raw)
    return b"".join(parts) + project.encode()


def fields_of(view: str, values: Mapping[str, Mapping[str, Any]], when: datetime) -> dict[bytes, bytes]:
    """The hash fields of a row; each value as ``{"int64_val": 1}``."""
    seconds, micros = divmod(to_micros(when), 1_000_000)
    time = encode({"seconds": seconds, "nanos": micros * 1_000}, "Time", VALUES)
    return {
        time_field(view): time,
        **{field_name(view, name): encode(value, "Value", VALUES) for name, value in values.items()},
    }
