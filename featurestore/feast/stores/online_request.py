"""One online request on its way: its keys, and Feast's response once the rows are there."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from feast import utils
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from featurestore.codec import ORDER_START
from featurestore.codec.header import BIAS
from featurestore.errors import RequestError
from featurestore.feast.stores.online_layout import RowForms
from featurestore.feast.stores.online_plan import OnlinePlan, PlannedRead
from featurestore.feast.stores.online_response import ColumnarResponse, FeastColumn
from featurestore.feast.stores.values import ValueCodec, is_null, to_native, value_codec
from featurestore.online.response import EXPIRED, NOT_FOUND, NULL, PRESENT
from featurestore.online.store import OnlineStore
from featurestore.registry import types as t

_EVENT_TIME: Final = struct.Struct(">Q")
_AS_GIVEN: Final = ValueCodec(t.String, to_native, lambda value: python_values_to_proto_values([value])[0])


class OnlineRequest:
    """A request made definite.

    Raises:
        RequestError: rows that are not alike, a join key or request column that is missing.
    """

    def __init__(self, plan: OnlinePlan, entity_rows: Any) -> None:
        self._plan = plan
        given = {name: list(map(to_native, values)) for name, values in _columns(entity_rows).items()}
        given = {plan.entity_names.get(name, name) if name not in plan.key_types else name: v for name, v in given.items()}
        lengths = {len(values) for values in given.values()}
        if len(lengths) > 1:
            raise RequestError("the columns of the entities are not of one length", hint="one value an entity in each column")
        self._count = lengths.pop() if lengths else 0
        self._joined = {name: values for name, values in given.items() if name in plan.key_types}
        self._request = {name: values for name, values in given.items() if name in plan.request_columns}
        self._check()
        self.keys = self._make_keys({**self._joined, DUMMY_ENTITY_ID: [DUMMY_ENTITY_VAL] * self._count})

    def _check(self) -> None:
        needed = {column for read in self._plan.reads for column in read.columns} - {DUMMY_ENTITY_ID}
        missing = sorted(needed - self._joined.keys()) or sorted(self._plan.request_columns - self._request.keys())
        if missing:
            raise RequestError(
                f"the entity rows lack {', '.join(missing)}", hint="give each entity all join keys and request data"
            )

    def _make_keys(self, columns: Mapping[str, Sequence[Any]]) -> list[bytes]:
        keys: list[bytes] = []
        for read in self._plan.reads:
            entities = read.layout.keys.of_columns(columns, read.columns) if read.columns else [b"{}"] * self._count
            # The key of a null entity is one that nothing is ever written to.
            keys += [read.layout.prefix + (entity or b"") for entity in entities]
        return keys

    def answer(
        self, rows: Sequence[bytes | None], now: int, store: OnlineStore, forms: RowForms, *, with_versions: bool = False
    ) -> OnlineResponse:
        """The response.

        Args:
            rows: of :attr:`keys`.
            now: microseconds, against which a ttl counts.
        """
        found: dict[str, FeastColumn] = {}
        for number, read in enumerate(self._plan.reads):
            mine = rows[number * self._count : (number + 1) * self._count]
            found |= _read_columns(read, mine, now, store, forms)
        joined = {name: _given(values, self._plan.key_types[name]) for name, values in self._joined.items()}
        versions = dict(read.view for read in self._plan.reads) if with_versions else {}
        if not self._plan.on_demand:
            columns = {**joined, **{name: found[name] for name in self._plan.names}}
            return ColumnarResponse(columns, self._plan.feature_types, versions)
        return self._with_on_demand(joined, found, versions)

    def _with_on_demand(
        self, joined: dict[str, FeastColumn], found: dict[str, FeastColumn], versions: Mapping[str, int]
    ) -> OnlineResponse:
        """On-demand features by Feast's own functions, then in the order asked for, with true statuses."""
        request = {name: _given(values, ValueType.UNKNOWN) for name, values in self._request.items()}
        everything = ColumnarResponse({**joined, **request, **found}, self._plan.feature_types, versions)
        types = dict(self._plan.feature_types)
        response: GetOnlineFeaturesResponse = everything.proto
        utils._augment_response_with_on_demand_transforms(
            response,
            list(self._plan.feature_refs),
            list(self._plan.on_demand),
            self._plan.full_feature_names,
            feature_types=types,
        )
        place = {name: i for i, name in enumerate(response.metadata.feature_names.val)}
        ordered = GetOnlineFeaturesResponse()
        ordered.metadata.feature_view_metadata.extend(response.metadata.feature_view_metadata)
        for name in (*joined, *self._plan.names):
            vector = response.results[place[name]]
            if name not in joined and name not in found:
                statuses = [FieldStatus.NULL_VALUE if is_null(value) else FieldStatus.PRESENT for value in vector.values]
                del vector.statuses[:]
                vector.statuses.extend(statuses)
            ordered.metadata.feature_names.val.append(name)
            ordered.results.append(vector)
        return OnlineResponse(ordered, feature_types=types)


def _columns(entity_rows: Any) -> Mapping[str, Sequence[Any]]:
    if isinstance(entity_rows, Mapping):
        return {name: values if isinstance(values, Sequence) else _listed(values) for name, values in entity_rows.items()}
    rows = list(entity_rows)
    names = list(rows[0]) if rows else []
    for number, row in enumerate(rows):
        if row.keys() != set(names):
            raise RequestError(
                f"entity row {number} has other keys than the first: {', '.join(row)}", hint="give all the same keys"
            )
    return {name: [row[name] for row in rows] for name in names}


def _listed(values: Any) -> list[Any]:
    """A protocol buffer of repeated values, or an array."""
    return list(getattr(values, "val", values))


def _given(values: list[Any], value_type: ValueType) -> FeastColumn:
    """What the caller brought, given back as it came."""
    codec = _AS_GIVEN if value_type is ValueType.UNKNOWN else value_codec(value_type)
    return FeastColumn(codec, values, [PRESENT if v is not None else NULL for v in values], [None] * len(values))


def _read_columns(
    read: PlannedRead, rows: Sequence[bytes | None], now: int, store: OnlineStore, forms: RowForms
) -> dict[str, FeastColumn]:
    oldest = None if read.layout.ttl is None else now - read.layout.ttl
    unpack = _EVENT_TIME.unpack_from
    times = [None if row is None else unpack(row, ORDER_START)[0] - BIAS for row in rows]
    statuses = [NOT_FOUND if time is None else EXPIRED if oldest is not None and time < oldest else PRESENT for time in times]
    there = [i for i, status in enumerate(statuses) if status == PRESENT]
    names = [feature for feature, _ in read.outputs]
    lists = forms.decode(store, read.layout, [rows[i] for i in there], names) if there else [[] for _ in names]  # type: ignore[misc]
    columns = {}
    for (feature, output), values in zip(read.outputs, lists, strict=True):
        whole: list[Any] = values
        if len(there) < len(rows):
            whole = [None] * len(rows)
            for i, value in zip(there, values, strict=True):
                whole[i] = value
        own: Sequence[str] = statuses
        if None in values:
            own = [NULL if v is None and status == PRESENT else status for v, status in zip(whole, statuses, strict=True)]
        columns[output] = FeastColumn(read.layout.values[feature], whole, own, times)
    return columns
