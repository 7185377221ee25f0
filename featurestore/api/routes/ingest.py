"""Raw files by upload: streamed to disk, then landed like any other file."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any, Final

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from featurestore.api.errors import HttpError, definitions_hold
from featurestore.api.idempotency import claim
from featurestore.api.schemas import upload_body
from featurestore.api.service import Service, service_of
from featurestore.api.uploads import Upload, receive_upload
from featurestore.api.wire import json_answer
from featurestore.config import STATE_FOLDER

router = APIRouter(tags=["events in"])
_WHO: Final = Depends(service_of)


@router.post("/v1/ingest/{source}", summary="Land uploaded files", response_class=Response, openapi_extra=upload_body())
async def ingest(
    source: str,
    request: Request,
    filename: str = Query("", description="Name of a raw body; its ending tells format and compression."),
    format: str | None = Query(None, description="In place of the file's ending: csv, jsonl, parquet, arrow, combined, regex."),
    idempotency_key: str | None = Header(
        None, max_length=200, description="Names the upload; the same key again lands nothing."
    ),
    service: Service = _WHO,
) -> Response:
    """Lands the files of a multipart body, or the body itself, in a source's table: validated, stamped, at most once.

    Without a key the content's hash names the batch. A key that comes again with another content is refused with 409.
    """
    store = service.store
    await anyio.to_thread.run_sync(lambda: store.catalog.definitions().source(source))
    upload = receive_upload(
        request.scope,
        request.receive,
        folder=store.config.root / STATE_FOLDER / "uploads",
        limit=store.config.server.max_upload_bytes,
        filename=filename,
    )
    async with upload as received:
        if not received.files:
            raise HttpError(400, "no_file", "the multipart body has no file", hint="send it as a part with a file name")
        report = await anyio.to_thread.run_sync(partial(_ingest, service, source, received, format, idempotency_key))
    return json_answer(report)


def _ingest(service: Service, source: str, upload: Upload, format: str | None, key: str | None) -> dict[str, Any]:
    files = [str(path) for path in upload.files]
    ingest = partial(service.store.ingest, source, files[0] if len(files) == 1 else files, format=format, idempotency_key=key)
    once = nullcontext() if key is None else claim(service.store.catalog, f"{source}/{key}", upload.digest)
    with once, definitions_hold():
        report = ingest()
    service.metrics.count_ingest(report)
    return report.to_dict()
