"""Historical retrieval: the features of each label row as they were at its instant."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.allocation import share_freed_memory
from featurestore.features import ResolvedFeatures, ViewLookup, reference_text, references_of, resolve_features
from featurestore.ingestion.object_storage import open_storage
from featurestore.ingestion.parts import column_options
from featurestore.offline.inputs import Inputs, source_names
from featurestore.offline.labels import INSTANT, Labels, check_columns, key_frame, open_labels, request_columns
from featurestore.offline.lookups import STATUS, Answer
from featurestore.offline.out_of_core import bytes_needed, spilled_answers
from featurestore.offline.view_rows import ViewRows, open_rows
from featurestore.registry.serialization import version_of
from featurestore.registry.types import to_arrow
from featurestore.transforms import engines
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.on_demand import on_demand_fields, run_on_demand

if TYPE_CHECKING:
    from featurestore.project import Project
    from featurestore.registry.definitions import EventSource, FeatureView, OnDemandFeatureView

_ROW_GROUP: Final = 128 * 1024
_SAFETY: Final = 4
"""Buckets are made so many times smaller than the limit: keys are skewed, and some steps hold their rows twice."""


def get_historical_features(
    project: Project,
    labels: Any,
    features: Any,
    *,
    as_known: bool = False,
    full_feature_names: bool = False,
    join_key_map: Mapping[str, str] | None = None,
    engine: str | None = None,
    versions: Mapping[str, int] | None = None,
) -> HistoricalJob:
    """The features of each label row as they were at its instant. Nothing is computed yet, but versions are pinned.

    A row at exactly the instant is visible; ``ttl`` is closed at both ends; ties fall to arrival, then sequence. Every label
    row comes back exactly once, in its order, with all its columns; a key that is null, or was never seen, gives nulls.

    Args:
        labels: frame (Polars, Arrow, pandas), path, or SQL text starting with ``select`` or ``with``: join keys,
            ``event_timestamp`` (naive is UTC), and anything else, which is kept as it is.
        features: a service or its name, or views and references.
        as_known: only rows that had arrived by the instant.
        full_feature_names: ``view__feature`` in place of ``feature``.
        join_key_map: from join key to the label column that holds it.
        engine: ``cpu``, ``gpu`` or ``auto``; the project's unless given.
        versions: versions of sources' tables to read, by source, in place of the newest.

    Raises:
        RetrievalError: labels or features that cannot be used.
        NotFoundError: an unknown service, view or feature.
    """
    share_freed_memory()
    inputs = Inputs.of(project, versions)
    resolved = resolve_features(
        inputs.definitions,
        features,
        view_fields=inputs.fields,
        on_demand_fields=on_demand_fields,
        full_feature_names=full_feature_names,
        join_key_map=join_key_map,
    )
    options = project.lake.storage.storage_options
    opened = open_labels(labels, partial(_run_sql, project), options)
    check_columns(opened, resolved)
    for source in source_names([lookup.view for lookup in resolved.lookups]):
        inputs.pin(source)
    texts = tuple(reference_text(reference) for reference in references_of(inputs.definitions, features))
    chosen = engines.choose(engine or project.config.engine.name)
    return HistoricalJob(inputs, opened, resolved, features=texts, as_known=as_known, engine=chosen)


def _run_sql(project: Project, query: str) -> pa.Table:
    from featurestore.offline.sql import sql

    return sql(project, query)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some label rows with what was found for them: both in the order of the answer's columns."""

    labels: pl.DataFrame
    features: pl.DataFrame
    statuses: pl.DataFrame


@dataclass(slots=True)
class _Progress:
    """What a run learns on its way."""

    engine: EngineRecord
    buckets: int = 1
    rows: int = 0
    seconds: float = 0.0
    whole: set[str] = field(default_factory=set)
    done: bool = field(default=False)


class HistoricalJob:
    """A retrieval that runs when its result is asked for; frames are then kept, so that asking twice computes once.

    Attributes:
        labels: the label rows.
        features: the references asked for, as texts that ask for the same again.
        resolved: what they mean.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: Labels,
        resolved: ResolvedFeatures,
        *,
        features: tuple[str, ...],
        as_known: bool,
        engine: EngineRecord,
    ) -> None:
        self.labels = labels
        self.features = features
        self.resolved = resolved
        self._inputs = inputs
        self._as_known = as_known
        self._progress = _Progress(engine)
        self._revision = next((r.number for r in inputs.project.catalog.revisions()[:1]), 0)

    def __repr__(self) -> str:
        return f"HistoricalJob({', '.join(self.features)})"

    # -- what it is ------------------------------------------------------------------------------------------------------

    @property
    def schema(self) -> pa.Schema:
        """The columns of the result: those of the labels, then the features in the order asked for."""
        outputs = [pa.field(output.name, to_arrow(output.feature.type)) for output in self.resolved.outputs]
        return pa.schema([*self.labels.arrow_schema, *outputs])

    @property
    def versions(self) -> Mapping[str, int]:
        """The lake table versions that it reads, by source."""
        return dict(self._inputs.pinned)

    @property
    def revision(self) -> int:
        """The registry's revision when it was made."""
        return self._revision

    @property
    def definition_versions(self) -> Mapping[str, str]:
        """The versions of the views and sources that it is made of, by name."""
        views = [lookup.view for lookup in self.resolved.lookups]
        sources = [self._inputs.definitions.source(name) for name in source_names(views)]
        calls = [call.view for call in self.resolved.on_demand]
        definitions: list[EventSource | FeatureView | OnDemandFeatureView] = [*sources, *views, *calls]
        return {definition.name: version_of(definition) for definition in definitions}

    @property
    def record(self) -> Mapping[str, Any]:
        """Which engine runs it and why, and, once it ran, what it left to the CPU, in how many buckets, how long it took.

        ``computed_whole`` names the views whose transform mixes rows, so that it ran over all events of their source.
        """
        progress = self._progress
        record = progress.engine.to_dict()
        if progress.done:
            record |= {"buckets": progress.buckets, "rows": progress.rows, "seconds": round(progress.seconds, 6)}
            record |= {"computed_whole": sorted(progress.whole)} if progress.whole else {}
        return record

    # -- what it gives ---------------------------------------------------------------------------------------------------

    def to_polars(self) -> pl.DataFrame:
        """The result as a Polars frame."""
        return pl.concat([self._whole.labels, self._whole.features], how="horizontal")

    def to_arrow(self) -> pa.Table:
        """The result as an Arrow table."""
        return self._arrow(self._whole)

    def to_pandas(self) -> Any:
        """The result as a pandas frame; integers and booleans in pandas' nullable types, so that a null changes no value."""
        import pandas as pd

        nullable = {pa.bool_(): pd.BooleanDtype()}
        nullable |= {getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")() for name in _PANDAS_INTEGERS}
        return self.to_arrow().to_pandas(types_mapper=nullable.get)

    def to_parquet(self, url: str | os.PathLike[str]) -> str:
        """Write the result to one Parquet file, in bounded memory; it is there whole or not at all.

        Args:
            url: a path, or ``s3://bucket/key`` on the lake's server.

        Returns:
            The path or URL.
        """
        target = os.fspath(url)
        folder, _, name = target.rpartition("/")
        remote = target.startswith("s3://")
        scratch = self._spill_folder() if remote else Path(folder or ("/" if target.startswith("/") else "."))
        scratch.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(suffix=".part", prefix=f".{name}.", dir=scratch)
        os.close(handle)
        try:
            self._write(part)
            if remote:
                storage = open_storage(folder, settings=self._inputs.project.config.lake)
                storage.put(name, Path(part))
            else:
                Path(part).replace(target)
        finally:
            Path(part).unlink(missing_ok=True)
        return target

    def _write(self, path: str) -> None:
        writer: pq.ParquetWriter | None = None
        try:
            for chunk in self._chunks():
                table = self._arrow(chunk)
                writer = writer or pq.ParquetWriter(path, self.schema, **column_options(table))
                writer.write_table(table, row_group_size=_ROW_GROUP)
        finally:
            if writer is not None:
                writer.close()

    def statuses(self) -> pl.DataFrame:
        """For each feature of each label row: ``PRESENT``, ``NULL``, ``NOT_FOUND`` or ``EXPIRED``."""
        return self._whole.statuses

    # -- how -------------------------------------------------------------------------------------------------------------

    @cached_property
    def _whole(self) -> _Chunk:
        chunks = list(self._chunks())
        return _Chunk(*(pl.concat([getattr(chunk, part) for chunk in chunks]) for part in ("labels", "features", "statuses")))

    def _chunks(self) -> Iterator[_Chunk]:
        """The result in the order of the labels, at least one chunk."""
        if "_whole" in self.__dict__:
            yield self._whole
            return
        with self._run():
            for labels, answers in self._answers():
                chunk = self._assemble(labels, answers)
                self._progress.rows += labels.height
                yield chunk

    def _answers(self) -> Iterator[tuple[pl.DataFrame, list[Answer]]]:
        limit = self._inputs.project.config.engine.memory_limit
        in_one = self._progress.engine.name == "gpu"
        if bytes_needed(self._inputs, self.labels, self.resolved, whole=in_one) > limit:
            needed = bytes_needed(self._inputs, self.labels, self.resolved, whole=True)
            self._progress.buckets = min(512, -(-_SAFETY * needed // limit))
            folder = self._spill_folder()
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix="retrieval-") as scratch:
                yield from spilled_answers(
                    self.labels,
                    self.resolved,
                    self._open,
                    self._look_up,
                    buckets=self._progress.buckets,
                    folder=Path(scratch),
                )
            return
        labels = self.labels.collect()
        keys = key_frame(labels, self.resolved)
        until: Any = keys[INSTANT].max()
        yield labels, [self._look_up(self._open(lookup, until), keys) for lookup in self.resolved.lookups]

    def _open(self, lookup: ViewLookup, until: int | None) -> ViewRows:
        rows = open_rows(self._inputs, lookup, until=until, as_known=self._as_known, engine=self._progress.engine)
        if not rows.row_wise:
            self._progress.whole.add(lookup.view.name)
        return rows

    def _look_up(self, rows: ViewRows, keys: pl.DataFrame) -> Answer:
        found = rows.answer(keys, engine=self._progress.engine)
        self._progress.engine = self._progress.engine.merged(found.engine)
        return found

    def _assemble(self, labels: pl.DataFrame, answers: list[Answer]) -> _Chunk:
        """The columns asked for, on-demand features computed from what was found."""
        columns = {column.name: column for found in answers for column in found.values}
        statuses = {column.name: column for found in answers for column in found.statuses}
        inputs = {**columns, **request_columns(labels, self.resolved)}
        for call in self.resolved.on_demand:
            frame = pl.DataFrame([inputs[source].alias(name) for name, source in call.inputs])
            result = run_on_demand(call.view, frame)
            for feature in call.features:
                values = result[feature.name]
                columns[call.column(feature.name)] = inputs[call.column(feature.name)] = values
                present = pl.when(values.is_not_null()).then(pl.lit("PRESENT")).otherwise(pl.lit("NULL")).cast(STATUS)
                statuses[call.column(feature.name)] = pl.select(present).to_series()
        outputs = self.resolved.outputs
        return _Chunk(
            labels,
            pl.DataFrame([columns[output.source].alias(output.name) for output in outputs]),
            pl.DataFrame([statuses[output.source].alias(output.name) for output in outputs]),
        )

    def _arrow(self, chunk: _Chunk) -> pa.Table:
        return pl.concat([chunk.labels, chunk.features], how="horizontal").to_arrow().cast(self.schema)

    def _spill_folder(self) -> Path:
        config = self._inputs.project.config
        return config.resolve(config.engine.spill)

    @contextmanager
    def _run(self) -> Iterator[None]:
        """Record the run in the catalog."""
        self._progress.rows, started = 0, time.monotonic()
        details = {"versions": self.versions, "as_known": self._as_known, "revision": self.revision}
        with self._inputs.project.catalog.start_run("retrieval", ", ".join(self.features), **details) as run:
            yield
            self._progress.seconds = time.monotonic() - started
            self._progress.done = True
            record = self.record
            run.update(
                engine=record["name"],
                reason=record["reason"],
                counts={"rows": self._progress.rows},
                fallbacks=record["fallbacks"],
                buckets=self._progress.buckets,
                **({"computed_whole": record["computed_whole"]} if self._progress.whole else {}),
            )


_PANDAS_INTEGERS: Final = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
