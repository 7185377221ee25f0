"""Whether the process lives, whether it can answer, and what it has counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Depends
from starlette.responses import RedirectResponse, Response

from featurestore.api.service import Service, service_of
from featurestore.api.wire import json_answer
from featurestore.errors import FeatureStoreError

router = APIRouter(tags=["health"])


@router.get("/", include_in_schema=False)
async def root() -> Response:
    """A person who opens the service is shown its documentation."""
    return RedirectResponse("/docs")


@router.get("/healthz", summary="The process lives", response_model=None)
async def healthz() -> dict[str, str]:
    """Answers as long as the process does; asks nothing of the stores."""
    return {"status": "ok"}


@router.get(
    "/readyz", summary="The service can answer", response_model=None, responses={503: {"description": "A part is not ready"}}
)
def readyz(service: Service = Depends(service_of)) -> Response:  # noqa: B008 - how FastAPI declares it
    """Asks the catalog, the lake and the online store; 503 names those that do not answer."""
    store = service.store
    checks: dict[str, Callable[[], Any]] = {
        "catalog": lambda: store.catalog.revisions(),
        "lake": lambda: store.lake.tables(),
        "online": lambda: store.online.ping(),
    }
    parts = {name: _check(check) for name, check in checks.items()}
    ready = all(part["ready"] for part in parts.values())
    body = {"status": "ready" if ready else "not ready", "parts": parts}
    return json_answer(body, 200 if ready else 503)


def _check(check: Callable[[], Any]) -> dict[str, Any]:
    try:
        check()
    except FeatureStoreError as error:
        return {"ready": False, "code": error.code, "message": error.message, "hint": error.hint}
    except Exception as error:  # noqa: BLE001 - readiness answers with what is wrong, whatever it is
        return {"ready": False, "code": "internal_error", "message": f"{type(error).__name__}: {error}", "hint": None}
    return {"ready": True}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(service: Service = Depends(service_of)) -> Response:  # noqa: B008 - how FastAPI declares it
    """All workers' counts, in Prometheus' text form; those of other workers a tenth of a second late."""
    service.metrics.flush()
    return Response(
        await anyio.to_thread.run_sync(service.metrics.render), media_type="text/plain; version=0.0.4; charset=utf-8"
    )
