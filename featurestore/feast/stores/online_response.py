"""Feast's online response over columns: what is not asked for (statuses, protocol buffers) is never made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import pyarrow as pa
from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp

from featurestore.feast.stores.values import ValueCodec
from featurestore.registry import types as t
from featurestore.registry.types import to_arrow

PRESENT, NULL = FieldStatus.PRESENT, FieldStatus.NULL_VALUE
NOT_FOUND, EXPIRED = FieldStatus.NOT_FOUND, FieldStatus.OUTSIDE_MAX_AGE


class FoundRows:
    """The rows of one view: which are served, and when they happened.

    Args:
        times: event time in microseconds; None where there is no row.
        oldest: what happened before is not served.
    """

    __slots__ = ("oldest", "times")

    def __init__(self, times: Sequence[int | None], oldest: int | None) -> None:
        self.times = times
        self.oldest = oldest

    def served(self) -> list[int] | None:
        """Where rows are served; None: everywhere."""
        oldest = self.oldest
        if None not in self.times and (oldest is None or min(cast("Sequence[int]", self.times), default=oldest) >= oldest):
            return None
        return [i for i, time in enumerate(self.times) if time is not None and (oldest is None or time >= oldest)]

    def statuses(self, values: Sequence[Any]) -> list[int]:
        """Feast's numbers for what became of each value."""
        return [self._status(time, value) for time, value in zip(self.times, values, strict=True)]

    def _status(self, time: int | None, value: Any) -> int:
        if time is None:
            return int(NOT_FOUND)
        if self.oldest is not None and time < self.oldest:
            return int(EXPIRED)
        return int(NULL if value is None else PRESENT)


class FeastColumn:
    """One column of an answer: values in the column's own type, and the rows that they are from; None: the caller's own."""

    __slots__ = ("codec", "rows", "values")

    def __init__(self, codec: ValueCodec, values: list[Any], rows: FoundRows | None) -> None:
        self.codec = codec
        self.values = values
        self.rows = rows

    @property
    def statuses(self) -> list[int]:
        """Of each value."""
        if self.rows is None:
            return [int(NULL if value is None else PRESENT) for value in self.values]
        return self.rows.statuses(self.values)

    @property
    def times(self) -> Sequence[int | None]:
        """Event times in microseconds."""
        return [None] * len(self.values) if self.rows is None else self.rows.times


class ColumnarResponse(OnlineResponse):  # type: ignore[misc]
    """What ``get_online_features`` returns.

    Args:
        columns: in the order asked for.
        views: versions by view, where they were asked for.
    """

    def __init__(
        self,
        columns: Mapping[str, FeastColumn],
        feature_types: Mapping[str, ValueType],
        views: Mapping[str, int] | None = None,
    ) -> None:
        self.columns = columns
        self._feature_types = feature_types
        self._views = views or {}

    @cached_property
    def proto(self) -> GetOnlineFeaturesResponse:
        """The answer as Feast's servers send it."""
        response = GetOnlineFeaturesResponse()
        stamps: dict[int, list[Timestamp]] = {}
        for name, column in self.columns.items():
            response.metadata.feature_names.val.append(name)
            shared = id(column.rows)
            if shared not in stamps:  # the features of one row share its times
                stamps[shared] = _timestamps(column.times)
            response.results.add(
                values=column.codec.write_protos(column.values), statuses=column.statuses, event_timestamps=stamps[shared]
            )
        for view, version in self._views.items():
            response.metadata.feature_view_metadata.add(name=view, version=version)
        return response

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        """The values of each column, and under ``..__ts`` the seconds of their event times where asked for."""
        if not include_event_timestamps:
            return {name: column.codec.pythons(column.values) for name, column in self.columns.items()}
        made: dict[str, Any] = {}
        for name, column in self.columns.items():
            made[name] = column.codec.pythons(column.values)
            made[name + TIMESTAMP_POSTFIX] = [0 if time is None else time // 1_000_000 for time in column.times]
        return made

    def to_df(self, include_event_timestamps: bool = False) -> Any:
        """A pandas frame. Integers beside nulls are pandas' nullable ones: no value goes through a float."""
        import pandas as pd

        found = self.to_dict(include_event_timestamps)
        for name, column in self.columns.items():
            if column.codec.type in (t.Int32, t.Int64) and None in column.values:
                found[name] = pd.array(found[name], dtype=repr(column.codec.type))
        return pd.DataFrame(found)

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        """An Arrow table, in the features' own types where Arrow has them, even where all values are null."""
        table: pa.Table = super().to_arrow(include_event_timestamps)
        for name, column in self.columns.items():
            if column.codec.arrow and column.rows is not None:
                place = table.column_names.index(name)
                table = table.set_column(place, name, pa.array(column.values, to_arrow(column.codec.type)))
        return table


def _timestamps(times: Iterable[int | None]) -> list[Timestamp]:
    return [
        Timestamp() if time is None else Timestamp(seconds=time // 1_000_000, nanos=time % 1_000_000 * 1_000) for time in times
    ]
