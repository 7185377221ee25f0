"""Window features of keys whose old events are tiles: items of tiles and events in a row, answered by the kernels.

Of each key come first the items of its tiles, then the values of the events after them; a window is one run of these
(``tiles.py``). Where an item stands for several values, it carries how many (``weighted.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import polars as pl

from featurestore.registry import types as t
from featurestore.registry.functions import taken
from featurestore.registry.types import Decimal
from featurestore.transforms.windows import columns
from featurestore.transforms.windows.api import finished
from featurestore.transforms.windows.collect import Collector
from featurestore.transforms.windows.columns import HostArray, Operand, polars_type
from featurestore.transforms.windows.expansion import pack_scaled
from featurestore.transforms.windows.kernels import Answer
from featurestore.transforms.windows.layout import Ranges
from featurestore.transforms.windows.merged_sketches import MergedSketches, answer_of
from featurestore.transforms.windows.ranges import LOWEST, edges, half_open, prefix
from featurestore.transforms.windows.tile_states import SKETCHES, STATES, Seen, State, elements, states
from featurestore.transforms.windows.values import Values, joined
from featurestore.transforms.windows.weighted import MERGED, Squares, Weighted

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView
    from featurestore.transforms.windows.schema import WindowFeature


_Answered: TypeAlias = tuple[Answer, Operand | None, pl.Series | None]
"""The answers of one aggregation over all its windows, what their codes mean, and the column that their places are in."""


class Tiles(Protocol):
    """The tiles of some keys, one key after the other.

    Attributes:
        counts: how many tiles each key has.
        starts: where each tile begins.
    """

    counts: HostArray
    starts: HostArray

    def before(self, state: State) -> HostArray | None:
        """How many items of a state lie before each tile, and before the end; None where no tile keeps the state."""

    def items(self, state: State, column: int) -> pl.Series:
        """A column of all items of a state."""


@dataclass(frozen=True)
class Events:
    """The events after the tiles.

    Args:
        frame: their columns, one key after the other, each key's in order.
        counts: how many each key has.
        times: of all of them.
    """

    frame: pl.DataFrame
    counts: HostArray
    times: HostArray


def compute_merged(
    view: FeatureView, features: Sequence[WindowFeature], tiles: Tiles, events: Events, instant: int
) -> dict[str, pl.Series]:
    """Window features of each key at one instant.

    The answers are those that ``compute_windows`` gives of all events; sums, means and variances of floats bit for bit too.

    Raises:
        TransformError: as ``compute_windows`` does.
    """
    groups: dict[tuple[Any, ...], list[WindowFeature]] = {}
    for feature in features:
        groups.setdefault((feature.aggregation, repr(feature.category)), []).append(feature)
    merging = _Merging(view, tiles, events, instant)
    answers: dict[str, pl.Series] = {}
    with np.errstate(all="ignore"):
        for members in groups.values():
            answers |= merging.answer(members)
    return answers


@dataclass(frozen=True)
class _Row:
    """How the items of a state's tiles and the values of the events after them stand in a row, key by key.

    Args:
        before_tiles, before_events: how many lie before each tile and each event, and before their ends.
        order: the places in the row, as places among first all items of tiles, then all values; None where that is the order.
    """

    before_tiles: HostArray
    before_events: HostArray
    order: HostArray | None

    def arrays(self, tiles: HostArray, events: HostArray) -> HostArray:
        """Two arrays as one."""
        together: HostArray = np.concatenate([tiles, events])
        return together if self.order is None else together[self.order]

    def series(self, tiles: pl.Series | None, events: pl.Series) -> pl.Series:
        """Two columns as one."""
        if tiles is not None:
            events = pl.concat([tiles.cast(events.dtype).rename(events.name), events])
        return events if self.order is None else events.gather(self.order)

    def ranges(self, runs: _Runs) -> Ranges:
        """Runs of tiles and events as ranges of the row."""
        low = self.before_tiles[runs.first_tile] + self.before_events[runs.first_event]
        high = self.before_tiles[runs.last_tile] + self.before_events[runs.last_event]
        nothing = np.zeros(0, dtype=np.int64)
        return Ranges(low, np.maximum(low, high), runs.end, nothing, nothing, nothing)


@dataclass(frozen=True)
class _Runs:
    """Of each key the tiles and the events that a window holds, the last ones excluded, and the window's right edge."""

    first_tile: HostArray
    last_tile: HostArray
    first_event: HostArray
    last_event: HostArray
    end: HostArray


class _Merging:
    """One request's tiles and events."""

    def __init__(self, view: FeatureView, tiles: Tiles, events: Events, instant: int) -> None:
        self._view, self._tiles, self._events = view, tiles, events
        self._instants = np.full(events.counts.size, instant, dtype=np.int64)
        self._tile_bounds = prefix(np, tiles.counts)
        self._event_bounds = prefix(np, events.counts)

    def answer(self, members: Sequence[WindowFeature]) -> dict[str, pl.Series]:
        """The answers of one aggregation over all its windows."""
        runs = [self._runs(feature) for feature in members]
        collectors: dict[str, list[Collector]] = {feature.name: [] for feature in members}
        size = self._instants.size
        labels = np.arange(size)
        for element in elements(members[0]):
            answering = self._approximate if members[0].aggregation.approx else self._exact
            answer, operand, column = answering(members[0], element, runs)
            for i, feature in enumerate(members):
                collector = Collector(self._view.name, feature, operand, column, np.ones(size, dtype=bool))
                collector.add(answer.part(np, i, size), labels)
                collectors[feature.name].append(collector)
        return {feature.name: finished(feature, collectors[feature.name]) for feature in members}

    def _exact(self, feature: WindowFeature, element: int | None, runs: Sequence[_Runs]) -> _Answered:
        row, values, given, column = self._values(feature, element)
        ranges = joined(np, [row.ranges(run) for run in runs])
        answer = MERGED[feature.function.name](values, ranges, {**feature.parameters, **given})
        return answer, values.operand, column

    def _approximate(self, feature: WindowFeature, element: int | None, runs: Sequence[_Runs]) -> _Answered:
        (state,) = states(feature, element)
        seen = Seen(self._view, feature, element, self._events.frame, self._events.times)
        before_tiles, before_events = self._tiles.before(state), np.asarray(seen.values.before)
        held = None if before_tiles is None else self._tiles.items(state, 0)
        if before_tiles is None:
            before_tiles = np.zeros(self._tiles.starts.size + 1, dtype=np.int64)
        merging = MergedSketches(SKETCHES[state.kind], state.parameter, held, seen.values)
        sketches = [
            sketch
            for run in runs
            for sketch in merging.of(
                before_tiles[run.first_tile],
                before_tiles[run.last_tile],
                before_events[run.first_event],
                before_events[run.last_event],
            )
        ]
        kind = polars_type(taken(feature.function, feature.column_type or t.Int64))
        return *answer_of(feature, sketches, kind), None

    def _runs(self, feature: WindowFeature) -> _Runs:
        left, end = edges(np, feature.window, feature.aggregation.delay, self._instants)
        low, high = half_open(left, end, feature.aggregation.bounds)
        low = np.full(high.size, LOWEST, dtype=np.int64) if low is None else low
        tiles = _found(self._tiles.starts, self._tile_bounds, low, high)
        return _Runs(*tiles, *_found(self._events.times, self._event_bounds, low, high), end)

    def _values(self, feature: WindowFeature, element: int | None) -> tuple[_Row, Weighted, dict[str, Any], pl.Series | None]:
        """Items and values in a row, and what the function's kernel has to know of them."""
        found = {state.kind: state for state in states(feature, element)}
        seen = Seen(self._view, feature, element, self._events.frame, self._events.times)
        state = found[STATES[feature.function.name][0]]
        row = self._row(state, seen.values)
        weights = self._weights(found, state, row, seen)
        if state.kind == "rows":
            return row, Weighted(None, weights, weights), {}, None
        column = self._put(state, 0, row, seen.taken(state.types[0]))
        operand = columns.whole(column) if state.kind in ("first", "last") else columns.values(column)
        values = Weighted(operand, self._times(state, row, seen), weights)
        given: dict[str, Any] = {"nan_code": columns.NAN_CODE} if operand.nan is not None else {}
        if isinstance(state.types[0], Decimal):
            given["scale"] = state.types[0].scale
        if seen.order_series is not None:
            order = self._put(state, 1, row, seen.order_series.gather(seen.values.events))
            given["order"] = values.order_of(columns.values(order))
        if "squares" in found:
            given["squares"] = self._squares(found["squares"], row, seen)
        return row, values, given, column

    def _row(self, state: State, values: Values) -> _Row:
        before_events = np.asarray(values.before)
        before_tiles = self._tiles.before(state)
        if before_tiles is None:
            return _Row(np.zeros(self._tiles.starts.size + 1, dtype=np.int64), before_events, None)
        order = None
        if self._instants.size > 1:
            keys = np.arange(self._instants.size)
            of_tiles = np.repeat(keys, np.diff(before_tiles[self._tile_bounds]))
            of_events = np.repeat(keys, np.diff(before_events[self._event_bounds]))
            order = np.argsort(np.concatenate([of_tiles, of_events]), kind="stable")
        return _Row(before_tiles, before_events, order)

    def _put(self, state: State, number: int, row: _Row, events: pl.Series) -> pl.Series:
        return row.series(self._tiles.items(state, number) if row.before_tiles[-1] else None, events)

    def _weights(self, found: Mapping[str, State], state: State, row: _Row, seen: Seen) -> HostArray:
        """How many values each item stands for: all that its tile has with the first of them."""
        of_tiles = np.ones(int(row.before_tiles[-1]), dtype=np.int64)
        if of_tiles.size and state.kind == "values":
            of_tiles = self._tiles.items(state, 1).to_numpy()
        elif of_tiles.size and "rows" in found:
            of_tiles[:] = 0
            of_tiles[self._first_items(found["rows"], row)] = self._tiles.items(found["rows"], 0).to_numpy()
        return row.arrays(of_tiles, np.ones(seen.values.size, dtype=np.int64))

    def _first_items(self, state: State, row: _Row) -> HostArray:
        """Where the first items of those tiles stand that have an item of a state."""
        before = self._tiles.before(state)
        if before is None:
            raise TypeError("tiles keep what goes with a sum where they keep the sum")
        return row.before_tiles[np.nonzero(np.diff(before))[0]]

    def _times(self, state: State, row: _Row, seen: Seen) -> HostArray:
        if state.kind != "decayed":
            return np.zeros(int(row.before_tiles[-1]) + seen.values.size, dtype=np.int64)
        nothing = np.zeros(0, dtype=np.int64)
        of_tiles = self._tiles.items(state, 1).to_physical().to_numpy() if row.before_tiles[-1] else nothing
        return row.arrays(of_tiles, np.asarray(seen.values.times))

    def _squares(self, squares: State, row: _Row, seen: Seen) -> Squares:
        """The sums of squares of tiles, each with the first item of its tile."""
        size = int(row.before_tiles[-1])
        raw = np.full(size, pack_scaled(0, 0), dtype=object)
        if size:
            raw[self._first_items(squares, row)] = np.array(self._tiles.items(squares, 0).to_list(), dtype=object)
        single = row.arrays(np.zeros(size, dtype=bool), np.ones(seen.values.size, dtype=bool))
        return Squares(row.arrays(raw, np.full(seen.values.size, pack_scaled(0, 0), dtype=object)), single)


def _found(times: HostArray, bounds: HostArray, low: HostArray, high: HostArray) -> tuple[HostArray, HostArray]:
    """Of each key the first of its times at or after ``low``, and at or after ``high``."""
    places = np.empty((2, low.size), dtype=np.int64)
    ends = bounds.tolist()
    for key, (start, stop) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
        places[0, key] = start + times[start:stop].searchsorted(low[key])
        places[1, key] = start + times[start:stop].searchsorted(high[key])
    return places[0], places[1]
