"""Browsing what is applied: definitions, revisions, lineage, runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from featurestore.api.describe import describe
from featurestore.api.service import Service, service_of
from featurestore.api.wire import json_answer
from featurestore.registry.definitions import Definition, Definitions

router = APIRouter(prefix="/v1/registry", tags=["registry"])
Shelf = Literal["entities", "sources", "views", "services"]

_WHO: Final = Depends(service_of)


@router.get("", summary="The applied revision and how much it holds", response_class=Response)
def overview(service: Service = _WHO) -> Response:
    """The newest revision, and the names of everything that it holds."""
    newest = service.store.catalog.newest()
    definitions = service.store.catalog.definitions()
    shelves: tuple[Shelf, ...] = ("entities", "sources", "views", "services")
    return json_answer(
        {"revision": newest.to_dict() if newest else None, **{shelf: sorted(shelf_of(definitions, shelf)) for shelf in shelves}}
    )


@router.get("/revisions", summary="All revisions, newest first", response_class=Response)
def revisions(service: Service = _WHO) -> Response:
    """Who applied what, when and why."""
    found = sorted(service.store.catalog.revisions(), key=lambda revision: revision.number, reverse=True)
    return json_answer({"revisions": [revision.to_dict() for revision in found]})


@router.get("/revisions/{number}", summary="The definitions of one revision", response_class=Response)
def revision(number: int, service: Service = _WHO) -> Response:
    """What was applied then, in full."""
    catalog = service.store.catalog
    found = catalog.revision(number).to_dict()
    return json_answer({**found, "definitions": [describe(item) for item in catalog.definitions(number)]})


@router.get("/lineage", summary="From source columns to services", response_class=Response)
def lineage(
    node: str | None = Query(None, examples=["service:trip_model"]),
    direction: Literal["upstream", "downstream"] = "upstream",
    service: Service = _WHO,
) -> Response:
    """The whole graph, or what lies up- or downstream of one node."""
    graph = service.store.lineage()
    if node is None:
        return json_answer(graph.to_dict())
    found = graph.upstream(node) if direction == "upstream" else graph.downstream(node)
    return json_answer({"node": node, "direction": direction, "nodes": sorted(map(str, found))})


@router.get("/runs", summary="What was run, newest first", response_class=Response)
def runs(
    kind: str | None = None, target: str | None = None, limit: int = Query(50, ge=1, le=1_000), service: Service = _WHO
) -> Response:
    """Ingestions, materializations, validations and training sets, with counts and errors."""
    found = service.store.catalog.runs(kind=kind, target=target, limit=limit)
    return json_answer({"runs": [run.to_dict() for run in found]})


@router.get("/{shelf}", summary="All definitions of a kind", response_class=Response)
def definitions(shelf: Shelf, service: Service = _WHO) -> Response:
    """The applied entities, sources, views (on-demand ones included) or services."""
    found = shelf_of(service.store.catalog.definitions(), shelf)
    return json_answer({shelf: [describe(found[name]) for name in sorted(found)]})


@router.get("/{shelf}/{name}", summary="One definition", response_class=Response)
def definition(shelf: Shelf, name: str, service: Service = _WHO) -> Response:
    """One applied definition: its meaning as data, its version, and what people say about it."""
    store = service.store
    applied = store.catalog.definitions()
    lookups: dict[Shelf, Callable[[str], Definition]] = {
        "entities": applied.entity, "sources": applied.source, "views": applied.any_view, "services": applied.service
    }  # fmt: skip
    return json_answer(describe(lookups[shelf](name)))


def shelf_of(definitions: Definitions, shelf: Shelf) -> dict[str, Definition]:
    """The definitions of a kind, by name."""
    shelves: dict[str, dict[str, Definition]] = {
        "entities": dict(definitions.entities),
        "sources": dict(definitions.sources),
        "views": {**definitions.views, **definitions.on_demand_views},
        "services": dict(definitions.services),
    }
    return shelves[shelf]
