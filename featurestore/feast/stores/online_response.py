"""Feast's online response over columns: protocol buffers are made only for those who ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp

from featurestore.feast.stores.values import ValueCodec
from featurestore.online.response import EXPIRED, NOT_FOUND, NULL, PRESENT

STATUSES = {
    PRESENT: FieldStatus.PRESENT,
    NULL: FieldStatus.NULL_VALUE,
    NOT_FOUND: FieldStatus.NOT_FOUND,
    EXPIRED: FieldStatus.OUTSIDE_MAX_AGE,
}


@dataclass(frozen=True, slots=True)
class FeastColumn:
    """One column of an answer: values in the column's own type, statuses of ours, event times in microseconds."""

    codec: ValueCodec
    values: list[Any]
    statuses: Sequence[str]
    times: Sequence[int | None]


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
        self._feature_types = dict(feature_types)
        self._views = views or {}

    @cached_property
    def proto(self) -> GetOnlineFeaturesResponse:
        """The answer as Feast's servers send it."""
        response = GetOnlineFeaturesResponse()
        stamps: dict[int, list[Timestamp]] = {}
        for name, column in self.columns.items():
            response.metadata.feature_names.val.append(name)
            if id(column.times) not in stamps:  # the features of one row share their list of times
                stamps[id(column.times)] = [_timestamp(time) for time in column.times]
            response.results.add(
                values=column.codec.write_protos(column.values),
                statuses=[STATUSES[status] for status in column.statuses],
                event_timestamps=stamps[id(column.times)],
            )
        for view, version in self._views.items():
            response.metadata.feature_view_metadata.add(name=view, version=version)
        return response

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        """The values of each column, and under ``..__ts`` the seconds of their event times where asked for."""
        made: dict[str, Any] = {}
        for name, column in self.columns.items():
            made[name] = column.codec.pythons(column.values)
            if include_event_timestamps:
                made[name + TIMESTAMP_POSTFIX] = [0 if time is None else time // 1_000_000 for time in column.times]
        return made


def _timestamp(micros: int | None) -> Timestamp:
    return Timestamp() if micros is None else Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)
