"""The HTTP service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from featurestore import __version__
from featurestore.api.auth import OPEN_PATHS, BearerToken
from featurestore.api.errors import install_error_handlers
from featurestore.api.feast_json import PATH as FEAST_PATH
from featurestore.api.feast_json import FeastFeatures
from featurestore.api.feast_online import FeastOnline
from featurestore.api.grpc_server import serving_grpc
from featurestore.api.jobs import TrainingJobs
from featurestore.api.limits import JSON
from featurestore.api.metrics import Metrics, RequestMetrics
from featurestore.api.routes import datasets, docs, feast, health, ingest, online, push, registry, validation
from featurestore.api.service import Service
from featurestore.api.short_way import KEY, ShortPath, ShortWay

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

DESCRIPTION = """Features of entities, newest or as of an instant, from one set of definitions.

Every answer that is not 2xx carries `{"error": {"code", "message", "hint"}}`; `code` is stable for machines.
"""


def create_app(store: FeatureStore, *, grpc_address: str | None = None) -> FastAPI:
    """The application over an open store. The store is closed when the application shuts down.

    Args:
        store: whose ``config.server`` sets the token and the limits.
        grpc_address: ``host:port`` where Feast's gRPC clients are answered too.
    """
    service = Service(store, Metrics(), TrainingJobs(store))
    feast_online = FeastOnline(store)
    hot = online.OnlineFeatures(service)
    feasts = FeastFeatures(feast_online)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        await anyio.to_thread.run_sync(hot.warm_up)
        await hot.connect()
        async with serving_grpc(service, feast_online, grpc_address):
            yield {KEY: _short_way(service, [ShortPath(online.PATH, hot), ShortPath(FEAST_PATH, feasts, JSON)])}
        service.metrics.flush()
        await anyio.to_thread.run_sync(service.jobs.close)
        await online.close(store)
        store.close()

    app = FastAPI(
        title=f"featurestore: {store.config.project}",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page loads its scripts from a third party; ours stands alone
        redoc_url=None,
    )
    app.state.service = service
    app.state.feast = feast_online
    app.router.routes.append(Route(online.PATH, hot, methods=["POST"]))
    for module in (push, ingest, datasets, registry, validation, health, feast, docs):
        app.include_router(module.router)
    install_error_handlers(app)
    if store.config.server.token:
        app.add_middleware(BearerToken, token=store.config.server.token)
    app.add_middleware(RequestMetrics, metrics=service.metrics)
    app.openapi = lambda: _openapi(app, secured=bool(store.config.server.token))  # type: ignore[method-assign]
    return app


def _short_way(service: Service, paths: Sequence[ShortPath]) -> ShortWay:
    server = service.store.config.server
    return ShortWay(service.store.online, service.metrics, paths, token=server.token, limit=server.max_request_bytes)


def _openapi(app: FastAPI, *, secured: bool) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with the hot route and the form of errors."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document["paths"] = {online.PATH: {"post": online.operation()}, **document["paths"]}
        components = document.setdefault("components", {})
        components["schemas"] = {"Error": _ERROR}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["4XX"] = _ERROR_ANSWER
                if secured and path not in OPEN_PATHS:
                    operation["security"] = [{"bearer": []}]
        if secured:
            components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document
    return app.openapi_schema


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": ["string", "null"]},
                "details": {"type": "object"},
            },
        }
    },
}
_ERROR_ANSWER = {
    "description": "What is wrong with the request, and how to mend it",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
