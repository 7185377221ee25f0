"""The plain functions of numbers over tiles and the events since, all entities of a request at once: a few numpy calls.

What ``thin_windows.py`` is to blocks of events. Of each window the items of tiles and the values of events are reduced apart,
each in one call for all columns alike, and merged. Where the plain way is not known to be exact, there is no answer here but
that of ``compute_merged``: sums that are or might become infinite, NaN or too large for 64 bits. A sum of floats is taken if
its rounding error, at most ``n * eps * sum(|x|)``, is below 1e-10 of it; else it is taken exactly, by ``math.fsum``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import polars as pl

from featurestore.online.careful import NotPlainError
from featurestore.registry import types as t
from featurestore.transforms.windows.ranges import LOWEST, edges, half_open, prefix
from featurestore.transforms.windows.tile_states import STATES, State, states

if TYPE_CHECKING:
    from featurestore.codec.blocks import DecodedBlocks
    from featurestore.online.block_forms import HeldTiles
    from featurestore.transforms.windows.schema import WindowFeature

_Array: TypeAlias = np.ndarray[Any, Any]
_ERROR: Final = 1e-10
_EPSILON: Final = float(np.finfo(np.float64).eps)
_EXACT_FLOAT: Final = 1 << 53
_LARGEST: Final = 1 << 62


_INTEGERS: Final = frozenset({t.Int8, t.Int16, t.Int32, t.Int64, t.UInt8, t.UInt16, t.UInt32})
_FUNCTIONS: Final = frozenset({"sum", "mean", "min", "max", "first", "last"})


def is_plain(feature: WindowFeature) -> bool:
    """Whether a feature can be answered here."""
    aggregation, kind, function = feature.aggregation, feature.column_type, feature.function.name
    if aggregation.by or aggregation.order_by or aggregation.empty is not None or feature.parameters:
        return False
    if function == "count":
        return not isinstance(kind, t.List | t.Vector)
    return function in _FUNCTIONS and (kind in _INTEGERS or kind in (t.Float32, t.Float64))


class ThinTiles:
    """Plain features of one view.

    Args:
        features: all of them plain.
    """

    def __init__(self, features: Sequence[WindowFeature]) -> None:
        self._windows = list(dict.fromkeys((f.window, f.aggregation.bounds, f.aggregation.delay) for f in features))
        columns: dict[Any, _Seen] = {}
        for feature in features:
            aggregation = feature.aggregation
            where = None if aggregation.where is None else aggregation.where.data
            seen = columns.setdefault(
                (aggregation.column, where),
                _Seen(aggregation.column, None if aggregation.where is None else aggregation.where.polars(), {}, []),
            )
            function = feature.function.name
            seen.states.update({(function, state.kind): state for state in states(feature, None)})
            window = self._windows.index((feature.window, aggregation.bounds, aggregation.delay))
            seen.features.append((feature.name, function, window))
        self._seen = list(columns.values())

    def answer(self, tiles: HeldTiles, events: DecodedBlocks, instant: int) -> dict[str, list[Any]]:
        """The values of each feature, by block.

        Raises:
            NotPlainError: the kernels have to answer.
        """
        request = _Request(tiles, events, self._edges(instant))
        answers: dict[str, list[Any]] = {}
        with np.errstate(all="ignore"):
            for seen in self._seen:
                request.add(seen, answers)
        return answers

    def _edges(self, instant: int) -> _Array:
        """The first instant of each window, then the one after the last of each."""
        at = np.array([instant], dtype=np.int64)
        low, high = [], []
        for window, bounds, delay in self._windows:
            left, right = half_open(*edges(np, window, delay, at), bounds)
            low.append(LOWEST if left is None else int(left[0]))
            high.append(int(right[0]))
        return np.array(low + high, dtype=np.int64)


@dataclass(frozen=True)
class _Seen:
    """Features of one column, of the rows that one ``where=`` lets through: name, function, number of the window."""

    column: str | None
    where: pl.Expr | None
    states: dict[tuple[str, str], State]
    features: list[tuple[str, str, int]]


class _Request:
    """The tiles and events of a request, and where its windows lie in them."""

    def __init__(self, tiles: HeldTiles, events: DecodedBlocks, at: _Array) -> None:
        self._tiles, self._events = tiles, events
        counts = np.asarray(events.counts)
        half = at.size // 2
        self._shape = (counts.size, half)
        found = _places(tiles.starts, prefix(np, tiles.counts), at)
        self._tile_low, self._tile_high = found[:, :half].ravel(), found[:, half:].ravel()
        found = _places(events.times, prefix(np, counts), at)
        self._event_spans = _Spans(found[:, :half].ravel(), found[:, half:].ravel())
        self._spans: dict[int, tuple[_Array, _Spans]] = {}

    def add(self, seen: _Seen, answers: dict[str, list[Any]]) -> None:
        merged = _Column(self, seen)
        for function in dict.fromkeys(function for _, function, _ in seen.features):
            values = merged.of(function).reshape(self._shape)
            some = None
            if function != "count" and not (there := merged.there(function).reshape(self._shape)).all():
                some = there.T.tolist()
            lists = values.T.tolist()
            for name, wanted, window in seen.features:
                if wanted == function:
                    found = lists[window]
                    answers[name] = (
                        found if some is None else [v if n else None for v, n in zip(found, some[window], strict=True)]
                    )

    def tiles(self, state: State) -> _Runs:
        """The items of a state of each window's tiles."""
        before = self._tiles.before(state)
        if before is None:
            nothing = np.zeros(self._tile_low.size, dtype=np.int64)
            return _Runs(np.zeros(0, dtype=np.int64), _Spans(nothing, nothing))
        # States of which every tile has as many items share what lies before each.
        if id(before) not in self._spans:
            self._spans[id(before)] = before, _Spans(before[self._tile_low], before[self._tile_high])
        return _Runs(self._tiles.numbers(state), self._spans[id(before)][1])

    def events(self, seen: _Seen) -> _Runs:
        """The values of each window's events."""
        keep = self._kept(seen)
        spans = self._event_spans
        counted = {kind for _, kind in seen.states} == {"rows"}
        values = np.zeros(0) if seen.column is None or counted else self._events.numbers(seen.column)
        if keep is not None:
            before = prefix(np, keep)
            spans = _Spans(before[spans.low], before[spans.high])
            values = values[keep] if values.size else values
        return _Runs(values, spans)

    def _kept(self, seen: _Seen) -> _Array | None:
        """Which events count: None for all."""
        nulls = None if seen.column is None else self._events.nulls(seen.column)
        keep = None if nulls is None else ~nulls
        if seen.where is None:
            return keep
        names = list(dict.fromkeys(seen.where.meta.root_names()))
        if not names:
            raise NotPlainError
        frame = pl.DataFrame({name: self._events.series(name) for name in names})
        chosen = frame.select(seen.where.fill_null(False)).to_series().to_numpy()
        return chosen if keep is None else keep & chosen


def _places(times: _Array, bounds: _Array, at: _Array) -> _Array:
    """Of each key, a row each, the first of its times at or after each instant."""
    ends = bounds.tolist()
    found = np.stack([times[a:b].searchsorted(at) for a, b in zip(ends[:-1], ends[1:], strict=True)])
    found += bounds[:-1, None]
    return found


class _Spans:
    """A run of values for each window, whatever the values."""

    def __init__(self, low: _Array, high: _Array) -> None:
        self.low, self.high = low, np.maximum(low, high)
        self.counts = self.high - self.low
        self.some = np.nonzero(self.counts)[0]

    @cached_property
    def pairs(self) -> _Array:
        """Ends of the runs that are not empty, as ``reduceat`` takes them."""
        return np.column_stack([self.low[self.some], self.high[self.some]]).ravel()


class _Runs:
    """Values, and a run of them for each window."""

    def __init__(self, values: _Array, spans: _Spans) -> None:
        self.values, self.spans = values, spans
        self.low, self.high, self.counts = spans.low, spans.high, spans.counts

    @cached_property
    def wide(self) -> _Array:
        """The values and one more, for reductions that begin behind the last; integers of 64 bits, floats of 64 bits."""
        kind = np.float64 if self.values.dtype.kind == "f" else np.int64
        return np.append(self.values.astype(kind, copy=False), np.zeros(1, dtype=kind))

    @property
    def oldest(self) -> _Array:
        """The first value of each run; anything where it is empty."""
        first: _Array = self.wide[np.minimum(self.low, self.values.size)]
        return first

    @property
    def newest(self) -> _Array:
        """The last value of each run; anything where it is empty."""
        last: _Array = self.wide[self.high - 1]
        return last

    def reduced(self, function: np.ufunc, values: _Array) -> _Array:
        """``function`` over each run that is not empty; 0 for the others."""
        found = np.zeros(self.counts.size, dtype=values.dtype)
        if self.spans.some.size:
            found[self.spans.some] = function.reduceat(values, self.spans.pairs)[::2]
        return found


class _Column:
    """One column's answers."""

    def __init__(self, request: _Request, seen: _Seen) -> None:
        self._request, self._seen = request, seen
        self._events = request.events(seen)
        self._held: dict[tuple[Any, ...], _Runs] = {}

    def of(self, function: str) -> _Array:
        match function:
            case "count":
                return self._counts(function)
            case "sum":
                return self._sums(function)
            case "mean":
                return self._means()
            case "min" | "max":
                return self._extremes(function)
        return self._ends(last=function == "last")

    def there(self, function: str) -> _Array:
        """Windows that have a value."""
        found: _Array = (self._tiles(function, STATES[function][0]).counts > 0) | (self._events.counts > 0)
        return found

    def _tiles(self, function: str, kind: str) -> _Runs:
        state = self._seen.states[function, kind]
        if state.key not in self._held:
            self._held[state.key] = self._request.tiles(state)
        return self._held[state.key]

    def _counts(self, function: str) -> _Array:
        tiles = self._tiles(function, "rows")
        found: _Array = tiles.reduced(np.add, tiles.wide) + self._events.counts
        return found

    def _sums(self, function: str) -> _Array:
        tiles, events = self._tiles(function, "sum"), self._events
        if self._events.values.dtype.kind == "f" or tiles.values.dtype.kind == "f":
            return self._float_sums(tiles, events)
        largest = sum(
            int(np.abs(run.wide.astype(np.float64)).max()) * int(run.counts.max(initial=0)) for run in (tiles, events)
        )
        if largest >= _LARGEST:
            raise NotPlainError
        found: _Array = tiles.reduced(np.add, tiles.wide) + events.reduced(np.add, events.wide)
        return found

    @staticmethod
    def _float_sums(tiles: _Runs, events: _Runs) -> _Array:
        runs = [_Runs(run.values.astype(np.float64, copy=False), run.spans) for run in (tiles, events)]
        sums: _Array = sum((run.reduced(np.add, run.wide) for run in runs), np.zeros(tiles.low.size))
        sizes: _Array = sum((run.reduced(np.add, np.abs(run.wide)) for run in runs), np.zeros(tiles.low.size))
        if not np.isfinite(sizes).all():
            raise NotPlainError
        counts = tiles.counts + events.counts
        for i in np.nonzero(counts * _EPSILON * sizes > _ERROR * np.abs(sums))[0].tolist():
            sums[i] = math.fsum(value for run in runs for value in run.values[run.low[i] : run.high[i]].tolist())
        return sums

    def _means(self) -> _Array:
        sums = self._sums("mean")
        if sums.dtype.kind == "i" and sums.size and int(np.abs(sums).max()) >= _EXACT_FLOAT:
            raise NotPlainError
        means: _Array = sums / self._counts("mean")
        return means

    def _extremes(self, function: str) -> _Array:
        tiles, events = self._tiles(function, STATES[function][0]), self._events
        reduce = np.minimum if function == "min" else np.maximum
        of_tiles, of_events = (run.reduced(reduce, run.wide) for run in (tiles, events))
        both = np.where(events.counts == 0, of_tiles, reduce(of_tiles, of_events))
        # Adding 0 makes -0.0, which equals 0.0 where values are compared, 0.0.
        found: _Array = np.where(tiles.counts == 0, of_events, both) + 0
        return found

    def _ends(self, *, last: bool) -> _Array:
        function = "last" if last else "first"
        tiles, events = self._tiles(function, function), self._events
        of_tiles, of_events = (run.newest if last else run.oldest for run in (tiles, events))
        newer = events.counts > 0 if last else tiles.counts == 0
        found: _Array = np.where(newer, of_events, of_tiles)
        return found
