"""Rows that must be visible online before the answer returns."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from functools import partial
from typing import Any, Final

import anyio.to_thread
import msgspec
import pyarrow as pa
from fastapi import APIRouter, Depends, Header
from starlette.requests import Request
from starlette.responses import Response

from featurestore.api.errors import HttpError, definitions_hold
from featurestore.api.idempotency import claim
from featurestore.api.limits import ARROW_STREAM, JSON, content_type, decode_json, read_body
from featurestore.api.rows import typed_rows
from featurestore.api.schemas import PushRequest, json_body
from featurestore.api.service import Service, service_of
from featurestore.api.wire import json_answer

router = APIRouter(tags=["events in"])
_WHO: Final = Depends(service_of)
_DECODER: Final = msgspec.json.Decoder(PushRequest)


@router.post(
    "/v1/push/{source}",
    summary="Land rows and update the online store",
    response_class=Response,
    openapi_extra=json_body(PushRequest, arrow=True),
)
async def push(
    source: str,
    request: Request,
    idempotency_key: str | None = Header(
        None, max_length=200, description="Names the batch: the same key again lands nothing."
    ),
    service: Service = _WHO,
) -> Response:
    """Lands rows in the lake and writes what they change to the online store, before it answers.

    The body is JSON, ``{"rows": [...]}`` or ``{"columns": {...}}``, or an Arrow IPC stream. A key that comes again with another
    body is refused with 409.
    """
    store = service.store
    kind = content_type(request.scope, [JSON, ARROW_STREAM])
    body = await read_body(request.scope, request.receive, store.config.server.max_request_bytes)
    given = decode_json(body, _DECODER) if kind == JSON else read_arrow(body)
    work = partial(_push, service, source, given, idempotency_key, hashlib.sha256(body).hexdigest())
    return json_answer(await anyio.to_thread.run_sync(work))


def _push(service: Service, source: str, given: PushRequest | pa.Table, key: str | None, digest: str) -> Any:
    rows = given if isinstance(given, pa.Table) else typed_rows(service.store, source, given.table())
    once = nullcontext() if key is None else claim(service.store.catalog, f"{source}/{key}", digest)
    with once, definitions_hold():
        report = service.store.push(source, rows, idempotency_key=key)
    service.metrics.count_ingest(report.ingest)
    return report.to_dict()


def read_arrow(body: bytes) -> pa.Table:
    """The table of an Arrow IPC stream.

    Raises:
        HttpError: 400, it is none.
    """
    try:
        with pa.ipc.open_stream(body) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise HttpError(400, "invalid_arrow", f"the body is no Arrow IPC stream: {error}") from None
