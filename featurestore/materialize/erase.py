"""Erasure: every row of some entities removed, wherever it is."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from featurestore.errors import RequestError
from featurestore.materialize.feature_table import bring_up, has_table, quarantine_table
from featurestore.materialize.online_rows import entity_keys
from featurestore.materialize.touched import compute_keys, write_rows
from featurestore.materialize.window_blocks import write_keys
from featurestore.online.keys import EntityKeys
from featurestore.online.request import entity_columns
from featurestore.online.serving import read_serving
from featurestore.registry.serialization import version_of
from featurestore.transforms.casts import polars_type
from featurestore.transforms.views import compute_view, window_events, without_quarantined

if TYPE_CHECKING:
    from featurestore.ingestion.lake_table import LakeTable
    from featurestore.project import Project
    from featurestore.registry.definitions import Entity, EventSource, FeatureView


def erase(project: Project, entity: str, keys: Any) -> Mapping[str, int]:
    """Remove every row of these entities from events, quarantine, feature tables and the online store, then vacuum.

    Concerned are the sources that have the entity's join keys as columns, and all views of these sources: a view of another
    entity that was computed from erased events is computed anew from what is left. A quarantined line that could not even be
    parsed goes when it contains all key values as whole words.

    Args:
        entity: its name.
        keys: one mapping of join keys per entity, or columns.

    Returns:
        Rows removed by table (``events/flights``), and online keys by view (``online/plane_delays``).

    Raises:
        RequestError: a key missing, null, or of a wrong type.
    """
    definition = project.definitions.entity(entity)
    wanted = _wanted(definition, keys)
    removed: Counter[str] = Counter()
    with project.catalog.start_run("erase", entity, entities=wanted.height) as run:
        for source in project.definitions.sources.values():
            _erase_source(project, source, wanted, removed)
        run.update(counts=dict(removed))
    return dict(removed)


def _wanted(entity: Entity, keys: Any) -> pl.DataFrame:
    columns, count = entity_columns(keys, entity.join_keys)
    names = [key.name for key in entity.join_keys]
    encoded = EntityKeys(entity.name, entity.join_keys).of_columns(columns, names)
    if None in encoded:
        raise RequestError(f"entity {encoded.index(None)} has a null key", hint="nothing can be erased by null")
    schema = {key.name: polars_type(key.type) for key in entity.join_keys}
    frame = pl.DataFrame({name: columns[name] for name in names}, schema=schema, strict=False)
    return frame.unique() if count else frame


def _erase_source(project: Project, source: EventSource, wanted: pl.DataFrame, removed: Counter[str]) -> None:
    events = project.lake.table("events", source.name)
    _erase_quarantine(project.lake.table("quarantine", source.name), wanted, removed)
    names = wanted.columns
    if not events.exists() or not all(name in events.schema().names for name in names):
        return
    views = [view for view in project.definitions.views.values() if view.source == source.name]
    theirs = _matching(events.scan(), wanted)
    touched = {view.name: _keys_of(view, source, theirs, wanted) for view in views}
    removed[f"events/{source.name}"] += _delete(events, wanted)
    version = events.version() or 0
    for view in views:
        _erase_view(project, view, source, version, touched[view.name], wanted, removed)
    _vacuum(events)


def _erase_view(
    project: Project,
    view: FeatureView,
    source: EventSource,
    version: int,
    touched: pl.DataFrame,
    wanted: pl.DataFrame,
    removed: Counter[str],
) -> None:
    quarantine = quarantine_table(project, view.name)
    _erase_quarantine(quarantine, wanted, removed)
    table = project.lake.table("features", view.name)
    if has_table(view) and table.exists():
        if all(name in table.schema().names for name in wanted.columns):
            removed[f"features/{view.name}"] += _delete(table, wanted)
        bring_up(project, view, version_of(view), source, version, full=True)
        _vacuum(table)
    if touched.height and view.online:
        served = read_serving(project.catalog, view.name).versions.values()
        doomed = [
            key
            for one in served
            if one.join_keys == view.join_keys
            for key in entity_keys(project.config.project, view.name, one, touched)
        ]
        removed[f"online/{view.name}"] += project.online.delete(doomed)
        # What is left of these keys: entities of other kinds that shared events with the erased ones.
        if view.aggregations:
            write_keys(project, view, source, version, touched, empty=False)
            return
        computed = without_quarantined(view, source, compute_keys(project, view, source, version, touched))
        write_rows(project, view, computed, computed.frame.collect(), version)


def _keys_of(view: FeatureView, source: EventSource, events: pl.LazyFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """The keys of a view that these events are part of, and the erased entities themselves."""
    names = [key.name for key in view.join_keys]
    compute = window_events if view.aggregations else compute_view
    keys = compute(view, source, events).frame.select(names).unique().drop_nulls().collect()
    if set(names) == set(wanted.columns):
        keys = pl.concat([keys, wanted.select(names).cast(dict(keys.schema))]).unique()  # type: ignore[arg-type]
    return keys


def _matching(rows: pl.LazyFrame, wanted: pl.DataFrame) -> pl.LazyFrame:
    types = {name: dtype for name, dtype in rows.collect_schema().items() if name in wanted.columns}
    return rows.join(wanted.lazy().cast(types), on=wanted.columns, how="semi")  # type: ignore[arg-type]


def _delete(table: LakeTable, wanted: pl.DataFrame) -> int:
    if wanted.width == 1:
        (name,) = wanted.columns
        return table.delete(pl.col(name).is_in(wanted[name].implode()))
    entities = [
        pl.all_horizontal(pl.col(name) == pl.lit(value, wanted.schema[name]) for name, value in row.items())
        for row in wanted.iter_rows(named=True)
    ]
    return table.delete(pl.any_horizontal(entities)) if entities else 0


def _erase_quarantine(table: LakeTable, wanted: pl.DataFrame, removed: Counter[str]) -> None:
    if not table.exists():
        return
    has_raw = "raw" in table.schema().names
    texts = table.scan().select("row", *(["raw"] if has_raw else [])).unique().collect()
    entities = [{name: str(value) for name, value in row.items()} for row in wanted.iter_rows(named=True)]
    parsed = [text for text in texts["row"].drop_nulls().unique().to_list() if _names_one(json.loads(text), entities)]
    condition = pl.col("row").is_in(pl.Series(parsed, dtype=pl.String).implode())
    if has_raw:
        words = [[re.compile(rf"(?<!\w){re.escape(value)}(?!\w)") for value in one.values()] for one in entities]
        unparsed = texts.filter(pl.col("row").is_null())["raw"].drop_nulls().to_list()
        lines = [line for line in unparsed if any(all(word.search(line) for word in one) for one in words)]
        condition |= pl.col("row").is_null() & pl.col("raw").is_in(pl.Series(lines, dtype=pl.String).implode())
    count = table.delete(condition)
    if count:
        removed[f"{table.kind}/{table.name}"] += count
        _vacuum(table)


def _names_one(row: Mapping[str, Any], entities: Sequence[Mapping[str, str]]) -> bool:
    return any(all(str(row.get(name)) == value for name, value in one.items()) for one in entities)


def _vacuum(table: LakeTable) -> None:
    table.vacuum(retention_hours=0)
