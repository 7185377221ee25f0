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
from typing import Any

from featurestore.registry.aggregations import Bounds, Window
from featurestore.transforms.windows.ranges import Array, Axis, distinct, edges, half_open, running_max


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
        arrivals, sequences: give those columns of the events; called only if they are needed.
        label_keys, label_times: in this order, or any other: answers come in the labels' own order.
        as_known: leave out what arrived after the instant.
    """

    def __init__(
        self,
        xp: Any,
        keys: Array,
        times: Array,
        arrivals: Callable[[], Array],
        sequences: Callable[[], Array],
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
        self.order = _order(xp, places, arrivals, sequences)
        self._places = places[self.order]
        self.times = times[self.order]
        self.keys = keys[self.order]
        self._arrivals_of = arrivals
        self._keys_count = count
        self._cache: dict[tuple[Window, Bounds, int], Ranges] = {}

    @property
    def rows(self) -> int:
        """How many events."""
        return int(self.order.size)

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
        high = xp.maximum(self._first_row(last), low)
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
        return self._arrivals_of()[self.order]

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
        places = self.keys * axis.size + axis.position(self._arrivals)
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


def _order(xp: Any, places: Array, arrivals: Callable[[], Array], sequences: Callable[[], Array]) -> Array:
    """The permutation that sorts rows by (place, arrival, sequence)."""
    order = xp.argsort(places)
    placed = places[order]
    same = placed[1:] == placed[:-1]
    if not bool(same.any()):
        return order
    # Only rows that share key and instant need the two other columns: usually few.
    tied = xp.zeros(order.size, dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    where = xp.nonzero(tied)[0]
    rows = order[where]
    # Rows that a transform made of one event share all three: they keep the order in which they came.
    order[where] = rows[xp.lexsort(xp.stack([rows, sequences()[rows], arrivals()[rows], places[rows]]))]
    return order


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of the events and of the labels whose keys are ``first`` to ``last`` (excluded)."""

    first: int
    last: int
    events: Array
    labels: Array


def buckets(event_keys: Any, label_keys: Any, keys: int, size: int) -> Iterator[Bucket]:
    """Cut the keys into runs of about ``size`` events and labels; a key is never split.

    Works on the host (NumPy): only one bucket at a time needs to be where the kernels run.
    """
    import numpy as np

    weight = np.bincount(event_keys, minlength=keys) + np.bincount(label_keys, minlength=keys)
    total = np.cumsum(weight)
    number = ((total - weight) // size).astype(np.int64)
    if not label_keys.size:
        return
    wanted = np.bincount(number[label_keys], minlength=int(number[-1]) + 1)
    small = np.uint16 if number[-1] < 2**16 else np.int64  # NumPy sorts 16-bit integers by radix
    events, labels = (np.argsort(number[ids].astype(small), kind="stable") for ids in (event_keys, label_keys))
    event_ends, label_ends = (
        np.searchsorted(number[ids[rows]], np.arange(len(wanted)), side="right")
        for ids, rows in ((event_keys, events), (label_keys, labels))
    )
    for i in range(len(wanted)):
        if wanted[i]:
            yield Bucket(
                int(np.searchsorted(number, i)),
                int(np.searchsorted(number, i, side="right")),
                events[event_ends[i - 1] if i else 0 : event_ends[i]],
                labels[label_ends[i - 1] if i else 0 : label_ends[i]],
            )
