"""The as-of look-up on arrays: which event row answers each label.

Written once on the array API: ``xp`` is NumPy, CuPy, or any library with the functions named here. Everything is int64; an
event row is named by its position, -1 stands for none.

The mathematics. Number the events by the total order ``(key, event time, arrival, sequence)``: the *rank*. An event is
visible from ``v = event time``, or, where only what was known counts, from ``v = max(event time, arrival)``. Among the events
of key ``k`` with ``v <= t`` the answer is the one of the greatest rank. So sort by ``(key, v)``, take the running maximum of
the ranks, and find ``(k, t)`` by one binary search: ranks grow with the key, hence a maximum that runs on from earlier keys
never hides one of ``k``. A ttl needs no second search: where the newest event is too old, so are all others.
``last_non_null`` is the same with the ranks of rows that hold a null left out. Time ``O((n + m) log n)``, memory about 5
int64 per event.

Sorting and searching work on one int64 per row, ``key * span + time``. Where that product would not fit, times are replaced
by their positions among the distinct times, and it does. Events that come in the order of key and time are not sorted at all;
for those in the order of time there is :mod:`featurestore.transforms.sweep`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Array = Any

FOUND: Final = 0
"""A row answers; the values say whether they are null."""
NOT_FOUND: Final = 1
"""The key was never seen at or before the instant."""
EXPIRED: Final = 2
"""Only rows older than the ttl exist."""

_INT64_MAX: Final = (1 << 63) - 1
_SHORT_RUN: Final = 1_000
"""Sorted runs shorter than this on average are not worth merging."""


@dataclass(frozen=True, slots=True)
class Events:
    """Event rows as int64 arrays of one length, in any order.

    Args:
        keys: numbers of the entity keys, -1 and up.
        times: event times, microseconds.
        arrivals: arrival times, microseconds; None where unknown (ties then fall to the sequence); :class:`Deferred` unless
            ``as_known``.
        sequences: order within a key and instant; None where there is none.
    """

    keys: Array
    times: Array
    arrivals: Array | None = None
    sequences: Array | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """A column that is read when some of it is asked for: what orders ties is seldom needed."""

    read: Callable[[], Array]

    def __getitem__(self, rows: Any) -> Array:
        return self.read()[rows]


@dataclass(frozen=True, slots=True)
class Answers:
    """For each label the row of its event (-1: none), and its status."""

    rows: Array
    status: Array


class AsOf:
    """Events, sorted once, and asked any number of times.

    Args:
        xp: the array library.
        events: the rows.
        as_known: an event is visible from its arrival on, not from its event time.
        ttl: microseconds that an event stays valid, both ends closed; None: for ever.

    Raises:
        ValueError: ``as_known`` without arrival times.

    >>> import numpy as np
    >>> events = Events(keys=np.array([0, 0, 1]), times=np.array([10, 20, 10]))
    >>> look_up = AsOf(np, events, ttl=15)
    >>> answers = look_up.find(np.array([0, 0, 1, 1]), np.array([20, 9, 25, 26]))
    >>> answers.rows.tolist(), answers.status.tolist()
    ([1, -1, 2, -1], [0, 1, 0, 2])
    """

    def __init__(self, xp: Any, events: Events, *, as_known: bool = False, ttl: int | None = None) -> None:
        if as_known and events.arrivals is None:
            raise ValueError("as_known needs arrival times")
        self._xp = xp
        self._events = events
        self._ttl = ttl
        self._empty = events.keys.shape[0] == 0
        if self._empty:
            return
        self._order, self._packing, self._packed = total_order(xp, events)
        self._ranks: Array | None = None
        if as_known:
            visible = xp.maximum(events.times, events.arrivals)
            packing = self._packing = Packing(xp, events.keys, visible)
            packed = packing.pack(events.keys, visible)
            by_visible = xp.argsort(packed)
            self._packed = packed[by_visible]
            rank = xp.arange(packed.shape[0], dtype=xp.int64)
            if self._order is not None:
                rank[self._order] = xp.arange(packed.shape[0], dtype=xp.int64)
            self._ranks = rank[by_visible]

    def find(self, keys: Array, times: Array, valid: Array | None = None) -> Answers:
        """The answers at labels ``(key, time)``; a key of -1 was never seen.

        Args:
            keys, times: int64 arrays of one length, in any order; fastest in the order of ``(key, time)``.
            valid: booleans per event; the others are passed over (for ``last_non_null``).
        """
        xp = self._xp
        if self._empty:
            none = xp.full(keys.shape, -1, dtype=xp.int64)
            return Answers(none, xp.full(keys.shape, NOT_FOUND, dtype=xp.int8))
        position = self._packing.search(self._packed, keys, times)
        best = self._running_best(valid)
        rank = position if best is None else best[xp.maximum(position, 0)]
        row = xp.maximum(rank, 0) if self._order is None else self._order[xp.maximum(rank, 0)]
        seen = (position >= 0) & (keys >= 0) & (rank >= 0) & (self._events.keys[row] == keys)
        status = xp.where(seen, FOUND, NOT_FOUND).astype(xp.int8)
        if self._ttl is not None:
            # Compared as times - ttl, which cannot overflow where a time lies within a few centuries of the epoch.
            alive = self._events.times[row] >= times - self._ttl
            status = xp.where(seen & ~alive, EXPIRED, status).astype(xp.int8)
            seen = seen & alive
        return Answers(xp.where(seen, row, -1), status)

    def _running_best(self, valid: Array | None) -> Array | None:
        """For each position of the sorted events, the greatest rank up to it (-1: none); None where that is the position."""
        xp = self._xp
        if valid is None:
            return None if self._ranks is None else running_maximum(xp, self._ranks)
        ranks = xp.arange(valid.shape[0], dtype=xp.int64) if self._ranks is None else self._ranks
        rows = ranks if self._order is None else self._order[ranks]
        return running_maximum(xp, xp.where(valid[rows], ranks, -1))


class Packing:
    """One int64 for ``(key, time)`` that sorts as the pair does."""

    def __init__(self, xp: Any, keys: Array, times: Array) -> None:
        self._xp = xp
        count = max(1, int(xp.max(keys)) + 1)
        self._start = int(xp.min(times))
        end = int(xp.max(times))
        self._distinct: Array | None = None
        self._span = end - self._start + 1
        if self._span > _INT64_MAX // count:
            self._distinct = xp.unique(times)
            self._start, self._span = 0, int(self._distinct.shape[0])

    def pack(self, keys: Array, times: Array) -> Array:
        """The packed values of events."""
        if self._distinct is not None:
            times = self._xp.searchsorted(self._distinct, times)
        packed = keys * self._span
        packed += times  # in place, for a new array costs more than adding does; what overflows here comes back below
        packed -= self._start
        return packed

    def search(self, packed: Array, keys: Array, times: Array) -> Array:
        """For each label the last position of ``packed`` that is not after ``(key, time)``, of this key or an earlier one."""
        xp = self._xp
        if self._distinct is not None:
            offset = last_at(xp, self._distinct, times)
        else:
            offset = xp.clip(times, self._start - 1, self._start + self._span - 1) - self._start
        # A key beyond those of the events may overflow; it then finds a row of another key, which the caller passes over.
        return last_at(xp, packed, keys * self._span + offset)


def last_at(xp: Any, ascending: Array, wanted: Array) -> Array:
    """For each wanted value the last position of ``ascending`` that is not greater; -1 where all are."""
    if not descends(xp, wanted):
        return xp.searchsorted(ascending, wanted, side="right") - 1
    order = xp.argsort(wanted)
    # In order, neighbours are found in memory just touched: 3 times faster than at random.
    position = xp.empty_like(order)
    position[order] = xp.searchsorted(ascending, wanted[order], side="right") - 1
    return position


def total_order(xp: Any, events: Events) -> tuple[Array | None, Packing, Array]:
    """The positions of events in the order ``(key, event time, arrival, sequence)``; what is equal in all keeps its order.

    Ties are few: only the rows of tied runs are sorted by more than key and time.

    Returns:
        The positions, None where events are in that order; how key and time were packed; the packed values in that order.
    """
    keys, times = events.keys, events.times
    count = keys.shape[0]
    packing = Packing(xp, keys, times)
    packed = packing.pack(keys, times)
    descents = int(xp.count_nonzero(packed[1:] < packed[:-1]))
    order = None
    if descents:
        # Files are kept sorted by key and time: what comes from a few of them is a few sorted runs, which a stable sort merges
        # (2,000,000 rows in 2 runs: 0.02 s against 0.16 s).
        order = xp.argsort(packed, kind="stable") if descents < count // _SHORT_RUN else _order(xp, packed)
        order = order.astype(xp.int64)
        packed = packed[order]
    return _ties_ordered(xp, events, order, packed), packing, packed


def descends(xp: Any, values: Array) -> bool:
    """Whether some value is less than the one before."""
    return bool(xp.any(values[1:] < values[:-1]))


def _ties_ordered(xp: Any, events: Events, order: Array | None, packed: Array) -> Array | None:
    """An order in which rows of one key and time stand by arrival, sequence and position."""
    equal = packed[1:] == packed[:-1]
    if not bool(xp.any(equal)):
        return order
    keys, times, count = events.keys, events.times, events.keys.shape[0]
    order = xp.arange(count, dtype=xp.int64) if order is None else order
    tied = xp.zeros(count, dtype=bool)
    tied[1:] |= equal
    tied[:-1] |= equal
    places = xp.nonzero(tied)[0]
    rows = order[places]
    criteria = [rows, events.sequences, events.arrivals]
    columns = [rows if column is rows else column[rows] for column in criteria if column is not None]
    order[places] = rows[xp.lexsort(xp.stack([*columns, times[rows], keys[rows]]))]
    return order


def _order(xp: Any, values: Array) -> Array:
    """Positions in ascending order, equal values in any. On the CPU by all cores: 2,000,000 rows in 0.08 s against 0.22 s."""
    if xp.__name__ != "numpy":
        return xp.argsort(values)
    from featurestore.transforms.arrays import series_of

    return series_of(values).arg_sort().to_numpy()


def running_maximum(xp: Any, values: Array) -> Array:
    """The maximum of each prefix.

    Where the library has no scan of its own, by doubling: after step ``i`` each place holds the maximum of its last ``2**i``
    values (Hillis and Steele, "Data parallel algorithms", 1986).
    """
    if xp.__name__ == "numpy":
        return xp.maximum.accumulate(values)
    step = 1
    while step < values.shape[0]:
        values = xp.concatenate([values[:step], xp.maximum(values[step:], values[:-step])])
        step *= 2
    return values
