"""Events and labels of one bucket of keys, in the order in which windows are ranges of rows.

Rows are sorted by (key, event time, arrival, sequence). A key's window is then a run of neighbouring rows, found by two
binary searches: O((n + m) log n) for n events and m labels, whatever the windows' width and however skewed the keys.

**What was known** (``as_known``). Only rows that had arrived by the instant count. With ``M`` the running maximum of
arrivals within the key and ``N`` the running minimum from its end, both monotone, binary searches cut the range exactly:
rows before the first with ``M > t`` are all known, rows from the first with ``N > t`` are all unknown. Where arrivals follow
events, the two cuts meet and the range stays a range. Otherwise rows between the cuts are mixed, and the label is handed to
the kernels with its limit: "rows ``[low, high)`` whose arrival rank is below ``limit``" (``Values.pieces``).

Memory: about 60 bytes an event and 40 a label of the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from featurestore.registry.aggregations import Bounds, Window
from featurestore.transforms.windows.ranges import Array, Axis, distinct, edges, half_open, running_max

Column: TypeAlias = Callable[[Array], Array]
"""What a column holds at some rows of the bucket."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """For each label the rows ``low`` to ``high`` (excluded), and the right edge of its window.

    Of those at the places ``mixed`` only the rows with an arrival rank below ``limit`` count; those before ``certain`` all do.
    """

    low: Array
    high: Array
    end: Array
    mixed: Array
    limit: Array
    certain: Array

    def __len__(self) -> int:
        return int(self.low.size)

    def some(self, xp: Any, which: Array) -> Ranges:
        """Those for which ``which`` is true."""
        place = xp.cumsum(which) - 1
        kept = which[self.mixed]
        mixed = place[self.mixed[kept]]
        return Ranges(self.low[which], self.high[which], self.end[which], mixed, self.limit[kept], self.certain[kept])


class Layout:
    """One bucket's events and labels.

    Args:
        keys, times: of the events; ``keys`` and ``label_keys`` count from 0 within the bucket.
        arrivals, sequences: those columns of some of the events.
        label_keys, label_times: in this order, or any other: answers come in the labels' own order.
        as_known: leave out what arrived after the instant.
    """

    def __init__(
        self,
        xp: Any,
        keys: Array,
        times: Array,
        arrivals: Column,
        sequences: Column,
        label_keys: Array,
        label_times: Array,
        *,
        as_known: bool,
    ) -> None:
        self.xp = xp
        self.as_known = as_known
        self.label_keys, self.label_times = label_keys, label_times
        count = int(max(int(keys.max()), int(label_keys.max())) + 1) if keys.size and label_keys.size else 1
        self._axis = Axis.of(xp, times, count)
        places = keys * self._axis.size + self._axis.position(times)
        self.order, self._places = _order(xp, places, arrivals, sequences)
        self._keys, self._times, self._arrivals_of = keys, times, arrivals
        self._keys_count = count
        self._cache: dict[tuple[Window, Bounds, int], Ranges] = {}
        self._ends: dict[tuple[int | None, int, str], Array] = {}

    @cached_property
    def times(self) -> Array:
        """Of the events, in their order."""
        return self._times[self.order]

    def ranges(self, window: Window, bounds: Bounds, delay: int) -> Ranges:
        """The row range of each label for one window."""
        key = (window, bounds, delay)
        if key not in self._cache:
            self._cache[key] = self._ranges(window, bounds, delay)
        return self._cache[key]

    def _ranges(self, window: Window, bounds: Bounds, delay: int) -> Ranges:
        xp = self.xp
        left, end = edges(xp, window, delay, self.label_times)
        first, last = half_open(left, end, bounds)
        low = self._first_row(self._axis.low if first is None else first)
        # All but tumbling windows of any width end where others of the same delay do.
        ending = (window.width if window.kind == "tumbling" else None, delay, bounds[1])
        if ending not in self._ends:
            self._ends[ending] = self._first_row(last)
        high = xp.maximum(self._ends[ending], low)
        nothing = xp.zeros(0, dtype=xp.int64)
        if not self.as_known:
            return Ranges(low, high, end, nothing, nothing, nothing)
        known, unknown = self._known_cuts
        high = xp.maximum(xp.minimum(high, unknown), low)
        mixed = xp.nonzero(xp.maximum(known, low) < high)[0]
        limit = xp.searchsorted(self._distinct_arrivals, self.label_times[mixed], side="right")
        return Ranges(low, high, end, mixed, limit, xp.maximum(known, low)[mixed])

    def _first_row(self, instants: Array | int) -> Array:
        """The first row of the label's key at or after the instant."""
        xp = self.xp
        position = self._axis.position(xp.asarray(instants))
        return xp.searchsorted(self._places, self.label_keys * self._axis.size + position)

    @cached_property
    def _arrivals(self) -> Array:
        return self._arrivals_of(self.order)

    @cached_property
    def _distinct_arrivals(self) -> Array:
        return distinct(self.xp, self._arrivals)

    @cached_property
    def arrival_ranks(self) -> Array:
        """Of each row: its place among the bucket's distinct arrivals."""
        return self.xp.searchsorted(self._distinct_arrivals, self._arrivals)

    @cached_property
    def _known_cuts(self) -> tuple[Array, Array]:
        """Of each label: the first row of its key that might be unknown, and the first from which all are."""
        xp = self.xp
        axis = Axis.of(xp, self._arrivals, self._keys_count)
        places = self._keys[self.order] * axis.size + axis.position(self._arrivals)
        highest = running_max(xp, places)
        lowest = -running_max(xp, -places[::-1])[::-1]
        after = self.label_times + (self.label_times < 2**63 - 1)
        wanted = self.label_keys * axis.size + axis.position(after)
        return xp.searchsorted(highest, wanted), xp.searchsorted(lowest, wanted)


@dataclass(frozen=True, slots=True)
class InOrder:
    """Rows that lie in their order already, with their times; all of them are known."""

    xp: Any
    times: Array

    @property
    def arrival_ranks(self) -> Array:
        """One for all."""
        return self.xp.zeros(self.times.size, dtype=self.xp.int64)


def _order(xp: Any, places: Array, arrivals: Column, sequences: Column) -> tuple[Array, Array]:
    """The permutation that sorts rows by (place, arrival, sequence), and the places so sorted.

    A stable sort is quick where rows came in runs, and leaves those that share key and instant as they came: most often in
    order of arrival and sequence as well. Only the places for which that is not so are sorted by all three.
    """
    order = xp.argsort(places, kind="stable")
    placed = places[order]
    same = xp.nonzero(placed[1:] == placed[:-1])[0]
    one, after = order[same], order[same + 1]
    arrival, next_arrival = arrivals(one), arrivals(after)
    wrong = (arrival > next_arrival) | ((arrival == next_arrival) & (sequences(one) > sequences(after)))
    if not bool(wrong.any()):
        return order, placed
    wanted = distinct(xp, placed[same[wrong]])
    inside = xp.zeros(order.size + 1, dtype=xp.int8)
    inside[xp.searchsorted(placed, wanted)] = 1
    inside[xp.searchsorted(placed, wanted, side="right")] -= 1
    where = xp.nonzero(xp.cumsum(inside))[0]
    rows = order[where]
    # Rows that a transform made of one event share all three: they keep the order in which they came.
    order[where] = rows[xp.lexsort(xp.stack([sequences(rows), arrivals(rows), places[rows]]))]
    return order, placed


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of the events and of the labels whose keys are ``first`` to ``last`` (excluded)."""

    first: int
    last: int
    events: Array
    labels: Array


def buckets(event_keys: Any, label_keys: Any, keys: int, size: int) -> Iterator[Bucket]:
    """Cut the keys into runs of about ``size`` events and labels; a key is never split. Rows of negative keys are in none.

    Works on the host (NumPy): only one bucket at a time needs to be where the kernels run.
    """
    import numpy as np

    event_keys, label_keys = (
        np.where(ids < 0, keys, ids) if ids.min(initial=0) < 0 else ids for ids in (event_keys, label_keys)
    )
    events, labels = (np.bincount(ids, minlength=keys + 1)[:keys] for ids in (event_keys, label_keys))
    weight = events + labels
    number = (np.cumsum(weight) - weight) // size
    number[1:] = np.cumsum(np.diff(number) > 0)  # no numbers are left out: the rows' own are small and sort quickly
    last = int(number[-1]) if keys else -1
    firsts = np.searchsorted(number, np.arange(last + 2))
    numbers = np.append(number, last + 1).astype(np.min_scalar_type(last + 1))
    event_rows, label_rows = (_by_number(numbers, ids) for ids in (event_keys, label_keys))
    event_ends, label_ends = (np.concatenate([[0], np.cumsum(counts)])[firsts] for counts in (events, labels))
    for i in range(last + 1):
        if label_ends[i] < label_ends[i + 1]:
            yield Bucket(
                int(firsts[i]),
                int(firsts[i + 1]),
                event_rows[event_ends[i] : event_ends[i + 1]],
                label_rows[label_ends[i] : label_ends[i + 1]],
            )


def _by_number(numbers: Any, keys: Any) -> Any:
    """The rows in order of their keys' numbers; NumPy sorts integers of up to 16 bits by radix."""
    return numbers[keys].argsort(kind="stable")
