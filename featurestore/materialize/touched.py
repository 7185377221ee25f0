"""Some keys of a view brought online from the lake, where whole views would be too much."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from featurestore.materialize.online_rows import OnlineRows
from featurestore.online.serving import announce
from featurestore.registry.serialization import version_of
from featurestore.time import EVENT_TIME
from featurestore.transforms.views import ComputedView, compute_view

if TYPE_CHECKING:
    from featurestore.project import Project
    from featurestore.registry.definitions import EventSource, FeatureView


def compute_keys(project: Project, view: FeatureView, source: EventSource, version: int, keys: pl.DataFrame) -> ComputedView:
    """The rows of some keys of a view, over all events of a version of its source.

    Where the join keys are columns of the source only the events of these keys are read: a transform that mixes the rows of
    one key with those of another has to be materialized as a whole to be exact.
    """
    table = project.lake.table("events", source.name)
    names = [key.name for key in view.join_keys]
    events = table.scan(version)
    if all(name in table.schema(version).names for name in names):
        types = {name: dtype for name, dtype in events.collect_schema().items() if name in names}
        events = events.join(keys.lazy().cast(types), on=names, how="semi")  # type: ignore[arg-type]
    computed = compute_view(view, source, events, engine=project.config.engine.name)
    return replace(computed, frame=computed.frame.join(keys.lazy(), on=names, how="semi", maintain_order="left"))


def write_rows(project: Project, view: FeatureView, computed: ComputedView, rows: pl.DataFrame, version: int) -> int:
    """Write rows of a view that have happened to the online store: how many keys moved.

    Args:
        version: of the source, from which the rows were computed.
    """
    catalog, store = project.catalog, project.online
    served = announce(catalog, store, view, version_of(view), computed.features)
    revision = None if computed.row_wise else version
    with OnlineRows(store, project.config.project, view.name, served, computed.features, revision=revision) as online:
        online.write(rows.filter(pl.col(EVENT_TIME) <= project.clock.now()))
    return online.written
