"""Push: rows into the lake and, before returning, into the online store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from featurestore.errors import OnlineStoreError, OnlineStoreUnavailableError
from featurestore.materialize.feature_table import refuse
from featurestore.materialize.reports import PushReport
from featurestore.materialize.touched import compute_keys, write_rows
from featurestore.materialize.window_blocks import keys_of, write_keys
from featurestore.time import BATCH, EVENT_TIME
from featurestore.transforms.views import check_rows, compute_view

if TYPE_CHECKING:
    from featurestore.ingestion.report import BatchReport, IngestReport
    from featurestore.project import Project
    from featurestore.registry.definitions import EventSource, FeatureView


def push(project: Project, source: str, rows: Any, *, idempotency_key: str | None = None) -> PushReport:
    """Land rows in a source's table, and write what they change in its online views before returning.

    A row-wise view is computed over the pushed rows alone. Of any other view, one of windows too, the pushed keys are computed
    anew from the lake.
    Repeating a push whose answer was lost is safe: the rows land once, and the online rows are written if they were not. Rows
    whose event time is in the future land, and come online with the first materialization after it.

    Args:
        source: the source's name.
        rows: a frame, rows as mappings, or anything else that can be ingested.
        idempotency_key: names the batch, in place of the hash of its content.

    Raises:
        IngestionError: rows that cannot land.
        ValidationError: an expectation of policy ``reject`` failed: of the source, then nothing landed; of a view, then the
            rows landed, and that view's online rows stay as they were.
        OnlineStoreError: a key has more events in reach of a view's windows than ``max_block_bytes`` holds; the rows landed,
            that view's online rows stay as they were, and the other views are written.
    """
    from featurestore.ingestion.jobs import ingest

    definition = project.definitions.source(source)
    views = [view for view in project.definitions.views.values() if view.source == source and view.online]
    report = ingest(
        definition, rows, lake=project.lake, catalog=project.catalog, clock=project.clock, idempotency_key=idempotency_key
    )
    version = project.lake.table("events", source).version()
    pushed = _pushed_events(project, definition, report)
    if pushed is None or version is None:
        return PushReport(report, dict.fromkeys((view.name for view in views), 0))
    written: dict[str, int] = {}
    refused: list[OnlineStoreError] = []
    for view in views:
        try:
            written[view.name] = _bring_online(project, view, definition, pushed, version)
        except OnlineStoreUnavailableError:
            raise
        except OnlineStoreError as error:
            refused.append(error)
    if len(refused) > 1:
        messages = "; ".join(error.message for error in refused)
        raise OnlineStoreError(f"{len(refused)} feature views were not written: {messages}", hint=refused[0].hint)
    if refused:
        raise refused[0]
    return PushReport(report, written)


def _pushed_events(project: Project, source: EventSource, report: IngestReport) -> pl.LazyFrame | None:
    frames = [frame for batch in report.batches if (frame := _landed(project, source, batch)) is not None]
    return pl.concat(frames) if frames else None


def _landed(project: Project, source: EventSource, batch: BatchReport) -> pl.LazyFrame | None:
    """The rows of a batch in the lake, whether they landed now or before."""
    if batch.version is None or not batch.landed + batch.duplicates:
        return None
    table = project.lake.table("events", source.name)
    added = table.added_files(batch.version - 1, batch.version) if batch.landed else None
    mine = pl.col(BATCH) == batch.digest
    return (table.scan(batch.version) if added is None else table.scan_files(added, version=batch.version)).filter(mine)


def _bring_online(project: Project, view: FeatureView, source: EventSource, events: pl.LazyFrame, version: int) -> int:
    if view.aggregations:
        return write_keys(project, view, source, version, keys_of(project, view, source, events, version))
    computed = compute_view(view, source, events, engine=project.config.engine.name)
    if not computed.row_wise:
        keys = computed.frame.select(key.name for key in view.join_keys).unique().drop_nulls().collect()
        computed = compute_keys(project, view, source, version, keys)
    rows = computed.frame.collect()
    check_rows(view.name, rows)
    return write_rows(project, view, computed, _judged(view, source, rows), version)


def _judged(view: FeatureView, source: EventSource, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows without those that a materialization would put aside."""
    if not view.expectations:
        return rows
    from featurestore.validation.evaluation import BatchEvaluation

    named = rows.rename({EVENT_TIME: source.event_time})
    with BatchEvaluation(view.expectations, named.schema) as evaluation:
        good, _ = evaluation.update(named)
        refuse(view, evaluation.finish())
    return good.rename({source.event_time: EVENT_TIME})
