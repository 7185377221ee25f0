"""``featurestore feast migrate-online``: the rows of Feast's Redis store in our online store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import redis

from featurestore.errors import RequestError
from featurestore.feast.convert import FEAST_NAME
from featurestore.feast.redis_rows import WantedView, read_rows
from featurestore.materialize.online_rows import OnlineRows
from featurestore.online.redis_errors import translated
from featurestore.online.redis_store import describe
from featurestore.online.serving import announce
from featurestore.registry.records import Field
from featurestore.registry.serialization import version_of
from featurestore.registry.types import Timestamp, to_arrow
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.views import view_schema

if TYPE_CHECKING:
    from featurestore.project import Project
    from featurestore.registry.definitions import FeatureView


@dataclass(frozen=True, slots=True)
class MigratedView:
    """One view: rows read from Feast's store, and rows of ours that moved forward."""

    view: str
    read: int
    written: int


def migrate_online(project: Project, url: str, feast_project: str, views: Sequence[str] | None = None) -> list[MigratedView]:
    """Copy the online rows of views from Feast's Redis store into ours. Theirs is only read.

    A row of ours that is newer stays; doing it again changes nothing. A later materialization of the same row from the lake
    takes its place, for the lake knows when it arrived.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` URL of the store that Feast wrote.
        feast_project: the project's name in Feast.
        views: our names; every applied view that is served online, unless given.

    Raises:
        RequestError: a view whose online rows are states of windows, not values.
        OnlineStoreUnavailableError: a store does not answer.
    """
    definitions = project.definitions
    names = [v.name for v in definitions.views.values() if v.online and not v.aggregations] if views is None else views
    chosen = [definitions.view(name) for name in names]
    for view in chosen:
        if view.aggregations:
            hint = "materialize it from events"
            raise RequestError(f"{view.name!r} has windows: values of Feast's are no state of ours", hint=hint)
    client = redis.Redis.from_url(url)
    try:
        with translated(describe(url)):
            return [_migrate(project, client, feast_project, view) for view in chosen]
    finally:
        client.close()


def _migrate(project: Project, client: Any, feast_project: str, view: FeatureView) -> MigratedView:
    fields = _fields(project, view)
    wanted = WantedView(
        dict(view.metadata.tags).get(FEAST_NAME, view.name),
        tuple(key.name for key in view.join_keys),
        {field.name: field.type for field in fields},
    )
    served = announce(project.catalog, project.online, view, version_of(view), fields)
    count = 0
    with OnlineRows(project.online, project.config.project, view.name, served, fields) as online:
        for rows in read_rows(client, feast_project, wanted):
            count += len(rows)
            online.write(_frame(rows, [*view.join_keys, *fields]))
    return MigratedView(view.name, count, online.written)


def _fields(project: Project, view: FeatureView) -> Sequence[Field]:
    declared = [f for f in view.features or () if isinstance(f, Field)]
    if view.features is not None and len(declared) == len(view.features):
        return declared
    schema = project.catalog.source_schema(view.source)
    if schema is None:
        raise RequestError(
            f"the features of {view.name!r} are not known: it declares none, and nothing was ever loaded into {view.source!r}",
            hint="declare them with features=, or ingest first",
        )
    return view_schema(view, project.definitions.source(view.source), schema)


def _frame(rows: Sequence[dict[str, Any]], fields: Sequence[Field]) -> pl.DataFrame:
    columns = {field.name: pa.array([row[field.name] for row in rows], to_arrow(field.type)) for field in fields}
    columns[EVENT_TIME] = pa.array([row["event_time"] for row in rows], to_arrow(Timestamp))
    columns[ARRIVAL_TIME] = pa.nulls(len(rows), to_arrow(Timestamp))
    columns[SEQUENCE] = pa.nulls(len(rows), pa.int64())
    return pl.DataFrame(pa.table(columns))
