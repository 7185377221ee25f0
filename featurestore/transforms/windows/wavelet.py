"""Order statistics and frequencies of a range: a wavelet matrix over values.

Rows are parted, stably, by the bits of their value's rank, highest first; the number of zeros before each row is kept per
level. A range then falls into two ranges of the next level, which hold its smaller and its greater values (Claude, Navarro
and Ordonez, 2015):

* the k-th smallest value goes down one path: O(log s) a query, for s distinct values;
* the values that occur at least ``f`` times in a range of L rows go down the nodes with at least ``f`` rows, of which each
  level has at most ``L / f``. The n most frequent are found with f = L/n, L/2n, ... until n values are found: O(L / f_n *
  log s) where f_n is the frequency of the n-th, and never more than the number of distinct values in the range. No
  sub-quadratic exact method is known for the worst case (range mode; Chan et al., "Linear-space data structures for range
  mode query", 2014): a window in which no value repeats costs as much as the window has values.

Where only known rows count, the rows of a node are counted by dominance in their arrival ranks: a further factor of log n.
Memory: 4 log2(s) bytes a row, 8 log2(s) with arrivals; queries go in chunks of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from featurestore.transforms.windows import dominance
from featurestore.transforms.windows.ranges import Array, chunks, prefix

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Level:
    bit: int
    zeros: Array
    ranks: Array | None


class ValueLevels:
    """The wavelet matrix of one column.

    Args:
        values: of each row the rank of its value among the distinct ones.
        distinct: how many distinct values there are.
        ranks: of each row its arrival rank, where queries have limits.
    """

    def __init__(self, xp: Any, values: Array, distinct: int, ranks: Array | None = None) -> None:
        self.xp, self.distinct = xp, distinct
        self._levels: list[_Level] = []
        self._ranks = ranks
        for bit in reversed(range(max(distinct - 1, 0).bit_length())):
            one = (values >> bit) & 1
            split = xp.concatenate([xp.nonzero(one == 0)[0], xp.nonzero(one)[0]])
            values = values[split]
            ranks = None if ranks is None else ranks[split]
            self._levels.append(_Level(bit, prefix(xp, 1 - one).astype(xp.int32), ranks))

    def select(self, low: Array, high: Array, k: Array, limit: Array | None) -> Array:
        """Of each range the k-th smallest value, from 0; ``k`` is below the number of its rows (below the limit)."""
        xp = self.xp
        answer = xp.zeros(low.size, dtype=xp.int64)
        for level in self._levels:
            low0, high0 = level.zeros[low], level.zeros[high]
            inside = self._count(level.ranks, low0, high0, limit)
            ones = k >= inside
            k = k - xp.where(ones, inside, 0)
            answer |= ones.astype(xp.int64) << level.bit
            low = xp.where(ones, level.zeros[-1] + low - low0, low0)
            high = xp.where(ones, level.zeros[-1] + high - high0, high0)
        return answer

    def count_distinct(self, low: Array, high: Array, limit: Array) -> Array:
        """How many distinct values each range has among the rows below the limit."""
        xp = self.xp
        answer = xp.zeros(low.size, dtype=xp.int64)
        for chunk in self._chunks(xp.minimum(high - low, self.distinct)):
            query, _, _ = self._frequent(low[chunk], high[chunk], xp.ones(chunk.size, dtype=xp.int64), limit[chunk])
            answer[chunk] = xp.bincount(query, minlength=chunk.size)
        return answer

    def most_frequent(self, low: Array, high: Array, n: int, limit: Array | None) -> tuple[Array, Array]:
        """The ``n`` most frequent values of each range, ties by the smaller value.

        Returns:
            How many values each range has (at most ``n``), and all of them, one range after the other.
        """
        xp = self.xp
        size = self._count(self._ranks, low, high, limit)
        threshold = xp.maximum(size // n, 1)
        pending = xp.nonzero(size)[0]
        found: list[tuple[Array, Array, Array]] = []
        while pending.size:
            again = []
            for part in self._chunks(xp.minimum((size // threshold)[pending], self.distinct)):
                chunk = pending[part]
                bound = threshold[chunk]
                query, value, frequency = self._frequent(
                    low[chunk], high[chunk], bound, None if limit is None else limit[chunk]
                )
                done = (xp.bincount(query, minlength=chunk.size) >= n) | (bound == 1)
                kept = done[query]
                found.append(_first(xp, chunk[query[kept]], value[kept], frequency[kept], n))
                again.append(chunk[~done])
            pending = xp.concatenate(again)
            threshold[pending] = xp.maximum(threshold[pending] // 2, 1)
        if not found:
            return xp.zeros(low.size, dtype=xp.int64), xp.zeros(0, dtype=xp.int64)
        query, value, place = (xp.concatenate(column) for column in zip(*found, strict=True))
        order = xp.lexsort(xp.stack([place, query]))
        return xp.bincount(query, minlength=low.size), value[order]

    def _count(self, ranks: Array | None, low: Array, high: Array, limit: Array | None) -> Array:
        if limit is None:
            return (high - low).astype(self.xp.int64)
        return dominance.count(self.xp, ranks, low, high, limit)

    def _frequent(self, low: Array, high: Array, bound: Array, limit: Array | None) -> tuple[Array, Array, Array]:
        """Triples (query, value, frequency) of all values that occur at least ``bound`` times in their query's range."""
        xp = self.xp
        size = self._count(self._ranks, low, high, limit)
        query = xp.nonzero(size >= bound)[0]
        low, high, size = low[query], high[query], size[query]
        value = xp.zeros(query.size, dtype=xp.int64)
        for level in self._levels:
            low0, high0 = level.zeros[low], level.zeros[high]
            smaller = self._count(level.ranks, low0, high0, None if limit is None else limit[query])
            sizes = xp.concatenate([smaller, size - smaller])
            keep = sizes >= xp.concatenate([bound[query], bound[query]])
            low = xp.concatenate([low0, level.zeros[-1] + low - low0])[keep]
            high = xp.concatenate([high0, level.zeros[-1] + high - high0])[keep]
            value = xp.concatenate([value, value | (1 << level.bit)])[keep]
            query = xp.concatenate([query, query])[keep]
            size = sizes[keep]
        return query, value, size

    def _chunks(self, cost: Array) -> Iterator[Array]:
        """Places of queries, in runs of bounded total cost."""
        for run in chunks(self.xp, prefix(self.xp, cost), _CHUNK):
            yield self.xp.arange(run.start, run.stop)


def _first(xp: Any, query: Array, value: Array, frequency: Array, n: int) -> tuple[Array, Array, Array]:
    """Of each query the ``n`` first by (frequency, descending; value), with their places among them."""
    order = xp.lexsort(xp.stack([value, -frequency, query]))
    query, value = query[order], value[order]
    place = xp.arange(query.size) - xp.searchsorted(query, query)
    return query[place < n], value[place < n], place[place < n]


def previous_occurrence(xp: Any, values: Array) -> Array:
    """Of each row one more than the last row before it with the same value; 0 where there is none.

    The first occurrence of each value in rows ``[low, high)`` is the one whose previous occurrence lies before ``low``, so
    the number of distinct values is a dominance count (Gupta, Janardan and Smid, "Further results on generalized intersection
    searching", 1995).
    """
    order = xp.argsort(values, kind="stable")
    ordered = values[order]
    previous = xp.zeros(values.size, dtype=xp.int64)
    previous[order[1:]] = xp.where(ordered[1:] == ordered[:-1], order[:-1] + 1, 0)
    return previous
