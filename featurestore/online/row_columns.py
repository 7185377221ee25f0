"""Columns of features from the rows of a view without windows: statuses, times, values."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np

from featurestore.codec import ORDER_START
from featurestore.codec.header import BIAS
from featurestore.errors import RequestError
from featurestore.online.plan import RowGroup, ViewRead
from featurestore.online.response import EXPIRED, NOT_FOUND, NULL, PRESENT, Column, Status
from featurestore.online.window_blocks import UnknownRowError
from featurestore.time import from_micros

_EVENT_TIME: Final = struct.Struct(">Q")
_FEW: Final = 16
"""Up to this many rows Python looks at event times quicker than numpy does."""


def row_columns(read: ViewRead, rows: Sequence[bytes | None], count: int, now: int) -> dict[str, Column]:
    """The features of ``count`` entities at an instant, by internal name, from their rows, group after group.

    Raises:
        UnknownRowError: a row of a schema that the plan does not know.
    """
    columns: dict[str, Column] = {}
    entity: tuple[list[Status], list[int | None]] | None = None
    for n, group in enumerate(read.groups):
        part = rows[n * count : (n + 1) * count]
        statuses, times = _row_statuses(part, read.ttl, now)
        if entity is None:
            entity = statuses, times
        else:
            statuses, times = _feature_statuses(statuses, times, *entity)
        _add_columns(columns, group, part, statuses, times)
    return columns


def check_held(read: ViewRead, rows: Sequence[bytes | None], instant: int) -> None:
    """Of a view without windows only the newest row is kept: what was before it cannot be answered.

    Raises:
        RequestError: a row is newer than ``instant``.
    """
    for row in rows:
        if row is not None and _EVENT_TIME.unpack_from(row, ORDER_START)[0] - BIAS > instant:
            raise RequestError(
                f"feature view {read.lookup.view.name!r} has moved on since at={from_micros(instant):%Y-%m-%d %H:%M:%S%z}",
                hint="the online store keeps its newest row only: get_historical_features answers any instant",
            )


def _row_statuses(rows: Sequence[bytes | None], ttl: int | None, now: int) -> tuple[list[Status], list[int | None]]:
    oldest = None if ttl is None else now - ttl
    if len(rows) > _FEW and None not in rows:
        times = _event_times(rows)  # type: ignore[arg-type]
        if times.max() <= now and (oldest is None or times.min() >= oldest):
            known: list[int | None] = times.tolist()
            return [PRESENT] * len(rows), known
    statuses: list[Status] = []
    when: list[int | None] = []
    unpack = _EVENT_TIME.unpack_from
    for row in rows:
        event_time = None if row is None else unpack(row, ORDER_START)[0] - BIAS
        if event_time is None or event_time > now:  # what has not happened yet is not there
            statuses.append(NOT_FOUND)
            when.append(None)
        else:
            statuses.append(PRESENT if oldest is None or event_time >= oldest else EXPIRED)
            when.append(event_time)
    return statuses, when


def _event_times(rows: Sequence[bytes]) -> np.ndarray[Any, Any]:
    end = ORDER_START + _EVENT_TIME.size
    biased = np.frombuffer(b"".join([row[ORDER_START:end] for row in rows]), ">u8").astype(np.uint64)
    times: np.ndarray[Any, Any] = (biased ^ np.uint64(BIAS)).view(np.int64)
    return times


def _feature_statuses(
    statuses: list[Status], times: list[int | None], entity: list[Status], entity_times: list[int | None]
) -> tuple[list[Status], list[int | None]]:
    """Of a ``last_non_null`` feature: without a value of its own it is null where the entity was seen recently enough."""
    made: list[Status] = []
    when: list[int | None] = []
    for own, own_time, seen, seen_time in zip(statuses, times, entity, entity_times, strict=True):
        made.append(PRESENT if own == PRESENT else NULL if seen == PRESENT else seen)
        when.append(own_time if own == PRESENT else seen_time)
    return made, when


def _add_columns(
    columns: dict[str, Column],
    group: RowGroup,
    rows: Sequence[bytes | None],
    statuses: list[Status],
    times: list[int | None],
) -> None:
    if statuses.count(PRESENT) == len(rows):
        lists, nulls = _decode(group, rows)  # type: ignore[arg-type]
    else:
        positions = [i for i, status in enumerate(statuses) if status == PRESENT]
        found, nulls = _decode(group, [rows[i] for i in positions])  # type: ignore[misc]
        lists = [_spread(values, positions, len(rows)) for values in found]
    columns.update(zip(group.names, map(Column._make, zip(group.fields, lists, repeat(statuses), repeat(times))), strict=True))
    for n in nulls:
        name, field = group.names[n], group.fields[n]
        values = lists[n]
        own: list[Status] = [
            NULL if value is None and status == PRESENT else status for value, status in zip(values, statuses, strict=True)
        ]
        columns[name] = Column(field, values, own, times)


def _spread(found: Sequence[object], positions: Sequence[int], count: int) -> list[object]:
    """Values at their positions, null at all others."""
    values: list[object] = [None] * count
    for i, value in zip(positions, found, strict=True):
        values[i] = value
    return values


def _decode(group: RowGroup, rows: Sequence[bytes]) -> tuple[list[list[object]], Sequence[int]]:
    """The group's features of rows, which nearly always have the newest of their schemas, and which of them have nulls."""
    headers = {row[:ORDER_START] for row in rows}
    if len(headers) == 1 and (reading := group.readings.get(headers.pop())) and len(reading.places) == len(group.fields):
        return reading.reader.read(rows)
    return _decode_mixed(group, rows)


def _decode_mixed(group: RowGroup, rows: Sequence[bytes]) -> tuple[list[list[object]], Sequence[int]]:
    """Rows of several schemas; a feature that a row's schema lacks is null."""
    lists: list[list[object]] = [[None] * len(rows) for _ in group.fields]
    left = len(rows)
    for header, reading in group.readings.items():
        mine = [i for i, row in enumerate(rows) if row.startswith(header)]
        left -= len(mine)
        for place, values in zip(reading.places, reading.reader.read([rows[i] for i in mine])[0], strict=True):
            target = lists[place]
            for i, value in zip(mine, values, strict=True):
                target[i] = value
    if left:
        raise UnknownRowError
    return lists, range(len(lists))
