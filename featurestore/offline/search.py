"""Finds, piece by piece of a view's rows, the row that answers each label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from featurestore.ingestion.stored_numbers import read_instants
from featurestore.offline.pieces import Piece, each
from featurestore.offline.winners import NEVER, Asked, Winners
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms import asof, engines
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.keys import Ints, Matched, match_events
from featurestore.transforms.sweep import Sweep, in_order
from featurestore.transforms.views import check_rows

_VALID: Final = "__valid:"

Find = Callable[[Ints, Ints, Ints | None], Ints]
"""The rows that answer labels, given by their places, in ascending order, and their keys' numbers; of those that are valid."""


@dataclass(frozen=True)
class _Rows:
    """Rows of a piece, numbered by key. What orders ties is read when it is asked for, which is seldom."""

    piece: Piece
    engine: EngineRecord
    matched: Matched
    times: Ints

    def of(self, column: Ints) -> Ints:
        """Of a column of the piece the values of those rows that were matched."""
        return column if self.matched.places is None else column[self.matched.places]

    def places(self, rows: Ints) -> Ints:
        """Where in the piece some of them stand."""
        return rows if self.matched.places is None else self.matched.places[rows]

    @cached_property
    def ties(self) -> tuple[Ints, Ints]:
        """Arrivals and sequences of the piece."""
        return _ties(self.piece, self.engine)


def _ties(piece: Piece, engine: EngineRecord) -> tuple[Ints, Ints]:
    columns, _ = engines.collect(piece.frame.select(ARRIVAL_TIME, SEQUENCE), engine)
    arrivals, sequences = (column.to_physical().fill_null(NEVER).to_numpy() for column in columns)
    return arrivals, sequences


class Search:
    """The rows that answer labels: the newest, and, feature by feature, the newest with a value.

    Args:
        view: its name, for errors.
        pieces: its rows.
        labels: by join key and ``__instant``.
        non_null: features of which the newest value is wanted.

    Attributes:
        asked, newest, by_feature: the labels in order, and the rows found, once it ran.
    """

    asked: Asked
    newest: Winners
    by_feature: dict[str, Winners]

    def __init__(
        self,
        view: str,
        pieces: Sequence[Piece],
        labels: pl.DataFrame,
        join_keys: Sequence[str],
        non_null: Sequence[str],
        *,
        as_known: bool,
        engine: EngineRecord,
    ) -> None:
        self._view = view
        self._pieces = pieces
        self._labels = labels
        self._join_keys = tuple(join_keys)
        self._non_null = tuple(non_null)
        self._as_known = as_known
        self._engine = engine

    def run(self) -> EngineRecord:
        """Look into every piece; what computed it."""
        engine = self._engine
        # Newest first: what a later piece answers, earlier ones need not be asked for.
        pieces = range(len(self._pieces))[::-1] if self._labels.drop_nulls(self._join_keys).height else ()
        for found in each(pieces, self._read, self._look_into, first=self._order_labels):
            engine = engine.merged(found)
        for winners in (self.newest, *self.by_feature.values()):
            winners.settle()
        return engine

    def _order_labels(self) -> None:
        self.asked = Asked.of(self._labels, self._join_keys)
        self.newest = Winners(self.asked, self._ties)
        self.by_feature = {name: Winners(self.asked, self._ties) for name in self._non_null}
        # Rows mostly lie in the order of time, and nothing else is to be done until the first of them are read.
        self.asked.by_time(np.arange(len(self.asked.ids)))

    def _read(self, piece: int) -> tuple[pl.DataFrame, EngineRecord]:
        columns, engine = self._as_stored(self._pieces[piece]), self._engine
        if columns is None:
            valid = [pl.col(name).is_not_null().alias(_VALID + name) for name in self._non_null]
            frame = self._pieces[piece].frame.select(*self._join_keys, EVENT_TIME, *valid)
            columns, engine = engines.collect(frame, self._engine)
        check_rows(self._view, columns)
        return columns, engine

    def _as_stored(self, piece: Piece) -> pl.DataFrame | None:
        """Keys and event times from the files, where they are whole numbers and none is null."""
        keys = {key: self._labels.schema[key] for key in self._join_keys}
        return None if self._non_null else read_instants(piece.files, keys, piece.event_time)

    def _look_into(self, piece: int, read: tuple[pl.DataFrame, EngineRecord]) -> EngineRecord:
        collected, engine = read
        times = collected[EVENT_TIME].to_physical().to_numpy()
        matched = match_events(collected, self.asked.keys)
        labels, keys = self._answerable(matched, times)
        if not len(labels):
            return engine
        rows = _Rows(self._pieces[piece], self._engine, matched, times)
        find = self._by_sweep(rows)
        if find is None:
            rows = replace(rows, matched=matched.asked_for(keys))
            find = self._by_sorting(rows)
        for winners, name in ((self.newest, None), *zip(self.by_feature.values(), self.by_feature, strict=True)):
            mask = None if name is None else rows.of(collected[_VALID + name].to_numpy())
            answer = find(labels, keys, mask)
            answered = np.flatnonzero(answer >= 0)
            found = rows.places(answer[answered])
            winners.offer(piece, labels[answered], found, times[found])
        return engine

    def _by_sweep(self, rows: _Rows) -> Find | None:
        """Of rows in the order of time: without sorting them. None where this is of no use."""
        if self._engine.name == "gpu" or rows.matched.key_numbers is not None or not asof.descends(np, rows.matched.keys):
            return None
        visible = rows.times
        if not in_order(visible, lambda: rows.ties):
            return None
        if self._as_known:
            # Of rows that became visible in the order of (event time, arrival, sequence) the last one is the greatest still.
            visible = np.maximum(visible, rows.ties[0])
            if asof.descends(np, visible):
                return None
        sweep = Sweep(rows.matched.keys, rows.of(visible), self.asked.keys.count)

        def find(labels: Ints, keys: Ints, valid: Ints | None) -> Ints:
            return sweep.find(keys, self.asked.instants[labels], self.asked.by_time(labels), valid)

        return find

    def _by_sorting(self, rows: _Rows) -> Find:
        """Of rows in any order: by the kernel, on any engine."""
        engine, matched = self._engine, rows.matched
        xp = engines.arrays(engine)
        keys, times = (engines.to_device(engine, column) for column in (matched.keys, rows.of(rows.times)))
        arrivals, sequences = (self._deferred(rows, which) for which in range(2))
        events = asof.Events(keys, times, arrivals.read() if self._as_known else arrivals, sequences)
        kernel = asof.AsOf(xp, events, as_known=self._as_known)

        def find(labels: Ints, keys: Ints, valid: Ints | None) -> Ints:
            order = self.asked.by_key(labels)
            asked, at = (engines.to_device(engine, column[order]) for column in (keys, self.asked.instants[labels]))
            mask = None if valid is None else engines.to_device(engine, valid)
            found = np.empty_like(order)
            found[order] = engines.to_host(engine, kernel.find(asked, at, mask).rows)
            return found

        return find

    def _deferred(self, rows: _Rows, which: int) -> asof.Deferred:
        return asof.Deferred(lambda: engines.to_device(self._engine, rows.of(rows.ties[which])))

    def _answerable(self, matched: Matched, times: Ints) -> tuple[Ints, Ints]:
        """The labels that a piece may answer, and their keys as its rows are numbered."""
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

    def _ties(self, piece: int, rows: Ints) -> tuple[Ints, Ints]:
        arrivals, sequences = _ties(self._pieces[piece], self._engine)
        return arrivals[rows], sequences[rows]
