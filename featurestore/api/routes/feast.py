"""Feast's HTTP API, for its clients and its remote online store: the same paths, the same envelopes.

Where its server is wrong this one differs: statuses are true, columns come in the order asked for, what is too old is not
served, and what is wrong with a request answers 4xx in this service's own form of errors.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from featurestore.api.errors import HttpError
from featurestore.api.feast_online import FeastOnline
from featurestore.api.feast_rows import instant_of, land
from featurestore.api.limits import JSON, content_type, decode_json, read_body
from featurestore.api.schemas import json_body
from featurestore.api.service import Service, service_of
from featurestore.api.wire import decode_column, decoder, encode_column, json_answer
from featurestore.errors import RequestError
from featurestore.feast.feast_names import FeastNames
from featurestore.feast.registry_search import SortBy, page_of, search
from featurestore.online.response import EXPIRED, NOT_FOUND, NULL, PRESENT, SAWTOOTH, Column
from featurestore.registry.records import Field
from featurestore.registry.types import Bytes, DataType, List, Timestamp
from featurestore.time import from_micros, to_micros

if TYPE_CHECKING:
    pass

router = APIRouter(tags=["feast"])
_WHO: Final = Depends(service_of)
_TEXTS: Final = Query(default=[])
STATUSES: Final = {
    PRESENT: "PRESENT",
    SAWTOOTH: "PRESENT",
    NULL: "NULL_VALUE",
    NOT_FOUND: "NOT_FOUND",
    EXPIRED: "OUTSIDE_MAX_AGE",
}
_EPOCH: Final = "1970-01-01T00:00:00Z"


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


def _online(request: Request) -> FeastOnline:
    online: FeastOnline = request.app.state.feast
    return online


# -- features out --------------------------------------------------------------------------------------------------------


@router.post(
    "/get-online-features", summary="Online features", response_class=Response, openapi_extra=json_body(OnlineFeaturesRequest)
)
async def get_online_features(request: Request, service: Service = _WHO) -> Response:
    """The newest features of each entity: join keys first, then features in the order asked for."""
    asked = await _body(request, service, _ONLINE)
    online = _online(request)
    answer = await online.look_up(
        asked.feature_service,
        asked.features,
        asked.entities,
        full_feature_names=asked.full_feature_names,
        decode=_decoded,
    )
    results = [_given(asked.entities[name], answer.count) for name in answer.keys]
    results += [_vector(column) for column in answer.columns]
    metadata: dict[str, Any] = {"feature_names": [*answer.keys, *answer.names]}
    return json_answer({"metadata": metadata, "results": results})


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
async def search_vectors() -> Response:
    """Vector search is not offered; says so, instead of answering something."""
    raise HttpError(501, "not_offered", "this store has no vector index", hint="search in a vector database, then ask by key")


@router.get("/search", summary="Definitions by word", response_class=Response)
@router.get("/api/v1/search", include_in_schema=False, response_class=Response)
async def search_registry(
    request: Request,
    query: str = Query(examples=["driver"]),
    projects: list[str] = _TEXTS,
    tags: list[str] = _TEXTS,
    sort_by: SortBy = "match_score",
    sort_order: Literal["asc", "desc"] = "desc",
    page: int = Query(1, ge=1),
    limit: int = Query(50, ge=1, le=100),
    service: Service = _WHO,
) -> Response:
    """Entities, sources, views, features and services whose name, description or tags say the word.

    As Feast's registry server answers. This service knows one project; others asked for are named under ``errors``.
    """
    own = service.store.config.project
    asked = [project for project in projects if project.strip()]
    unknown = [project for project in asked if project != own]
    errors = [f"these projects are not served here: {', '.join(unknown)}"] if unknown else []
    answer = {"query": query, "projects_searched": [own], "results": [], "pagination": {}, "errors": errors}
    if asked and own not in asked:
        return json_answer({**answer, "projects_searched": []})
    wanted = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    definitions = _online(request).names.definitions
    found = search(definitions, query, wanted, sort_by=sort_by, ascending=sort_order == "asc")
    results, pagination = page_of([{**result, "project": own} for result in found], page, limit)
    return json_answer({**answer, "results": results, "pagination": pagination})


# -- rows in -------------------------------------------------------------------------------------------------------------


@router.post("/push", summary="Rows of a push source", response_class=Response, openapi_extra=json_body(PushRequest))
async def push(request: Request, service: Service = _WHO) -> Response:
    """Lands rows in the lake; with ``to`` online or both, what they change is online before the answer.

    ``online`` lands them in the lake too: what serving knew can be asked of training.
    """
    asked = await _body(request, service, _PUSH)
    definitions = (names := _online(request).names).definitions
    source = names.source_of_push(asked.push_source_name)
    views = [view for view in definitions.views.values() if view.source == source]
    await anyio.to_thread.run_sync(partial(land, service, source, views, asked.df, online=asked.to != "offline"))
    return Response(status_code=200)


@router.post(
    "/write-to-online-store", summary="Rows of a feature view", response_class=Response, openapi_extra=json_body(WriteRequest)
)
async def write_to_online_store(request: Request, service: Service = _WHO) -> Response:
    """Lands rows in the source of a view, and writes what they change to the online store."""
    asked = await _body(request, service, _WRITE)
    view = _online(request).names.view(asked.feature_view_name)
    await anyio.to_thread.run_sync(partial(land, service, view.source, [view], asked.df, online=True))
    return json_answer(None)


# -- jobs ----------------------------------------------------------------------------------------------------------------


@router.post("/materialize", summary="Materialize", response_class=Response, openapi_extra=json_body(MaterializeRequest))
async def materialize(request: Request, service: Service = _WHO) -> Response:
    """Brings views online: rows of ``[start_ts, end_ts)``, or everything where no range is given."""
    asked = await _body(request, service, _MATERIALIZE)
    names = _views(_online(request).names, asked)
    start, end = (None if text is None else instant_of(text) for text in (asked.start_ts, asked.end_ts))
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
    names = _views(_online(request).names, asked)
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


async def _body(request: Request, service: Service, decode: msgspec.json.Decoder[Any]) -> Any:
    content_type(request.scope, [JSON], default=JSON)
    return decode_json(await read_body(request.scope, request.receive, service.store.config.server.max_request_bytes), decode)
