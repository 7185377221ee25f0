"""What a project holds and how fresh it is: the data behind ``featurestore status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featurestore.errors import FeatureStoreError
from featurestore.registry.definitions import EventSource, FeatureView

if TYPE_CHECKING:
    from featurestore.store import FeatureStore


def overview(store: FeatureStore) -> dict[str, Any]:
    """The project's revision, sources with their tables, views with what was materialized, and whether all stores answer."""
    definitions = store.catalog.definitions()
    newest = store.catalog.newest()
    return {
        "project": store.config.project,
        "revision": newest.to_dict() if newest else None,
        "pending": _pending(store),
        "sources": [_source(store, source) for source in definitions.sources.values()],
        "views": [_view(store, view) for view in definitions.views.values()],
        "services": sorted(definitions.services),
        "online": _answers(store),
    }


def _pending(store: FeatureStore) -> str | None:
    """What stands in the files and is not applied: how many changes, or why they cannot be."""
    try:
        changes = len(store.plan(measure=False).changes)
    except FeatureStoreError as error:
        return f"{type(error).__name__}: {error.message}"
    return f"{changes} changes to apply" if changes else None


def _source(store: FeatureStore, source: EventSource) -> dict[str, Any]:
    import polars as pl

    table, aside = store.lake.table("events", source.name), store.lake.table("quarantine", source.name)
    found: dict[str, Any] = {"name": source.name, "version": None, "rows": 0, "newest_event": None, "quarantined": 0}
    if table.exists():
        newest = table.scan().select(pl.col(source.event_time).max()).collect().item()
        found |= {"version": table.version(), "rows": table.row_count(), "newest_event": newest}
    if aside.exists():
        found["quarantined"] = aside.row_count()
    runs = store.catalog.runs(kind="ingest", target=source.name, limit=1)
    return found | {"last_ingest": runs[0].to_dict() if runs else None}


def _view(store: FeatureStore, view: FeatureView) -> dict[str, Any]:
    runs = store.catalog.runs(kind="materialize", target=view.name, limit=1)
    return {
        "name": view.name,
        "source": view.source,
        "online": view.online,
        "version": store.catalog.version_of(view.name),
        "last_materialize": runs[0].to_dict() if runs else None,
    }


def _answers(store: FeatureStore) -> dict[str, Any]:
    try:
        store.online.ping()
    except FeatureStoreError as error:
        return {"ready": False, "message": error.message}
    return {"ready": True}
