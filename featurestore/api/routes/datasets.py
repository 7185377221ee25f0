"""Training sets: written by background jobs, looked at by anyone."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import msgspec
import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from featurestore.api.label_queries import check_query, lake_tables
from featurestore.api.limits import JSON, content_type, decode_json, read_body
from featurestore.api.rows import typed_labels
from featurestore.api.schemas import DatasetRequest, json_body
from featurestore.api.service import Service, service_of
from featurestore.api.wire import json_answer
from featurestore.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from featurestore.training import TrainingSet

router = APIRouter(prefix="/v1", tags=["training sets"])
_WHO: Final = Depends(service_of)
_DECODER: Final = msgspec.json.Decoder(DatasetRequest)
_HERE: Final = frozenset({"project", "name", "labels", "features", "progress"})


@router.post(
    "/datasets",
    summary="Write a training set, in the background",
    response_class=Response,
    status_code=202,
    openapi_extra=json_body(DatasetRequest),
)
async def create(request: Request, service: Service = _WHO) -> Response:
    """Starts a job and answers with it at once; its ``Location`` tells how it goes.

    Names, columns and the query are checked before; what only the data can tell ends in the job's ``error``.
    """
    content_type(request.scope, [JSON])
    body = await read_body(request.scope, request.receive, service.store.config.server.max_request_bytes)
    wanted = decode_json(body, _DECODER)
    job = await anyio.to_thread.run_sync(partial(_start, service, wanted))
    return json_answer(job, 202, {"Location": f"/v1/dataset-jobs/{job['id']}"})


def _start(service: Service, wanted: DatasetRequest) -> dict[str, Any]:
    store = service.store
    definitions = store.definitions
    given = wanted.labels.given()
    if isinstance(given, str):
        labels: Any = check_query(given, lake_tables(definitions))
    else:
        labels = typed_labels(definitions, wanted.features, given)
    _check_options(wanted.options)
    work = partial(store.create_dataset, wanted.name, labels, wanted.features, **wanted.options)
    return service.jobs.start(wanted.name, work)


def _check_options(options: dict[str, Any]) -> None:
    from featurestore.training import create_dataset

    known = set(inspect.signature(create_dataset).parameters) - _HERE
    for name in options:
        if name not in known:
            raise RequestError(f"unknown option {name!r} of a training set", hint=did_you_mean(name, known))


@router.get("/dataset-jobs", summary="All jobs, newest first", response_class=Response)
def jobs(service: Service = _WHO) -> Response:
    """What was asked for, by whichever worker, and how it ended."""
    return json_answer({"jobs": service.jobs.all()})


@router.get("/dataset-jobs/{job}", summary="How a job goes", response_class=Response)
def job(job: str, service: Service = _WHO) -> Response:
    """``state`` is queued, running, succeeded (with ``version``), failed (with ``error``), cancelled or lost."""
    return json_answer(service.jobs.get(job))


@router.get("/datasets", summary="All training sets", response_class=Response)
def datasets(service: Service = _WHO) -> Response:
    """Every version of every training set, oldest first."""
    return json_answer({"datasets": [_brief(dataset) for dataset in service.store.datasets()]})


@router.get("/datasets/{name}", summary="The newest version", response_class=Response)
def dataset(name: str, service: Service = _WHO) -> Response:
    """The newest version of a training set, with its manifest."""
    return _full(service.store.dataset(name))


@router.get("/datasets/{name}/versions/{version}", summary="One version", response_class=Response)
def version(name: str, version: int, service: Service = _WHO) -> Response:
    """One version of a training set, with its manifest."""
    return _full(service.store.dataset(name, version))


@router.get("/datasets/{name}/versions/{version}/manifest", summary="Download the manifest", response_class=Response)
def manifest(name: str, version: int, service: Service = _WHO) -> Response:
    """The manifest as a file: what the training set was made from, and the hash of what it holds."""
    found = service.store.dataset(name, version)
    disposition = f'attachment; filename="{found.name}-v{found.version}-manifest.json"'
    return Response(found.manifest.to_json(), headers={"Content-Disposition": disposition}, media_type="application/json")


def _brief(dataset: TrainingSet) -> dict[str, Any]:
    manifest = dataset.manifest
    return {"name": dataset.name, "version": dataset.version, "created_at": manifest.created_at, "rows": manifest.rows}


def _full(dataset: TrainingSet) -> Response:
    return json_answer({**_brief(dataset), "manifest": orjson.Fragment(dataset.manifest.to_json())})
