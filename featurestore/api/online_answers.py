"""Answers to online requests, as JSON and as Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from featurestore.api.wire import encode_column, to_json
from featurestore.registry.records import Field
from featurestore.registry.types import type_to_json
from featurestore.time import from_micros

if TYPE_CHECKING:
    from featurestore.online import OnlineResponse


def answer_document(response: OnlineResponse) -> dict[str, Any]:
    """An answer as data for :func:`featurestore.api.wire.to_json`, and for tables."""
    return {
        "features": {name: encode_column(column.values, column.field.type) for name, column in response.columns.items()},
        "statuses": response.statuses,
        "event_times": response.event_times,
        "metadata": _metadata(tuple((name, column.field) for name, column in response.columns.items()), len(response)),
    }


def answer_json(response: OnlineResponse) -> bytes:
    """An answer as JSON text, the same as :func:`answer_document` says.

    The features of one row share their statuses and times: each such list is written once and its text repeated.
    """
    written: dict[int, orjson.Fragment] = {}
    features, statuses, times = {}, {}, {}
    for name, column in response.columns.items():
        features[name] = encode_column(column.values, column.field.type)
        if id(column.statuses) not in written:
            written[id(column.statuses)] = orjson.Fragment(orjson.dumps(column.statuses))
        if id(column.times) not in written:
            written[id(column.times)] = orjson.Fragment(_times(column.times))
        statuses[name] = written[id(column.statuses)]
        times[name] = written[id(column.times)]
    metadata = _metadata_text(tuple((name, column.field) for name, column in response.columns.items()), len(response))
    return to_json({"features": features, "statuses": statuses, "event_times": times, "metadata": metadata})


def answer_arrow(response: OnlineResponse) -> bytes:
    """An answer as an Arrow IPC stream: the features, then ``NAME__status`` and ``NAME__event_time`` of each."""
    import pyarrow as pa

    table = response.to_arrow()
    instant = pa.timestamp("us", tz="UTC")
    for name, column in response.columns.items():
        table = table.append_column(f"{name}__status", pa.array(column.statuses, pa.string()))
        table = table.append_column(f"{name}__event_time", pa.array(column.times, instant))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _times(times: Sequence[int | None]) -> bytes:
    return to_json([None if time is None else from_micros(time) for time in times])


@lru_cache(maxsize=256)
def _metadata_text(fields: tuple[tuple[str, Field], ...], entities: int) -> orjson.Fragment:
    return orjson.Fragment(to_json(_metadata(fields, entities)))


def _metadata(fields: tuple[tuple[str, Field], ...], entities: int) -> dict[str, Any]:
    return {"entity_count": entities, "types": {name: type_to_json(field.type) for name, field in fields}}
