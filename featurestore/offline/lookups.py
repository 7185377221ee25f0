"""One view looked up for a batch of labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl

from featurestore.errors import TransformError
from featurestore.features import ViewLookup
from featurestore.offline.gather import gather
from featurestore.offline.labels import INSTANT
from featurestore.offline.pieces import each
from featurestore.offline.winners import NEVER, Asked, Winners
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms import asof, engines
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.keys import Ints, Matched, match_events
from featurestore.transforms.views import ComputedView, check_rows, named

STATUS: Final = pl.Enum(["PRESENT", "NULL", "NOT_FOUND", "EXPIRED"])
_VALID: Final = "__valid:"
_TIES: Final = (ARRIVAL_TIME, SEQUENCE)
_NAMES: Final = {asof.FOUND: "PRESENT", asof.NOT_FOUND: "NOT_FOUND", asof.EXPIRED: "EXPIRED"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The features of a look-up for each label, their statuses (both by internal name), and what computed them."""

    values: pl.DataFrame
    statuses: pl.DataFrame
    engine: EngineRecord


def look_up(
    lookup: ViewLookup,
    computed: ComputedView,
    labels: pl.DataFrame,
    *,
    as_known: bool,
    engine: EngineRecord,
    pieces: Iterable[pl.LazyFrame] | None = None,
) -> Answer:
    """The features of labels as of their instants.

    Two passes over the view's rows, piece by piece: keys and times first, to find the rows that answer; then the features of
    those rows only.

    Args:
        labels: the look-up's key columns and ``__instant``.
        pieces: the rows of the view, in frames that together are its frame and give one order of rows each time; None takes
            them in one.

    Raises:
        TransformError: ``as_known`` on a view that does not know when its rows could first be known.
    """
    view = lookup.view
    if as_known:
        check_arrival_known(view.name, computed)
    join_keys = [key.name for key in view.join_keys]
    keys = labels.select(
        *(pl.col(column).alias(key) for key, column in zip(join_keys, lookup.key_columns, strict=True)), INSTANT
    )
    # A GPU takes all at once: it has its own memory, and small pieces leave it idle.
    frames = [computed.frame] if pieces is None or engine.name == "gpu" else list(pieces)
    names = [f.name for f in lookup.features]
    search = _Search(view.name, join_keys, Asked.of(keys, join_keys), names if view.last_non_null else [], as_known, engine)
    with named(view.name):
        engine = search.run(frames)
        winners = {name: search.by_feature.get(name, search.newest) for name in names}
        values, engine = gather(frames, lookup.features, winners, view.ttl, search.asked, engine)
    renamed = pl.DataFrame([column.alias(lookup.column(name)) for name, column in values.items()])
    return Answer(renamed, _statuses(search.newest.status(view.ttl), search.asked, renamed), engine)


def check_arrival_known(view: str, computed: ComputedView) -> None:
    """Refuse ``as_known`` where it would have to be guessed.

    Raises:
        TransformError: the transform mixes rows and does not say when its result could first be known.
    """
    if not computed.arrival_known:
        raise TransformError(
            view,
            "as_known cannot be answered: its transform mixes rows and does not say when the result could first be known",
            hint='add an expression named __arrival_time, such as pl.col("__arrival_time").max() in agg(...)',
        )


@dataclass
class _Search:
    """Finds, over the pieces of a view, the row that answers each label: the newest, and the newest with a value."""

    view: str
    join_keys: Sequence[str]
    asked: Asked
    non_null: Sequence[str]
    as_known: bool
    engine: EngineRecord
    newest: Winners = field(init=False)
    by_feature: dict[str, Winners] = field(init=False)

    def __post_init__(self) -> None:
        self.newest = Winners(self.asked)
        self.by_feature = {name: Winners(self.asked) for name in self.non_null}

    def run(self, frames: Sequence[pl.LazyFrame]) -> EngineRecord:
        """Look into every piece; what computed it."""
        engine = self.engine
        if len(self.asked.ids):
            # Newest first: what a later piece answers, earlier ones need not be asked for.
            for found in each(self._look_into, reversed(range(len(frames))), reversed(frames)):
                engine = engine.merged(found)
        return engine

    def _look_into(self, piece: int, frame: pl.LazyFrame) -> EngineRecord:
        valid = [pl.col(name).is_not_null().alias(_VALID + name) for name in self.non_null]
        rows, engine = engines.collect(frame.select(*self.join_keys, EVENT_TIME, ARRIVAL_TIME, SEQUENCE, *valid), self.engine)
        check_rows(self.view, rows)
        times, (arrivals, sequences) = rows[EVENT_TIME].to_physical().to_numpy(), (_nullable(rows[c]) for c in _TIES)
        matched = match_events(rows, self.asked.table, self.join_keys)
        labels, keys = self._labels(matched, times)
        if not len(labels):
            return engine
        kernel = self._kernel(engine, matched, times, arrivals, sequences)
        by_time = self.asked.by_time if kernel.needs_time_order and len(labels) == len(self.asked.ids) else None
        asked = (keys, self.asked.instants[labels], by_time)
        on_device = [None if column is None else engines.to_device(engine, column) for column in asked]
        for winners, name in ((self.newest, None), *zip(self.by_feature.values(), self.by_feature, strict=True)):
            mask = None if name is None else rows[_VALID + name].to_numpy()
            if mask is not None:
                mask = engines.to_device(engine, mask if matched.places is None else mask[matched.places])
            answer = engines.to_host(engine, kernel.find(on_device[0], on_device[1], mask, on_device[2]).rows)
            answered = np.flatnonzero(answer >= 0)
            found = _taken(matched.places, answer[answered])
            ties = (np.full(len(found), NEVER) if column is None else column[found] for column in (arrivals, sequences))
            winners.offer(piece, labels[answered], found, times[found], *ties)
        return engine

    def _kernel(
        self, engine: EngineRecord, matched: Matched, times: Ints, arrivals: Ints | None, sequences: Ints | None
    ) -> asof.AsOf:
        """The events of a piece, sorted. Arrivals and sequences are taken where they decide, which is seldom."""
        xp = engines.arrays(engine)
        if self.as_known:
            arrivals = np.full_like(times, NEVER) if arrivals is None else arrivals
            arrivals = arrivals if matched.places is None else arrivals[matched.places]
        keys, at = engines.to_device(engine, matched.keys), times if matched.places is None else times[matched.places]
        ties: list[Any] = []
        for column in (arrivals, sequences):
            taken = column is None or matched.places is None or len(column) == len(at)
            on_device = None if column is None else engines.to_device(engine, column)
            ties.append(on_device if taken else asof.Taken(on_device, engines.to_device(engine, matched.places)))
        return asof.AsOf(xp, asof.Events(keys, engines.to_device(engine, at), *ties), as_known=self.as_known)

    def _labels(self, matched: Matched, times: Ints) -> tuple[Ints, Ints]:
        """The labels that a piece may answer, and their keys as its events are numbered."""
        if not len(times):
            return times, times
        chosen = self.asked.instants >= times.min()
        if not self.by_feature:
            chosen &= self.newest.may_yield_to(times.max())
        labels = np.flatnonzero(chosen)
        keys = self.asked.ids[labels]
        if matched.key_numbers is not None:
            keys = matched.key_numbers[keys]
            labels, keys = labels[keys >= 0], keys[keys >= 0]
        return labels, keys


def _taken(column: Ints | None, places: Ints) -> Ints:
    return places if column is None else column[places]


def _nullable(values: pl.Series) -> Ints | None:
    if values.null_count() == len(values):
        return None
    physical = values.to_physical()
    return (physical.fill_null(NEVER) if physical.null_count() else physical).to_numpy()


def _statuses(status: Ints, asked: Asked, values: pl.DataFrame) -> pl.DataFrame:
    """The status of each value: that of its row, or ``NULL`` where the row holds none."""
    codes = np.full(asked.count, asof.NOT_FOUND, dtype=np.int8)
    codes[asked.places] = status
    without = int(np.count_nonzero(codes != asof.FOUND))
    rows = pl.Series(codes).replace_strict(_NAMES, return_dtype=STATUS)
    absent = pl.select(pl.when(rows == "PRESENT").then(pl.lit("NULL", dtype=STATUS)).otherwise(rows)).to_series()

    def of(column: pl.Series) -> pl.Series:
        if column.null_count() == without:
            return rows.alias(column.name)
        return pl.select(pl.when(column.is_not_null()).then(rows).otherwise(absent).alias(column.name)).to_series()

    return pl.DataFrame([of(column) for column in values])
