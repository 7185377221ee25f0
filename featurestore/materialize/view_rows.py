"""What the online rows of a view are made from: its table in the lake, or its source's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from featurestore.registry.records import Field
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.views import compute_view, view_schema

if TYPE_CHECKING:
    from featurestore.ingestion.lake_table import LakeTable
    from featurestore.project import Project
    from featurestore.registry.definitions import EventSource, FeatureView


@dataclass(frozen=True, slots=True)
class ViewRows:
    """Rows of a view, file by file of one version of a table.

    Args:
        row_wise: each row comes from one event, so that added files hold all that is new.
        revision: of rows that are computed as a whole: the version of the source that they were computed from.
    """

    view: FeatureView
    source: EventSource
    table: LakeTable
    version: int
    fields: tuple[Field, ...]
    row_wise: bool
    revision: int | None

    @property
    def is_kept(self) -> bool:
        """Whether the view's own table is read."""
        return self.table.kind == "features"

    @property
    def event_time(self) -> str:
        """What the column of event times is called in the files."""
        return EVENT_TIME if self.is_kept else self.source.event_time

    def files(self, *, start: datetime | None = None, end: datetime | None = None) -> list[str]:
        """The files, newest first, that may hold rows with an event time in ``[start, end)``."""
        return self.table.files(self.version, start=start, end=end, event_time=self.event_time)[::-1]

    def frame(self, files: Sequence[str]) -> pl.LazyFrame:
        """Join keys, hidden columns and features of some files."""
        rows = self.table.scan_files(files, version=self.version)
        if not self.is_kept:
            return compute_view(self.view, self.source, rows).frame
        keys = (key.name for key in self.view.join_keys)
        return rows.select(*keys, EVENT_TIME, ARRIVAL_TIME, SEQUENCE, *(f.name for f in self.fields))


def rows_of(project: Project, view: FeatureView, source: EventSource, version: int, *, row_wise: bool | None) -> ViewRows:
    """The rows of a view over a version of its source.

    Args:
        row_wise: what is known of the view's own table; None where it has none.
    """
    events = project.lake.table("events", source.name)
    fields = tuple(view_schema(view, source, events.schema(version)))
    if row_wise is None:
        return ViewRows(view, source, events, version, fields, True, None)
    table = project.lake.table("features", view.name)
    return ViewRows(view, source, table, table.version() or 0, fields, row_wise, None if row_wise else version)
