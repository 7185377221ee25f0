"""What Feast's Redis store holds, read without Feast: its keys, and the values in them.

One hash an entity key, whatever the views: the key is the join keys' names and values, then the name of the project; a field
``_ts:{view}`` holds the event time of a row, and a hash of ``{view}:{feature}`` in four bytes names the field of a value.
Source: Feast's online store format, entity key serialization version 3.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from featurestore.errors import OnlineStoreError
from featurestore.feast.murmur3 import murmur3_32
from featurestore.feast.value_messages import VALUES, read_content
from featurestore.feast.wire import decode
from featurestore.registry import types as t
from featurestore.time import from_micros

_STRING: Final = 2
_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class EntityKey:
    """A key of the store: join keys by name, and the project that ends it."""

    join_keys: dict[str, Any]
    project: bytes


def read_entity_key(raw: bytes) -> EntityKey | None:
    """An entity key; None where the bytes are none, for the store may hold other things too."""
    try:
        (count,) = struct.unpack_from("<I", raw, 0)
        if not 0 < count <= 64:
            return None
        at, names = 4, []
        for _ in range(count):
            kind, size = struct.unpack_from("<II", raw, at)
            if kind != _STRING or at + 8 + size > len(raw):
                return None
            names.append(raw[at + 8 : at + 8 + size].decode())
            at += 8 + size
        values = []
        for _ in range(count):
            kind, size = struct.unpack_from("<II", raw, at)
            if at + 8 + size > len(raw):
                return None
            values.append(_key_value(kind, raw[at + 8 : at + 8 + size]))
            at += 8 + size
    except (struct.error, UnicodeDecodeError, KeyError):
        return None
    return EntityKey(dict(zip(names, values, strict=True)), raw[at:])


def _key_value(kind: int, raw: bytes) -> Any:
    match kind:
        case 1:
            return raw
        case 2:
            return raw.decode()
        case 3:
            return struct.unpack("<i", raw)[0]
        case 4:
            return struct.unpack("<q", raw)[0]
        case 8:
            return from_micros(struct.unpack("<q", raw)[0] * 1_000_000)
    raise KeyError(kind)


def key_prefix(join_keys: Sequence[str]) -> bytes:
    """What the keys of entities with these join keys begin with."""
    names = sorted(join_keys)
    parts = [struct.pack("<I", len(names))]
    for name in names:
        encoded = name.encode()
        parts += [struct.pack("<II", _STRING, len(encoded)), encoded]
    return b"".join(parts)


def field_name(view: str, feature: str) -> bytes:
    """The hash field of a feature."""
    return murmur3_32(f"{view}:{feature}".encode()).to_bytes(4, "little")


def time_field(view: str) -> bytes:
    """The hash field of a view's event time."""
    return f"_ts:{view}".encode()


def read_time(raw: bytes) -> datetime:
    """An event time, to the microsecond."""
    found = decode(raw, "Time", VALUES)
    return from_micros(found.get("seconds", 0) * 1_000_000 + found.get("nanos", 0) // 1_000)


def read_value(raw: bytes, data_type: t.DataType) -> Any:
    """A value as one of ours; None where it is null.

    Raises:
        OnlineStoreError: it is of another kind than the feature.
    """
    return _as(read_content(raw), data_type)


def _as(value: Any, data_type: t.DataType) -> Any:
    if value is None:
        return None
    if isinstance(value, dict) and data_type == t.String:
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, list) and isinstance(data_type, t.List | t.Vector):
        return [_as(item, data_type.inner) for item in value]
    if data_type in t.FLOATS and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


@dataclass(frozen=True, slots=True)
class WantedView:
    """A view to be read.

    Args:
        name: in Feast.
        join_keys: their names.
        types: of the features, by name.
    """

    name: str
    join_keys: tuple[str, ...]
    types: Mapping[str, t.DataType]


def read_rows(client: Any, project: str, view: WantedView) -> Iterator[list[dict[str, Any]]]:
    """The rows of a view, in batches: join keys, features, and ``event_time``.

    Only keys that end in exactly this project's name are read: ``mydemo`` is not ``demo``.

    Args:
        client: a redis-py client.
    """
    fields = [time_field(view.name), *(field_name(view.name, feature) for feature in view.types)]
    batch: list[tuple[bytes, EntityKey]] = []
    for raw in client.scan_iter(match=_literal(key_prefix(view.join_keys)) + b"*", count=_BATCH):
        key = read_entity_key(raw)
        if key is not None and key.project == project.encode() and key.join_keys.keys() == set(view.join_keys):
            batch.append((raw, key))
        if len(batch) == _BATCH:
            yield _rows(client, fields, batch, view)
            batch = []
    if batch:
        yield _rows(client, fields, batch, view)


def _rows(
    client: Any, fields: Sequence[bytes], batch: Sequence[tuple[bytes, EntityKey]], view: WantedView
) -> list[dict[str, Any]]:
    with client.pipeline(transaction=False) as pipeline:
        for raw, _ in batch:
            pipeline.hmget(raw, fields)
        answers = pipeline.execute()
    rows = []
    for (_, key), (time, *values) in zip(batch, answers, strict=True):
        if time is None:
            continue  # an entity of other views
        features = {
            name: None if value is None else _checked(view, name, value) for name, value in zip(view.types, values, strict=True)
        }
        rows.append({**key.join_keys, **features, "event_time": read_time(time)})
    return rows


def _checked(view: WantedView, feature: str, raw: bytes) -> Any:
    try:
        return read_value(raw, view.types[feature])
    except Exception as error:
        raise OnlineStoreError(
            f"{view.name}:{feature} holds what is no value of Feast's: {error}", hint="is the store that of this project?"
        ) from error


def _literal(prefix: bytes) -> bytes:
    """A prefix for ``MATCH``, in which no byte is a wildcard."""
    return b"".join(b"\\" + bytes([byte]) if byte in b"*?[]\\^" else bytes([byte]) for byte in prefix)
