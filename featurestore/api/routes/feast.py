"""Feast's HTTP API, for its clients and its remote online store: the same paths, the same envelopes.

Where its server is wrong this one differs: statuses are true, columns come in the order asked for, what is too old is not
served, and what is wrong with a request answers 4xx in this service's own form of errors.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Literal

import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from featurestore.api.feast_json import DECODER, PATH, OnlineFeaturesRequest, answer_json, decoded
from featurestore.api.feast_online import FeastOnline
from featurestore.api.feast_rows import instant_of, land
from featurestore.api.feast_search import SearchRequest, search_json
from featurestore.api.limits import JSON, content_type, decode_json, read_body
from featurestore.api.schemas import json_body
from featurestore.api.service import Service, service_of
from featurestore.api.wire import json_answer
from featurestore.errors import RequestError
from featurestore.feast.feast_names import FeastNames
from featurestore.feast.registry_search import SortBy, page_of, search

router = APIRouter(tags=["feast"])
_WHO: Final = Depends(service_of)
_TEXTS: Final = Query(default=[])


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


_PUSH: Final = msgspec.json.Decoder(PushRequest)
_WRITE: Final = msgspec.json.Decoder(WriteRequest)
_SEARCH: Final = msgspec.json.Decoder(SearchRequest)
_MATERIALIZE: Final = msgspec.json.Decoder(MaterializeRequest)


def _online(request: Request) -> FeastOnline:
    online: FeastOnline = request.app.state.feast
    return online


# -- features out --------------------------------------------------------------------------------------------------------


@router.post(PATH, summary="Online features", response_class=Response, openapi_extra=json_body(OnlineFeaturesRequest))
async def get_online_features(request: Request, service: Service = _WHO) -> Response:
    """The newest features of each entity: join keys first, then features in the order asked for."""
    asked = await _body(request, service, DECODER)
    answer = await _online(request).look_up(
        asked.feature_service,
        asked.features,
        asked.entities,
        full_feature_names=asked.full_feature_names,
        decode=decoded,
    )
    return Response(answer_json(asked, answer), media_type=JSON)


@router.post("/search", summary="Nearest vectors", response_class=Response, openapi_extra=json_body(SearchRequest))
@router.post("/retrieve-online-documents", include_in_schema=False, response_class=Response)
async def search_vectors(request: Request, service: Service = _WHO) -> Response:
    """The rows of one view whose vector is nearest to the query, the nearest first; all rows of the view are compared."""
    asked = await _body(request, service, _SEARCH)
    found = await anyio.to_thread.run_sync(partial(search_json, service.store, _online(request).names, asked))
    return Response(found, media_type=JSON)


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
