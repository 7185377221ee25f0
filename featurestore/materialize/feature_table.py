"""The rows of a view in the lake: computed once, read by training and by the online store.

A view that takes its source's rows as they are, without expectations of its own, has no table: it would be a copy. The newest
commit's metadata says what the table holds: which version of the view over which version of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa

from featurestore.errors import ValidationError
from featurestore.registry.types import Vector
from featurestore.time import ARRIVAL_TIME, BATCH, EVENT_TIME
from featurestore.transforms.views import ComputedView, check_rows, compute_view

if TYPE_CHECKING:
    from featurestore.ingestion.lake_table import LakeTable
    from featurestore.project import Project
    from featurestore.registry.definitions import EventSource, FeatureView
    from featurestore.registry.records import Field
    from featurestore.validation.results import ValidationReport

VIEW_VERSION: Final = "view_version"
SOURCE_VERSION: Final = "source_version"
ARRIVAL_KNOWN: Final = "arrival_known"
ROW_WISE: Final = "row_wise"
_BATCH_VALUES: Final = 16_000_000
_BATCH_ROWS: Final = (20_000, 1_000_000)
_HISTORY: Final = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """What a feature table holds."""

    view_version: str
    source_version: int
    row_wise: bool


@dataclass(slots=True)
class TableWork:
    """What was done to bring a table up to date."""

    standing: Standing
    rows: int = 0
    quarantined: int = 0
    validation: dict[str, Any] | None = None


def batch_rows(fields: Sequence[Field]) -> int:
    """How many rows of these features are held at once: about 128 MiB of numbers."""
    width = 8 + sum(field.type.size if isinstance(field.type, Vector) else 1 for field in fields)
    low, high = _BATCH_ROWS
    return max(low, min(high, _BATCH_VALUES // width))


def has_table(view: FeatureView) -> bool:
    """Whether a view's rows are kept in the lake."""
    return not view.aggregations and (view.transform is not None or bool(view.expectations))


def standing_of(table: LakeTable) -> Standing | None:
    """What a feature table holds; None where there is none, or nobody knows."""
    for limit in (_HISTORY, None):
        for entry in table.history(limit):
            found = entry.metadata
            if VIEW_VERSION in found:
                return Standing(found[VIEW_VERSION], int(found[SOURCE_VERSION]), found.get(ROW_WISE) == "true")
    return None


def bring_up(project: Project, view: FeatureView, version: str, source: EventSource, until: int, *, full: bool) -> TableWork:
    """Bring a view's table up to a version of its source: by the added rows where that is the same, else as a whole.

    Raises:
        ValidationError: the rows fail an expectation of policy ``reject``; the table stays as it was.
    """
    table = project.lake.table("features", view.name)
    events = project.lake.table("events", source.name)
    while True:
        standing = None if full else standing_of(table)
        if standing is not None and standing.view_version == version:
            if standing.source_version >= until:
                return TableWork(standing)
            added = events.added_files(standing.source_version, until) if standing.row_wise else None
        else:
            standing = added = None
        files = events.files(until) if added is None else added
        computed = compute_view(view, source, events.scan_files(files, version=until), engine=project.config.engine.name)
        if added is not None and not computed.row_wise:
            added = None
            computed = compute_view(view, source, events.scan(until), engine=project.config.engine.name)
        write = _Write(project, view, source, computed, f"{version}:{until}")
        metadata = {
            VIEW_VERSION: version,
            SOURCE_VERSION: str(until),
            ARRIVAL_KNOWN: str(computed.arrival_known).lower(),
            ROW_WISE: str(computed.row_wise).lower(),
        }
        keys = [key.name for key in view.join_keys]
        batches = write.batches()
        if added is None or standing is None:
            commit = table.overwrite(batches, metadata=metadata, sort_by=(*keys, EVENT_TIME))
        else:
            # Named by where it begins: of two jobs that both start here, one appends, and the other looks again.
            interval = {f"materialize:{version}:after:{standing.source_version}": 1}
            commit = table.append(batches, metadata=metadata, sort_by=(*keys, EVENT_TIME), transactions=interval)
        if commit.committed:
            return TableWork(Standing(version, until, computed.row_wise), write.rows, write.quarantined, write.validation)
        full = standing_of(table) == standing  # refused, though nobody went on from there: begin anew


@dataclass(slots=True)
class _Write:
    """Streams computed rows into a table, judged on the way."""

    project: Project
    view: FeatureView
    source: EventSource
    computed: ComputedView
    batch: str
    rows: int = 0
    quarantined: int = 0
    validation: dict[str, Any] | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        schema = pl.DataFrame(schema=self.computed.frame.collect_schema()).to_arrow().schema
        # No rows make a table with columns, too.
        yield pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
        for rows in judged(self.view, self.source, self._counted(), self):
            yield from rows.to_arrow().cast(schema).to_batches()

    def _counted(self) -> Iterator[pl.DataFrame]:
        for rows in self.computed.frame.collect_batches(chunk_size=batch_rows(self.computed.features)):
            check_rows(self.view.name, rows)
            self.rows += rows.height
            yield rows

    def finish(self, report: ValidationReport, bad: list[pl.DataFrame]) -> None:
        """Take the verdict: refuse, or keep aside what failed."""
        self.validation = report.to_json_dict()
        refuse(self.view, report)
        self.quarantined = sum(rows.height for rows in bad)
        if self.quarantined:
            put_aside(self.project, self.view, bad, self.batch)


def judged(view: FeatureView, source: EventSource, batches: Iterator[pl.DataFrame], write: _Write) -> Iterator[pl.DataFrame]:
    """Batches without the rows that fail a ``quarantine`` expectation; the verdict comes with the last."""
    if not view.expectations:
        yield from batches
        return
    from featurestore.validation.evaluation import BatchEvaluation

    schema = write.computed.frame.rename({EVENT_TIME: source.event_time}).collect_schema()
    bad: list[pl.DataFrame] = []
    with BatchEvaluation(view.expectations, schema) as evaluation:
        for rows in batches:
            good, failing = evaluation.update(rows.rename({EVENT_TIME: source.event_time}))
            if failing.height:
                bad.append(failing)
            yield good.rename({source.event_time: EVENT_TIME})
        write.finish(evaluation.finish(), bad)


def refuse(view: FeatureView, report: ValidationReport) -> None:
    """Raise where an expectation of policy ``reject`` failed."""
    if report.rejected:
        failed = ", ".join(result.expectation.type for result in report.rejected)
        raise ValidationError(
            f"the rows of feature view {view.name!r} fail {failed}",
            result=report.to_json_dict(),
            hint="nothing was written; mend the source or the transform, or change the policy to quarantine or warn",
        )


def quarantine_table(project: Project, view: str) -> LakeTable:
    """Where the rows of a view are kept that failed an expectation."""
    return project.lake.table("quarantine", f"view.{view}")


def put_aside(project: Project, view: FeatureView, bad: list[pl.DataFrame], batch: str) -> None:
    """Keep rows in the view's quarantine table, once a batch."""
    from featurestore.validation.batches import EXPECTATION, REASON

    rows = pl.concat(bad)
    values = rows.drop(REASON, EXPECTATION)
    table = rows.select(
        pl.Series("row", [_json(row) for row in values.iter_rows(named=True)], pl.String),
        pl.col(REASON).alias("reason"),
        pl.col(EXPECTATION).alias("expectation"),
        pl.lit(project.clock.now()).cast(pl.Datetime("us", "UTC")).alias(ARRIVAL_TIME),
        pl.lit(batch).alias(BATCH),
    )
    quarantine_table(project, view.name).append(table.to_arrow(), transactions={f"batch:{batch}": 1})


def _json(row: dict[str, Any]) -> str:
    import json

    return json.dumps(row, default=str)
