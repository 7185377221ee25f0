"""Feast's HTTP API, for its clients and its remote online store: the same paths, the same envelopes.

Where its server is wrong this one differs: statuses are true, columns come in the order asked for, what is too old is not
served, and what is wrong with a request answers 4xx in this service's own form of errors.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio.to_thread
import msgspec
import pyarrow as pa
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from featurestore.api.errors import HttpError
from featurestore.api.limits import JSON, check_entity_count, content_type, decode_json, read_body
from featurestore.api.rows import typed_rows
from featurestore.api.schemas import json_body
from featurestore.api.service import Service, service_of
from featurestore.api.wire import decode_column, decoder, encode_column, json_answer
from featurestore.errors import RequestError
from featurestore.feast.feast_names import FeastNames
from featurestore.online import OnlineReader
from featurestore.online.response import EXPIRED, NOT_FOUND, NULL, PRESENT, Column
from featurestore.registry.records import Field
from featurestore.registry.types import Bytes, DataType, List, Timestamp
from featurestore.time import from_micros, to_micros

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

router = APIRouter(tags=["feast"])
_WHO: Final = Depends(service_of)
STATUSES: Final = {PRESENT: "PRESENT", NULL: "NULL_VALUE", NOT_FOUND: "NOT_FOUND", EXPIRED: "OUTSIDE_MAX_AGE"}
_EPOCH: Final = "1970-01-01T00:00:00Z"
_REFRESH_SECONDS: Final = 1.0


class OnlineFeaturesRequest(msgspec.Struct):
    """What Feast's clients send to ``/get-online-features``."""

    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: list[str] = []
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False


class PushRequest(msgspec.Struct):
    """What Feast's clients send to ``/push``."""

    push_source_name: str
    df: dict[str, Any]
    allow_registry_cache: bool = True
    to: Literal["online", "offline", "online_and_offline"] = "online"
    transform_on_write: bool = True


class WriteRequest(msgspec.Struct):
    """What Feast's clients send to ``/write-to-online-store``."""

    feature_view_name: str
    df: dict[str, Any]
    allow_registry_cache: bool = True
    transform_on_write: bool = True


class MaterializeRequest(msgspec.Struct):
    """What Feast's clients send to ``/materialize`` and ``/materialize-incremental``."""

    start_ts: str | None = None
    end_ts: str | None = None
    feature_views: list[str] | None = None
    disable_event_timestamp: bool = False
    full_feature_names: bool = False
    version: str | None = None


_ONLINE: Final = msgspec.json.Decoder(OnlineFeaturesRequest)
_PUSH: Final = msgspec.json.Decoder(PushRequest)
_WRITE: Final = msgspec.json.Decoder(WriteRequest)
_MATERIALIZE: Final = msgspec.json.Decoder(MaterializeRequest)


# -- features out --------------------------------------------------------------------------------------------------------


@router.post(
    "/get-online-features", summary="Online features", response_class=Response, openapi_extra=json_body(OnlineFeaturesRequest)
)
async def get_online_features(request: Request, service: Service = _WHO) -> Response:
    """The newest features of each entity: join keys first, then features in the order asked for."""
    asked = await _body(request, service, _ONLINE)
    count = check_entity_count(asked.entities, service.store.config.server.max_entities)
    online = _Online.of(request, service)
    features = online.features(asked)
    keys, given = online.entities(features, asked.entities)
    answer = await online.reader.aread(features, given, full_feature_names=asked.full_feature_names)
    names = online.output_names(asked, list(answer.columns))
    results = [_given(asked.entities[name], count) for name in keys]
    results += [_vector(column) for column in answer.columns.values()]
    metadata: dict[str, Any] = {"feature_names": [*keys, *names]}
    return json_answer({"metadata": metadata, "results": results})


class _Online:
    """The reader and the names of one process, kept with the application."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self.reader = OnlineReader(store, refresh_seconds=_REFRESH_SECONDS)
        self._names: FeastNames | None = None
        self._revision, self._checked_at = -1, 0.0

    @classmethod
    def of(cls, request: Request, service: Service) -> _Online:
        found = getattr(request.app.state, "feast", None)
        if found is None:
            found = request.app.state.feast = cls(service.store)
        made: _Online = found
        return made

    @property
    def names(self) -> FeastNames:
        """Feast's names; of the newest revision, which may go unnoticed as long as it may in online answers."""
        if self._names is None or time.monotonic() - self._checked_at >= _REFRESH_SECONDS:
            newest = self._store.catalog.newest()
            number = newest.number if newest else 0
            if self._names is None or self._revision != number:
                self._names, self._revision = FeastNames.of(self._store.catalog.definitions()), number
            self._checked_at = time.monotonic()
        return self._names

    def features(self, asked: OnlineFeaturesRequest) -> str | list[str]:
        if asked.feature_service:
            return self.names.service(asked.feature_service)
        if not asked.features:
            raise RequestError("no features were asked for", hint='send "features" or "feature_service"')
        return [self.names.reference(text) for text in asked.features]

    def entities(self, features: str | list[str], entities: Mapping[str, list[Any]]) -> tuple[list[str], dict[str, list[Any]]]:
        """The join keys among the columns sent, and all columns decoded; a column that nothing needs is passed by."""
        keys = {field.name: field for field in self.reader.key_fields(features)}
        inputs = {field.name: field for field in self.reader.inputs(features)}
        by_entity = {e.name: e.join_keys[0].name for e in self.names.definitions.entities.values() if len(e.join_keys) == 1}
        given: dict[str, list[Any]] = {}
        order = []
        for name, values in entities.items():
            field = inputs.get(name) or inputs.get(by_entity.get(name, ""))
            if field is None:
                continue
            given[field.name] = _decoded(values, field)
            if field.name in keys:
                order.append(name)
        return order, given

    def output_names(self, asked: OnlineFeaturesRequest, ours: list[str]) -> list[str]:
        if not asked.full_feature_names or asked.feature_service:
            return ours
        return [text.replace(":", "__", 1) for text in dict.fromkeys(asked.features)]


def _decoded(values: list[Any], field: Field) -> list[Any]:
    if field.type == Timestamp and any(isinstance(value, int) for value in values):
        return [from_micros(v * 1_000_000) if isinstance(v, int) else v for v in values]  # Feast's clients send seconds
    return list(decode_column(values, field.type, field.name)) if decoder(field.type) is not None else values


def _given(values: list[Any], count: int) -> dict[str, Any]:
    return {"values": values, "statuses": ["PRESENT"] * count, "event_timestamps": [_EPOCH] * count}


def _vector(column: Column) -> dict[str, Any]:
    stamps = [_EPOCH if time is None else from_micros(time) for time in column.times]
    return {
        "values": _encoded(column.values, column.field.type),
        "statuses": [STATUSES[status] for status in column.statuses],
        "event_timestamps": stamps,
    }


def _encoded(values: Sequence[Any], data_type: DataType) -> Sequence[Any]:
    """Values as Feast's server has them in JSON: instants as whole seconds, bytes as base64 text."""
    convert = _encoder(data_type)
    if convert is None:
        return encode_column(values, data_type)
    return [None if value is None else convert(value) for value in values]


def _encoder(data_type: DataType) -> Callable[[Any], Any] | None:
    if data_type == Timestamp:
        return lambda value: to_micros(value) // 1_000_000
    if data_type == Bytes:
        return lambda value: base64.b64encode(value).decode()
    if isinstance(data_type, List) and _encoder(data_type.inner) is not None:
        inner = data_type.inner
        return lambda value: _encoded(value, inner)
    return None


@router.post("/search", summary="Vector search (not offered)", response_class=Response)
@router.post("/retrieve-online-documents", include_in_schema=False, response_class=Response)
async def search() -> Response:
    """Vector search is not offered; says so, instead of answering something."""
    raise HttpError(501, "not_offered", "this store has no vector index", hint="search in a vector database, then ask by key")


# -- rows in -------------------------------------------------------------------------------------------------------------


@router.post("/push", summary="Rows of a push source", response_class=Response, openapi_extra=json_body(PushRequest))
async def push(request: Request, service: Service = _WHO) -> Response:
    """Lands rows in the lake; with ``to`` online or both, what they change is online before the answer.

    ``online`` lands them in the lake too: what serving knew can be asked of training.
    """
    asked = await _body(request, service, _PUSH)
    source = _Online.of(request, service).names.source_of_push(asked.push_source_name)
    await anyio.to_thread.run_sync(partial(_land, service, source, asked.df, online=asked.to != "offline"))
    return Response(status_code=200)


@router.post(
    "/write-to-online-store", summary="Rows of a feature view", response_class=Response, openapi_extra=json_body(WriteRequest)
)
async def write_to_online_store(request: Request, service: Service = _WHO) -> Response:
    """Lands rows in the source of a view, and writes what they change to the online store."""
    asked = await _body(request, service, _WRITE)
    source = _Online.of(request, service).names.source_of_view(asked.feature_view_name)
    await anyio.to_thread.run_sync(partial(_land, service, source, asked.df, online=True))
    return json_answer(None)


def _land(service: Service, source: str, df: Mapping[str, Any], *, online: bool) -> None:
    rows = typed_rows(service.store, source, _columns(df))
    known = service.store.catalog.source_schema(source)
    if known is not None:
        # Feast's clients always send a column of created times, whether there is one or not.
        rows = rows.select([n for n in rows.column_names if n in known.names or n != "created"])
    rows = _with_instants(service.store, source, rows)
    (service.store.push if online else service.store.ingest)(source, rows)


def _columns(df: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Columns of a frame in either of pandas' forms: lists, or mappings by row label."""
    return {name: list(values.values()) if isinstance(values, dict) else list(values) for name, values in df.items()}


def _with_instants(store: FeatureStore, source: str, rows: pa.Table) -> pa.Table:
    """Times as instants where the source's schema is not known yet and they came as text."""
    definition = store.definitions.source(source)
    for name in {definition.event_time, definition.arrival_time} & set(rows.column_names):
        if pa.types.is_string(rows.schema.field(name).type):
            moments = [None if text is None else _instant(text) for text in rows.column(name).to_pylist()]
            place = rows.column_names.index(name)
            rows = rows.set_column(place, name, pa.array(moments, pa.timestamp("us", "UTC")))
    return rows


# -- jobs ----------------------------------------------------------------------------------------------------------------


@router.post("/materialize", summary="Materialize", response_class=Response, openapi_extra=json_body(MaterializeRequest))
async def materialize(request: Request, service: Service = _WHO) -> Response:
    """Brings views online: rows of ``[start_ts, end_ts)``, or everything where no range is given."""
    asked = await _body(request, service, _MATERIALIZE)
    names = _views(_Online.of(request, service).names, asked)
    start, end = (None if text is None else _instant(text) for text in (asked.start_ts, asked.end_ts))
    await anyio.to_thread.run_sync(partial(service.store.materialize, names, start=start, end=end))
    return json_answer(None)


@router.post(
    "/materialize-incremental",
    summary="Materialize what changed",
    response_class=Response,
    openapi_extra=json_body(MaterializeRequest),
)
async def materialize_incremental(request: Request, service: Service = _WHO) -> Response:
    """Brings views online: what changed since the last time, late rows included, whatever ``end_ts`` says."""
    asked = await _body(request, service, _MATERIALIZE)
    names = _views(_Online.of(request, service).names, asked)
    await anyio.to_thread.run_sync(partial(service.store.materialize, names))
    return json_answer(None)


@router.get("/health", summary="The service can answer", response_class=Response)
def health(service: Service = _WHO) -> Response:
    """200 where the registry answers, 503 where not."""
    try:
        service.store.catalog.newest()
    except Exception:  # noqa: BLE001 - whatever it is, the service is not healthy
        return Response(status_code=503)
    return Response(status_code=200)


def _views(names: FeastNames, asked: MaterializeRequest) -> list[str] | None:
    if asked.version is not None:
        raise RequestError("a version of a view was asked for", hint="the newest applied version is materialized")
    return None if asked.feature_views is None else [names.views.get(name, name) for name in asked.feature_views]


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(f"{text!r} is no instant", hint='write "2026-01-31T12:00:00Z"') from None


async def _body(request: Request, service: Service, decode: msgspec.json.Decoder[Any]) -> Any:
    content_type(request.scope, [JSON], default=JSON)
    return decode_json(await read_body(request.scope, request.receive, service.store.config.server.max_request_bytes), decode)
