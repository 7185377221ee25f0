"""One online request on its way: its keys, and Feast's response once the rows are there."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from feast import utils
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse

from featurestore.codec import ORDER_START
from featurestore.codec.header import BIAS
from featurestore.errors import RequestError
from featurestore.feast.stores.online_layout import RowForms
from featurestore.feast.stores.online_plan import AS_GIVEN, OnlinePlan, PlannedRead
from featurestore.feast.stores.online_response import ColumnarResponse, FeastColumn, FoundRows
from featurestore.feast.stores.values import Value, is_null, to_native
from featurestore.online.store import OnlineStore

_EVENT_TIME: Final = struct.Struct(">Q")


class OnlineRequest:
    """A request made definite.

    Raises:
        RequestError: rows that are not alike, a join key or request column that is missing.
    """

    __slots__ = ("_count", "_joined", "_plan", "_request", "keys")

    def __init__(self, plan: OnlinePlan, entity_rows: Any) -> None:
        self._plan = plan
        given = _columns(entity_rows)
        lengths = set(map(len, given.values()))
        if len(lengths) > 1:
            raise RequestError("the columns of the entities are not of one length", hint="one value an entity in each column")
        self._count = lengths.pop() if lengths else 0
        self._joined: dict[str, list[Any]] = {}
        self._request: dict[str, list[Any]] = {}
        for name, values in given.items():
            ours = name if name in plan.keys else plan.entity_names.get(name, name)
            if ours in plan.keys:
                self._joined[ours] = values
            if ours in plan.request_columns:
                self._request[ours] = values
        self._check()
        self.keys = self._make_keys()

    def _check(self) -> None:
        plan = self._plan
        if plan.needed <= self._joined.keys() and plan.request_columns <= self._request.keys():
            return
        missing = sorted(plan.needed - self._joined.keys()) or sorted(plan.request_columns - self._request.keys())
        raise RequestError(f"the entity rows lack {', '.join(missing)}", hint="give each entity all join keys and request data")

    def _make_keys(self) -> list[bytes]:
        keys: list[bytes] = []
        columns: Mapping[str, list[Any]] = self._joined
        if self._plan.without_entities:
            columns = {**columns, DUMMY_ENTITY_ID: [DUMMY_ENTITY_VAL] * self._count}
        for read in self._plan.reads:
            prefix = read.layout.prefix
            entities = read.layout.keys.of_columns(columns, read.columns) if read.columns else [b"{}"] * self._count
            # The key of a null entity is one that nothing is ever written to.
            keys += [prefix + (entity or b"") for entity in entities]
        return keys

    def answer(
        self, rows: Sequence[bytes | None], now: int, store: OnlineStore, forms: RowForms, *, with_versions: bool = False
    ) -> OnlineResponse:
        """The response.

        Args:
            rows: of :attr:`keys`.
            now: microseconds, against which a ttl counts.
        """
        plan, count = self._plan, self._count
        found: dict[str, FeastColumn] = {}
        for number, read in enumerate(plan.reads):
            mine = rows if len(plan.reads) == 1 else rows[number * count : (number + 1) * count]
            _read_columns(found, read, mine, now, store, forms)
        columns = {name: FeastColumn(plan.keys[name], values, None) for name, values in self._joined.items()}
        versions = dict(read.view for read in plan.reads) if with_versions else None
        if plan.on_demand:
            return self._with_on_demand(columns, found, versions)
        for name in plan.names:
            columns[name] = found[name]
        return ColumnarResponse(columns, plan.feature_types, versions)

    def _with_on_demand(
        self, joined: dict[str, FeastColumn], found: dict[str, FeastColumn], versions: Mapping[str, int] | None
    ) -> OnlineResponse:
        """On-demand features by Feast's own functions, then in the order asked for, with true statuses."""
        request = {name: FeastColumn(AS_GIVEN, values, None) for name, values in self._request.items()}
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


def _columns(entity_rows: Any) -> dict[str, list[Any]]:
    if isinstance(entity_rows, Mapping):
        # A column may also be a protocol buffer of repeated values, or an array.
        given: dict[str, Any] = {name: getattr(values, "val", values) for name, values in entity_rows.items()}
    else:
        given = _turned(list(entity_rows))
    return {
        name: [to_native(v) if isinstance(v, Value) else v for v in values] if Value in set(map(type, values)) else list(values)
        for name, values in given.items()
    }


def _turned(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as columns.

    Raises:
        RequestError: a row has other keys than the first.
    """
    names = rows[0].keys() if rows else ()
    if sum(map(len, rows)) == len(names) * len(rows):
        with suppress(KeyError):
            return {name: [row[name] for row in rows] for name in names}
    number = next(number for number, row in enumerate(rows) if row.keys() != names)
    raise RequestError(
        f"entity row {number} has other keys than the first: {', '.join(rows[number])}", hint="give all the same keys"
    )


def _read_columns(
    columns: dict[str, FeastColumn],
    read: PlannedRead,
    rows: Sequence[bytes | None],
    now: int,
    store: OnlineStore,
    forms: RowForms,
) -> None:
    unpack = _EVENT_TIME.unpack_from
    times = [None if row is None else unpack(row, ORDER_START)[0] - BIAS for row in rows]
    found = FoundRows(times, None if read.layout.ttl is None else now - read.layout.ttl)
    served = found.served()
    there: Sequence[Any] = rows if served is None else [rows[i] for i in served]
    lists = forms.decode(store, read.layout, there, read.names) if there else [[] for _ in read.names]
    for output, codec, values in zip(read.outputs, read.codecs, lists, strict=True):
        whole: list[Any] = values
        if served is not None:
            whole = [None] * len(rows)
            for i, value in zip(served, values, strict=True):
                whole[i] = value
        columns[output] = FeastColumn(codec, whole, found)
