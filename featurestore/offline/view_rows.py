"""The rows that answer a look-up: those of a view, or, for a view of windows, the events of its source.

The two kinds have the same methods, so that a retrieval treats them alike, in memory and bucket by bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import polars as pl

from featurestore.features import ViewLookup
from featurestore.ingestion.parts import ROW_GROUP_ROWS
from featurestore.offline.labels import INSTANT
from featurestore.offline.lookups import STATUS, Answer, check_arrival_known, look_up
from featurestore.offline.pieces import Piece
from featurestore.registry.feature_names import stem
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms import engines
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.keys import KEY_ID, match_keys, number_keys
from featurestore.transforms.views import ComputedView, check_rows, named
from featurestore.transforms.windows.api import compute_windows
from featurestore.transforms.windows.needs import columns_read

if TYPE_CHECKING:
    from featurestore.offline.inputs import Inputs


class ViewRows(Protocol):
    """Rows by join key and ``__event_time``, and how they answer."""

    @property
    def frame(self) -> pl.LazyFrame:
        """The rows: join keys in their types, the hidden columns, and what the look-up needs."""

    @property
    def row_wise(self) -> bool:
        """Whether each row comes from one event; else all events were needed to compute any."""

    def pieces(self) -> Iterator[pl.LazyFrame]:
        """The same rows, in frames to be read one after the other."""

    def with_frame(self, frame: pl.LazyFrame) -> ViewRows:
        """The same with other rows: those of one bucket."""

    def answer(self, labels: pl.DataFrame, *, engine: EngineRecord) -> Answer:
        """The features of labels (key columns and ``__instant``)."""


@dataclass(frozen=True, slots=True)
class AsOfRows:
    """The rows of a view, of which the newest answers."""

    lookup: ViewLookup
    computed: ComputedView
    as_known: bool
    split: Callable[[], Iterator[Piece]]

    @property
    def frame(self) -> pl.LazyFrame:
        """The rows: join keys, hidden columns, features needed."""
        return self.computed.frame.select(self._columns)

    @property
    def row_wise(self) -> bool:
        """Whether each row comes from one event."""
        return self.computed.row_wise

    def pieces(self) -> Iterator[pl.LazyFrame]:
        """The same rows, in frames to be read one after the other."""
        return (piece.frame.select(self._columns) for piece in self.split())

    @property
    def _columns(self) -> list[str]:
        keys = (key.name for key in self.lookup.view.join_keys)
        return [*keys, EVENT_TIME, ARRIVAL_TIME, SEQUENCE, *(f.name for f in self.lookup.features)]

    def with_frame(self, frame: pl.LazyFrame) -> ViewRows:
        """The same with other rows."""
        return replace(
            self,
            computed=replace(self.computed, frame=frame, row_wise=True),
            split=lambda: iter([Piece(lambda: frame, ROW_GROUP_ROWS)]),
        )

    def answer(self, labels: pl.DataFrame, *, engine: EngineRecord) -> Answer:
        """The features of labels."""
        computed = self.computed
        if computed.row_wise:
            return look_up(
                self.lookup,
                computed,
                labels,
                as_known=self.as_known,
                engine=engine,
                pieces=self.split(),
            )
        # Two passes must see one order of rows, which a transform that mixes them need not give twice.
        with named(self.lookup.view.name):
            rows, engine = engines.collect(self.frame, engine)
        computed = replace(computed, frame=rows.lazy())
        return look_up(self.lookup, computed, labels, as_known=self.as_known, engine=engine)


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The events of a view, as they are or as its transform makes them, over which its windows are computed at each instant."""

    lookup: ViewLookup
    computed: ComputedView
    as_known: bool
    split: Callable[[], Iterator[pl.LazyFrame]]

    @property
    def frame(self) -> pl.LazyFrame:
        """The events."""
        return self.computed.frame

    @property
    def row_wise(self) -> bool:
        """Whether each of them comes from one event of the source."""
        return self.computed.row_wise

    def pieces(self) -> Iterator[pl.LazyFrame]:
        """The same events, in frames to be read one after the other."""
        return self.split()

    def with_frame(self, frame: pl.LazyFrame) -> ViewRows:
        """The same with other events."""
        return replace(self, computed=replace(self.computed, frame=frame))

    def answer(self, labels: pl.DataFrame, *, engine: EngineRecord) -> Answer:
        """The features of labels; an empty window is ``PRESENT`` where it has a value, such as a count of 0."""
        view = self.lookup.view
        join_keys = [key.name for key in view.join_keys]
        columns = zip(join_keys, self.lookup.key_columns, strict=True)
        keys = labels.select(*(pl.col(column).alias(key) for key, column in columns), INSTANT)
        table, ids = number_keys(keys, join_keys)
        with named(view.name):
            matched = match_keys(self.frame, table, join_keys, kept=columns_read(view))
            events, engine = engines.collect(matched, engine)
        check_rows(view.name, events)
        found = compute_windows(
            view,
            events,
            events[KEY_ID].to_numpy(),
            ids.to_numpy(),
            keys[INSTANT].to_numpy(),
            as_known=self.as_known,
            xp=engines.arrays(engine),
        )
        approximate = [stem(aggregation) for aggregation in view.aggregations if aggregation.approx]
        if approximate and engine.name == "gpu":
            engine = engine.falling_back(f"approximate aggregations of {view.name}: {', '.join(approximate)}")
        values = {self.lookup.column(f.name): found[f.name] for f in self.lookup.features}
        present = pl.when(pl.all().is_not_null()).then(pl.lit("PRESENT")).otherwise(pl.lit("NULL")).cast(STATUS).name.keep()
        frame = pl.DataFrame(values)
        return Answer(frame, frame.select(present), engine)


def open_rows(inputs: Inputs, lookup: ViewLookup, *, until: int | None, as_known: bool, engine: EngineRecord) -> ViewRows:
    """The rows that answer a look-up at instants up to ``until``.

    Raises:
        TransformError: ``as_known`` on a view that cannot answer it.
    """
    windows = bool(lookup.view.aggregations)
    opened = inputs.window_events if windows else inputs.open
    computed = opened(lookup.view, until=until, engine=engine.name)
    if as_known:
        check_arrival_known(lookup.view.name, computed)
    if windows:
        return WindowRows(lookup, computed, as_known, partial(inputs.window_pieces, lookup.view, computed, until=until))
    pieces = partial(inputs.pieces, lookup.view, computed, until=until, engine=engine.name)
    return AsOfRows(lookup, computed, as_known, pieces)
