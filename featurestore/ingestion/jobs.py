"""The ingestion jobs: raw data in, a report of what became of each row out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from featurestore.allocation import share_freed_memory
from featurestore.errors import IngestionError
from featurestore.ingestion.batches import Batch, Landed, Progress, Target, counts_of, make_report
from featurestore.ingestion.inputs import LocalInput, resolve_inputs
from featurestore.ingestion.landing import land
from featurestore.ingestion.options import read_options
from featurestore.ingestion.readers import FORMATS, format_of, reader_for
from featurestore.ingestion.readers.chunks import no_type
from featurestore.ingestion.replay import replay
from featurestore.ingestion.report import BatchReport, IngestReport

if TYPE_CHECKING:
    from featurestore.ingestion.lake import Lake
    from featurestore.ingestion.readers.chunks import Chunk, TypeOf
    from featurestore.registry.catalog import Catalog
    from featurestore.registry.definitions import EventSource
    from featurestore.time import Clock

__all__ = ["BatchReport", "IngestReport", "ingest", "replay"]
_TABLES = ("parquet", "arrow", "frame")


def ingest(
    source: EventSource,
    data: Any,
    *,
    lake: Lake,
    catalog: Catalog,
    clock: Clock,
    format: str | None = None,
    idempotency_key: str | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Land raw data in a source's table.

    Each file, object or frame is one batch: it lands as a whole in one atomic commit, or not at all. Batches before one that
    fails stay landed. The same batch again changes nothing and counts as duplicates.

    Args:
        source: the source.
        data: a path, glob, folder, ``s3://`` or ``http(s)://`` URL, a frame (Arrow, Polars, pandas), rows as a list of
            mappings, or a list of any of these.
        format: in place of the source's format or the file's ending.
        idempotency_key: names the batch in place of the hash of its content; of several inputs, the n-th is ``key/n``.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        IngestionError: data that cannot land; names file, row and column.
        ValidationError: an expectation of policy ``reject`` failed.
    """
    share_freed_memory()
    target = Target(source, lake, catalog, clock)
    started = time.monotonic()
    inputs = resolve_inputs(data, lake.storage)
    landed: list[Landed] = []
    with catalog.start_run("ingest", source.name, inputs=[item.name for item in inputs]) as run:
        for number, item in enumerate(inputs, 1):
            key = idempotency_key if idempotency_key is None or len(inputs) == 1 else f"{idempotency_key}/{number}"
            with item.local() as local:
                landed.append(land(target, _batch(source, local, format, key), progress))
            report = make_report(target, landed, run.id, time.monotonic() - started)
            run.update(counts=counts_of(report), validation=report.validation, batches=report.to_dict()["batches"])
        return make_report(target, landed, run.id, time.monotonic() - started)


def _batch(source: EventSource, local: LocalInput, format: str | None, key: str | None) -> Batch:
    chosen = "frame" if local.table is not None else format or source.format or format_of(local.format_name)
    if chosen not in (*FORMATS, "frame"):
        reader_for(chosen)
    options = read_options(source)
    if key is not None and not key.strip():
        raise IngestionError("the idempotency key is empty", file=local.name, hint="give None, or a text that names the batch")
    identity = key or local.digest

    def read(as_text: frozenset[str], type_of: TypeOf = no_type) -> Iterator[Chunk]:
        return reader_for(chosen).read(local, options, as_text=as_text, type_of=type_of)

    return Batch(
        local.name,
        identity,
        read,
        local.size,
        {f"batch:{identity}": 1},
        from_json=chosen == "jsonl" or local.from_json,
        typed=chosen in _TABLES,
        format="rows" if local.table is not None and local.from_json else chosen,
    )
