"""Look-ups: one read of the store for all views and entities of a request, then statuses, values and on-demand functions."""

from __future__ import annotations

import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from featurestore.codec import ORDER_START
from featurestore.codec.header import BIAS
from featurestore.errors import NotFoundError, OnlineStoreError, RequestError, RetrievalError
from featurestore.features import OnDemandCall, references_of
from featurestore.online.keys import as_instant, generation_key
from featurestore.online.plan import OnlinePlan, RowGroup, ViewRead, make_plan
from featurestore.online.request import entity_columns, request_columns
from featurestore.online.response import EXPIRED, NOT_FOUND, NULL, PRESENT, Column, OnlineResponse, Status
from featurestore.online.window_blocks import UnknownRowError
from featurestore.project import Project
from featurestore.registry import types as t
from featurestore.time import from_micros, to_micros

if TYPE_CHECKING:
    from featurestore.registry.definitions import Definitions
    from featurestore.registry.records import Field

_EVENT_TIME: Final = struct.Struct(">Q")
_ATTEMPTS: Final = 5


class OnlineReader:
    """Answers online requests of one project. Safe to share between threads and event loops.

    The plan of a request is made once per registry revision. That another version of a view is served is seen at once, by
    a token that is read together with the rows; that another revision was applied, by asking the catalog.

    Args:
        project: whose features.
        refresh_seconds: how long the newest revision may go unnoticed; 0 asks the catalog with every request.
        timer: seconds of a clock that never goes back.
    """

    def __init__(self, project: Project, *, refresh_seconds: float = 0.0, timer: Callable[[], float] = time.monotonic) -> None:
        self._project = project
        self._refresh_seconds = refresh_seconds
        self._timer = timer
        self._known: _Known | None = None

    def read(
        self,
        features: Any,
        entities: Any,
        *,
        request: Any = None,
        full_feature_names: bool = False,
        at: datetime | str | None = None,
    ) -> OnlineResponse:
        """See :func:`get_online_features`."""
        store = self._project.online
        known = self._current()
        for _ in range(_ATTEMPTS):
            lookup = _Lookup(
                self._plan(known, features, full_feature_names=full_feature_names), entities, request, known.token_key
            )
            token, *rows = store.read(lookup.keys)
            if token == known.token:
                try:
                    return lookup.answer(rows, *self._instants(at))
                except UnknownRowError:
                    pass
            known = self._reload()
        raise _restless()

    async def aread(
        self,
        features: Any,
        entities: Any,
        *,
        request: Any = None,
        full_feature_names: bool = False,
        at: datetime | str | None = None,
    ) -> OnlineResponse:
        """See :func:`aget_online_features`."""
        store = self._project.online
        known = self._current()
        for _ in range(_ATTEMPTS):
            lookup = _Lookup(
                self._plan(known, features, full_feature_names=full_feature_names), entities, request, known.token_key
            )
            token, *rows = await store.aread(lookup.keys)
            if token == known.token:
                try:
                    return lookup.answer(rows, *self._instants(at))
                except UnknownRowError:
                    pass
            known = self._reload()
        raise _restless()

    def inputs(self, features: Any) -> tuple[Field, ...]:
        """The columns that a request for these features brings: join keys, then what request sources need.

        Raises:
            RequestError: an unknown service, view or feature.
        """
        plan = self._plan(self._current(), features, full_feature_names=False)
        return (*plan.key_fields, *plan.request_fields)

    def _instants(self, at: datetime | str | None) -> tuple[int, int]:
        """The instant that is asked about, and what the clock says."""
        now = to_micros(self._project.clock.now())
        return (now, now) if at is None else (_past("at", at, now), now)

    def key_fields(self, features: Any) -> tuple[Field, ...]:
        """The columns of :meth:`inputs` that are join keys."""
        return self._plan(self._current(), features, full_feature_names=False).key_fields

    def _current(self) -> _Known:
        known, now = self._known, self._timer()
        if known is None:
            return self._reload()
        if now - known.checked_at >= self._refresh_seconds:
            newest = self._project.catalog.newest()
            if (newest.number if newest else 0) != known.revision:
                return self._reload()
            known.checked_at = now
        return known

    def _reload(self) -> _Known:
        # The token first: what is served may change while the rest is read, and is then read again.
        key = generation_key(self._project.catalog.project)
        (token,) = self._project.online.read([key])
        newest = self._project.catalog.newest()
        known = _Known(newest.number if newest else 0, self._project.definitions, key, token, self._timer())
        self._known = known
        return known

    def _plan(self, known: _Known, features: Any, *, full_feature_names: bool) -> OnlinePlan:
        key = (_plan_key(known.definitions, features), full_feature_names)
        plan = known.plans.get(key)
        if plan is None:
            plan = make_plan(self._project.catalog, known.definitions, features, full_feature_names=full_feature_names)
            known.plans[key] = plan
        return plan


class ServedProject(Project, Protocol):
    """A project that keeps one reader for all its requests."""

    @property
    def online_reader(self) -> OnlineReader:
        """The reader."""


def get_online_features(
    project: ServedProject,
    features: Any,
    entities: Any,
    *,
    request: Any = None,
    full_feature_names: bool = False,
    at: datetime | str | None = None,
) -> OnlineResponse:
    """The newest features of each entity as of the project's clock, in one round trip (in a cluster: one a node).

    A row counts while its event time is not in the future, and within the view's ttl (both ends closed): else its values are
    null with status ``EXPIRED``. Windows end at that instant. Entities may
    repeat and come back in the order asked; a null key finds nothing.

    Args:
        features: a service or its name, or views and references.
        entities: one mapping of join keys per entity, or columns.
        request: what request sources need, row for row with ``entities``.
        full_feature_names: ``view__feature`` in place of ``feature``.
        at: an instant of the near past in place of now: what is known now of that instant. Refused where the store no longer
            holds what the exact answer needs.

    Raises:
        RequestError: an unknown feature, a missing join key or request column, a value of a wrong type, ``at=`` in the future
            or too long ago.
        OnlineStoreUnavailableError: the store does not answer.
    """
    return project.online_reader.read(features, entities, request=request, full_feature_names=full_feature_names, at=at)


def aget_online_features(
    project: ServedProject,
    features: Any,
    entities: Any,
    *,
    request: Any = None,
    full_feature_names: bool = False,
    at: datetime | str | None = None,
) -> Awaitable[OnlineResponse]:
    """As :func:`get_online_features`; requests that run at the same time share one connection to the store."""
    return project.online_reader.aread(features, entities, request=request, full_feature_names=full_feature_names, at=at)


class _Known:
    """What plans are made from, and the plans made."""

    def __init__(self, revision: int, definitions: Definitions, token_key: bytes, token: bytes | None, now: float) -> None:
        self.revision = revision
        self.definitions = definitions
        self.token_key = token_key
        self.token = token
        self.checked_at = now
        self.plans: dict[Any, OnlinePlan] = {}


def _restless() -> OnlineStoreError:
    return OnlineStoreError(
        "the online store holds rows of a form that the registry does not know, or what is served changes without end",
        hint="run `featurestore materialize --full`",
    )


def _plan_key(definitions: Definitions, features: Any) -> Any:
    if isinstance(features, str):
        return features
    if isinstance(features, list | tuple) and all(isinstance(feature, str) for feature in features):
        return tuple(features)
    try:
        return references_of(definitions, features)
    except (NotFoundError, RetrievalError) as error:
        raise RequestError(error.message, hint=error.hint) from error


class _Lookup:
    """One request on its way: its keys, and the answer once the rows are there."""

    def __init__(self, plan: OnlinePlan, entities: Any, request: Any, token_key: bytes) -> None:
        self.plan = plan
        self.columns, self.count = entity_columns(entities, plan.key_fields)
        self.request = request_columns(request, self.columns, plan.request_fields, self.count)
        self.keys = [token_key]
        encoded: dict[Any, list[bytes | None]] = {}
        for read in plan.reads:
            how = (read.lookup.key_columns, read.keys.join_keys)
            if how not in encoded:
                encoded[how] = read.keys.of_columns(self.columns, read.lookup.key_columns)
            for group in read.groups:
                prefix, suffix = read.prefix, group.suffix
                # The key of a null entity is one that nothing is ever written to.
                self.keys += [prefix + (entity or b"") + suffix for entity in encoded[how]]

    def answer(self, rows: Sequence[bytes | None], at_instant: int, now: int) -> OnlineResponse:
        columns: dict[str, Column] = {}
        at = 0
        for read in self.plan.reads:
            end = at + self.count * len(read.groups)
            for name, column in self._view_columns(read, rows[at:end], at_instant, now).items():
                columns[read.lookup.column(name)] = column
            at = end
        for call in self.plan.calls:
            columns |= _call(call, columns, self.request)
        return OnlineResponse({output.name: columns[output.source] for output in self.plan.outputs})

    def _view_columns(self, read: ViewRead, rows: Sequence[bytes | None], instant: int, now: int) -> dict[str, Column]:
        if read.windows is not None and read.groups:
            columns = read.windows.columns(rows, instant, now)
        else:
            if instant < now:
                _check_held(read, rows, instant)
            columns = _row_columns(read, rows, self.count, instant)
        for field in read.lookup.features:
            if field.name not in columns:  # the version that is served does not have it
                columns[field.name] = Column(field, [None] * self.count, [NOT_FOUND] * self.count, [None] * self.count)
        return columns


def _past(name: str, value: datetime | str, now: int) -> int:
    try:
        moment = as_instant(value)
    except (TypeError, ValueError):
        raise RequestError(f"{name} is {value!r}, not an instant", hint='send one such as "2024-01-31T12:00:00Z"') from None
    instant = to_micros(moment)
    if instant > now:
        raise RequestError(f"{name} is {value}, in the future", hint=f"leave {name} out to ask about now")
    return instant


def _check_held(read: ViewRead, rows: Sequence[bytes | None], instant: int) -> None:
    """Of a view without windows only the newest row is kept: what was before it cannot be answered."""
    for row in rows:
        if row is not None and _EVENT_TIME.unpack_from(row, ORDER_START)[0] - BIAS > instant:
            raise RequestError(
                f"feature view {read.lookup.view.name!r} has moved on since at={from_micros(instant):%Y-%m-%d %H:%M:%S%z}",
                hint="the online store keeps its newest row only: get_historical_features answers any instant",
            )


def _row_columns(read: ViewRead, rows: Sequence[bytes | None], count: int, now: int) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    entity: tuple[list[Status], list[int | None]] | None = None
    for n, group in enumerate(read.groups):
        part = rows[n * count : (n + 1) * count]
        statuses, times = _row_statuses(part, read.ttl, now)
        if entity is None:
            entity = statuses, times
        else:
            statuses, times = _feature_statuses(statuses, times, *entity)
        columns |= _group_columns(read, group, part, statuses, times)
    return columns


def _row_statuses(rows: Sequence[bytes | None], ttl: int | None, now: int) -> tuple[list[Status], list[int | None]]:
    statuses: list[Status] = []
    times: list[int | None] = []
    oldest = None if ttl is None else now - ttl
    unpack = _EVENT_TIME.unpack_from
    for row in rows:
        event_time = None if row is None else unpack(row, ORDER_START)[0] - BIAS
        if event_time is None or event_time > now:  # what has not happened yet is not there
            statuses.append(NOT_FOUND)
            times.append(None)
        else:
            statuses.append(PRESENT if oldest is None or event_time >= oldest else EXPIRED)
            times.append(event_time)
    return statuses, times


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


def _group_columns(
    read: ViewRead, group: RowGroup, rows: Sequence[bytes | None], statuses: list[Status], times: list[int | None]
) -> dict[str, Column]:
    positions = [i for i, status in enumerate(statuses) if status == PRESENT]
    present = [rows[i] for i in positions]
    lists = _decode(group, present)  # type: ignore[arg-type]
    columns = {}
    for name, found in zip(group.features, lists, strict=True):
        values = found
        if len(positions) < len(rows):
            values = [None] * len(rows)
            for i, value in zip(positions, found, strict=True):
                values[i] = value
        own = statuses
        if None in found:
            own = [
                NULL if value is None and status == PRESENT else status for value, status in zip(values, statuses, strict=True)
            ]
        columns[name] = Column(read.fields[name], values, own, times)
    return columns


def _decode(group: RowGroup, rows: Sequence[bytes]) -> list[list[Any]]:
    """The features of rows, which nearly always have the newest of their schemas."""
    for header, codec in group.codecs.items():
        if all(row.startswith(header) for row in rows):
            return _decode_known(codec, group, rows)
    lists: list[list[Any]] = [[None] * len(rows) for _ in group.features]
    left = len(rows)
    for header, codec in group.codecs.items():
        mine = [i for i, row in enumerate(rows) if row.startswith(header)]
        left -= len(mine)
        for target, values in zip(lists, _decode_known(codec, group, [rows[i] for i in mine]), strict=True):
            for i, value in zip(mine, values, strict=True):
                target[i] = value
    if left:
        raise UnknownRowError
    return lists


def _decode_known(codec: Any, group: RowGroup, rows: Sequence[bytes]) -> list[list[Any]]:
    known = [name for name in group.features if name in codec.positions]
    found = dict(zip(known, codec.decode_lists(rows, known), strict=True))
    return [found.get(name, [None] * len(rows)) for name in group.features]


def _call(call: OnDemandCall, columns: Mapping[str, Column], request: Mapping[str, Column]) -> dict[str, Column]:
    import polars as pl
    import pyarrow as pa

    from featurestore.transforms.on_demand import run_on_demand

    arrays = {}
    for name, source in call.inputs:
        column = columns[source] if source in columns else request[source]
        arrays[name] = pa.array(column.values, t.to_arrow(column.field.type))
    result = run_on_demand(call.view, pl.DataFrame(pl.from_arrow(pa.table(arrays))))
    made = {}
    for field in call.features:
        values = result[field.name].to_list()
        statuses: list[Status] = [NULL if value is None else PRESENT for value in values]
        made[call.column(field.name)] = Column(field, values, statuses, [None] * len(values))
    return made
