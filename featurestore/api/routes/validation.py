"""Validation: what the last runs found, and evaluating anew."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from featurestore.api.errors import definitions_hold
from featurestore.api.limits import JSON, content_type, decode_json, read_body
from featurestore.api.schemas import ValidationRequest, json_body
from featurestore.api.service import Service, service_of
from featurestore.api.wire import json_answer

router = APIRouter(prefix="/v1/validation", tags=["validation"])
_WHO: Final = Depends(service_of)
_DECODER: Final = msgspec.json.Decoder(ValidationRequest)


@router.get("/{name}", summary="What the last runs found", response_class=Response)
def results(name: str, limit: int = Query(10, ge=1, le=1_000), service: Service = _WHO) -> Response:
    """The newest results of a source or a view, in Great Expectations' result JSON, each with its run."""
    _check_name(service, name)
    runs = service.store.catalog.runs(target=name, limit=limit)
    found = [
        {"run": run.id, "kind": run.kind, "status": run.status, "started_at": run.started_at, "result": run.validation}
        for run in runs
        if run.validation
    ]
    return json_answer({"name": name, "results": found})


@router.post("/{name}", summary="Evaluate now", response_class=Response, openapi_extra=json_body(ValidationRequest))
async def evaluate(name: str, request: Request, service: Service = _WHO) -> Response:
    """Evaluate the expectations of a source or a view, or those of the body, on all that the lake holds of it.

    A failed expectation is an answer, ``"success": false``, not an error.
    """
    store = service.store
    await anyio.to_thread.run_sync(_check_name, service, name)
    expectations: list[dict[str, Any]] | None = None
    body = await read_body(request.scope, request.receive, store.config.server.max_request_bytes)
    if body:
        content_type(request.scope, [JSON])
        expectations = decode_json(body, _DECODER).expectations
    with definitions_hold():
        report = await anyio.to_thread.run_sync(partial(store.validate, name, expectations=expectations))
    return json_answer(report.to_json_dict())


def _check_name(service: Service, name: str) -> None:
    definitions = service.store.catalog.definitions()
    if name not in definitions.sources:
        definitions.any_view(name)
