"""What a retrieval reads: pinned table versions, and the rows of views at those versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from featurestore.errors import NotFoundError, RetrievalError, did_you_mean
from featurestore.ingestion.parts import PART_ROWS, ROW_GROUP_ROWS
from featurestore.offline.pieces import Piece
from featurestore.registry.records import Field
from featurestore.registry.serialization import version_of
from featurestore.time import EVENT_TIME, from_micros
from featurestore.transforms.views import (
    ComputedView,
    compute_view,
    empty_events,
    view_schema,
    window_events,
    without_quarantined,
)

if TYPE_CHECKING:
    import polars as pl

    from featurestore.ingestion.lake_table import HistoryEntry, LakeTable
    from featurestore.project import Project
    from featurestore.registry.definitions import Definitions, FeatureView

VIEW_VERSION: Final = "view_version"
"""Commit metadata of a feature table: the version of the view that computed it."""
SOURCE_VERSION: Final = "source_version"
"""Commit metadata of a feature table: the version of the source's table that all of it was computed from."""
ARRIVAL_KNOWN: Final = "arrival_known"
"""Commit metadata of a feature table: ``true`` where ``__arrival_time`` says when a row could first be known."""
_HISTORY: Final = 100


@dataclass(frozen=True)
class Inputs:
    """A project's tables at pinned versions. The versions of sources are found when first needed, then stay."""

    project: Project
    definitions: Definitions
    pinned: dict[str, int]

    @classmethod
    def of(cls, project: Project, versions: Mapping[str, int] | None = None) -> Inputs:
        """The newest versions, or those given by source name.

        Raises:
            RetrievalError: a version of no source.
        """
        definitions = project.definitions
        for name in versions or {}:
            if name not in definitions.sources:
                hint = did_you_mean(name, definitions.sources)
                raise RetrievalError(f"a version is given for {name!r}, which is no source", hint=hint)
        return cls(project, definitions, dict(versions or {}))

    def pin(self, source: str) -> int:
        """The version of a source's table.

        Raises:
            RetrievalError: nothing was ever ingested.
        """
        if source not in self.pinned:
            version = self.project.lake.table("events", source).version()
            if version is None:
                raise RetrievalError(f"source {source!r} has no rows yet", hint=f"run `featurestore ingest {source} FILE`")
            self.pinned[source] = version
        return self.pinned[source]

    def fields(self, view: FeatureView) -> tuple[Field, ...]:
        """All features of a view, typed."""
        declared = tuple(f for f in view.features or () if isinstance(f, Field))
        if view.features is not None and len(declared) == len(view.features):
            return declared
        source = self.definitions.source(view.source)
        return view_schema(view, source, self._table(view).schema(self.pin(view.source)))

    def rows(self, view: FeatureView) -> int:
        """An upper bound of the rows of a view that computes row by row."""
        return self._table(view).row_count(self.pin(view.source))

    def in_pieces(self, view: FeatureView) -> bool:
        """Whether :meth:`pieces` gives rows without having computed all of them."""
        if view.aggregations:
            return False
        if view.transform is None or self._kept_version(view) is not None:
            return True
        return view.mode == "polars" and self._computed(view, None, "cpu").row_wise

    def open(self, view: FeatureView, *, until: int | None = None, engine: str = "auto") -> ComputedView:
        """The rows of a view: kept ones, where they are exactly this view over this version, or else computed.

        Either way without those that an expectation of the view puts into quarantine.

        Args:
            until: only rows with an event time up to this instant (microseconds) are asked for; others may be left out where
                the view computes row by row.
        """
        return self._kept(view) or self._without_quarantined(view, self._computed(view, until, engine))

    def all_rows(self, view: FeatureView) -> pl.LazyFrame:
        """The rows of a view as its transform gives them, those for quarantine among them."""
        return self._computed(view, None, "auto").frame

    def pieces(
        self, view: FeatureView, whole: ComputedView, *, until: int | None = None, engine: str = "auto"
    ) -> Iterator[Piece]:
        """The rows of a view in pieces to be read one after the other; together they are those of :meth:`open`.

        One for each file where the view computes row by row: over many files at once Polars reads ahead of a slow reader, up to
        all of them (8,000,000 rows x 10 features: a peak of 1,070 MB against 500 MB).

        Args:
            whole: what :meth:`open` gave for the same instant.
        """
        kept = self._kept_version(view)
        if kept is not None:
            table = self.project.lake.table("features", view.name)
            for files in _file_groups(table, kept.version, until, EVENT_TIME):
                yield Piece(partial(table.scan_files, files, version=kept.version), ROW_GROUP_ROWS, tuple(files))
            return
        if not whole.row_wise or view.mode != "polars":
            yield Piece(lambda: whole.frame)
            return
        source = self.definitions.source(view.source)
        every_row = view.transform is None and not any(e.policy == "quarantine" for e in view.expectations)
        for files in _file_groups(self._table(view), self.pin(view.source), until, source.event_time):
            rows = partial(self._rows_of, view, files, engine)
            yield Piece(rows, ROW_GROUP_ROWS, tuple(files), source.event_time) if every_row else Piece(rows)

    def _rows_of(self, view: FeatureView, files: Sequence[str], engine: str) -> pl.LazyFrame:
        events = self._table(view).scan_files(files, version=self.pin(view.source))
        computed = compute_view(view, self.definitions.source(view.source), events, engine=engine)
        return self._without_quarantined(view, computed).frame

    def window_events(self, view: FeatureView, *, until: int | None = None, engine: str = "auto") -> ComputedView:
        """The events that a view's windows are taken over.

        Args:
            until: only events up to this instant (microseconds) are asked for.
        """
        return self._window_events(view, self.events(view), until, engine)

    def window_pieces(self, view: FeatureView, whole: ComputedView, *, until: int | None = None) -> Iterator[pl.LazyFrame]:
        """The same events in frames to be read one after the other: file by file where the view computes row by row, lazily.

        Args:
            whole: what :meth:`window_events` gave for the same instant.
        """
        if not whole.row_wise or (view.transform is not None and view.mode != "polars"):
            yield whole.frame
            return
        # The source's own event times say nothing of a transform's.
        for events in self.event_pieces(view, until=until if view.transform is None else None):
            yield self._window_events(view, events, until, "cpu").frame

    def _window_events(self, view: FeatureView, events: pl.LazyFrame, until: int | None, engine: str) -> ComputedView:
        import polars as pl

        source, columns = self.definitions.source(view.source), None
        if view.transform is not None:  # the types that plan and serving go by
            nothing = empty_events(self._table(view).schema(self.pin(view.source)))
            columns = window_events(view, source, nothing, engine="cpu").features
        computed = window_events(view, source, events, columns=columns, engine=engine)
        if until is None:
            return computed
        latest = pl.lit(until).cast(pl.Datetime("us", "UTC"))
        wanted = pl.col(EVENT_TIME) <= latest
        if view.transform is not None:  # a lost event time is an error, not an event that is not wanted
            wanted |= pl.col(EVENT_TIME).is_null()
        return replace(computed, frame=computed.frame.filter(wanted))

    def event_pieces(self, view: FeatureView, *, until: int | None = None) -> Iterator[pl.LazyFrame]:
        """The events of a view's source, file by file; small files that were written one after the other together."""
        table, version = self._table(view), self.pin(view.source)
        for files in _file_groups(table, version, until, self.definitions.source(view.source).event_time):
            yield table.scan_files(files, version=version)

    def events(self, view: FeatureView) -> pl.LazyFrame:
        """The events of a view's source."""
        return self._table(view).scan(self.pin(view.source))

    def _table(self, view: FeatureView) -> LakeTable:
        return self.project.lake.table("events", view.source)

    def _computed(self, view: FeatureView, until: int | None, engine: str) -> ComputedView:
        source, table, version = self.definitions.source(view.source), self._table(view), self.pin(view.source)
        files = table.files(version)
        if until is not None and (view.transform is None or view.mode == "polars"):
            early = table.files(version, end=_after(until), event_time=source.event_time)
            if len(early) < len(files):
                computed = compute_view(view, source, table.scan_files(early, version=version), engine=engine)
                if computed.row_wise:
                    return computed
        return compute_view(view, source, table.scan_files(files, version=version), engine=engine)

    def _without_quarantined(self, view: FeatureView, computed: ComputedView) -> ComputedView:
        return without_quarantined(view, self.definitions.source(view.source), computed)

    def _kept(self, view: FeatureView) -> ComputedView | None:
        kept = self._kept_version(view)
        if kept is None:
            return None
        # Kept rows are scanned as events are: again and again, in one order.
        frame = self.project.lake.table("features", view.name).scan(kept.version)
        return ComputedView(frame, self.fields(view), row_wise=True, arrival_known=kept.metadata.get(ARRIVAL_KNOWN) == "true")

    def _kept_version(self, view: FeatureView) -> HistoryEntry | None:
        """The version of a view's table that is exactly this view over this version of its source."""
        table = self.project.lake.table("features", view.name)
        if view.aggregations or not table.exists():
            return None
        wanted = (version_of(view), str(self.pin(view.source)))
        for entry in table.history(_HISTORY):
            if (entry.metadata.get(VIEW_VERSION), entry.metadata.get(SOURCE_VERSION)) == wanted:
                return entry
        return None


def _file_groups(table: LakeTable, version: int, until: int | None, event_time: str) -> list[list[str]]:
    return table.file_groups(version, end=_after(until), event_time=event_time, rows=PART_ROWS)


def _after(instant: int | None) -> datetime | None:
    return None if instant is None else from_micros(instant) + timedelta(microseconds=1)


def named_view(definitions: Definitions, name: str) -> FeatureView:
    """The feature view of that name.

    Raises:
        NotFoundError: it is none, or an on-demand view, which has no rows.
    """
    if name in definitions.on_demand_views:
        hint = "an on-demand view has no rows: it answers requests"
        raise NotFoundError("feature view", name, definitions.views, hint=hint)
    return definitions.view(name)


def source_names(views: Iterable[FeatureView]) -> list[str]:
    """The sources of views, each once, in order."""
    return list(dict.fromkeys(view.source for view in views))


def view_frame(inputs: Inputs, view: FeatureView) -> pl.LazyFrame:
    """The rows of a view as its author sees them: the event time under the source's name for it.

    Raises:
        TransformError: a view of windows, which has no rows.
    """
    event_time = inputs.definitions.source(view.source).event_time
    return inputs.open(view).frame.rename({EVENT_TIME: event_time})
