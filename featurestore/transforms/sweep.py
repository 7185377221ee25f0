"""The as-of look-up over rows that come in the order of time, without sorting them.

Going forward in time, a table holds the last row of each key so far. What a label asks for is the table's entry when time
reaches its instant. Rows are taken block by block, so that all steps are over whole arrays: before a block the table answers
its labels, but for the rows in the block itself whose key one of these labels asks for; they are few, and are sorted.

Time ``O(n + m log m)`` where keys are many; where each block holds rows of the keys asked for only, ``O((n + m) log block)``.
Memory: one number a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from featurestore.transforms.keys import Ints

BLOCK: Final = 1 << 14
"""Rows a block: what is done once a block costs about as much as ten passes over a thousand rows."""


class Sweep:
    """Rows in the order of time, asked any number of times.

    Args:
        keys: numbers of the rows' keys, from -1 up to ``count``.
        times: ascending; of two rows of one key the later one counts as the greater, whatever their times.
        count: numbers of labels' keys are below.

    >>> rows = Sweep(np.array([0, 1, 0]), np.array([10, 15, 20]), 2)
    >>> rows.find(np.array([0, 0, 1, 1]), np.array([20, 19, 99, 14]), np.array([3, 1, 0, 2])).tolist()
    [2, 0, 1, -1]
    """

    def __init__(self, keys: Ints, times: Ints, count: int) -> None:
        self._keys = keys
        self._times = times
        self._count = count

    def find(self, keys: Ints, times: Ints, by_time: Ints, valid: Ints | None = None) -> Ints:
        """For each label the last row of its key that is not after it; -1: none.

        Args:
            keys, times: of the labels; numbers from 0 up.
            by_time: the order of their times.
            valid: booleans per row; the others are passed over.
        """
        places = None if valid is None else np.flatnonzero(valid)
        row_keys, row_times = (a if places is None else a[places] for a in (self._keys, self._times))
        wanted = keys[by_time]
        reach = row_times.searchsorted(times[by_time], side="right")
        found = np.empty(len(wanted), dtype=np.int64)
        # One more than the last row, so that a table of many keys is not written before it is used; -1 is its last place.
        last = np.zeros(self._count + 2, dtype=np.int64)
        marked = np.zeros(self._count + 2, dtype=np.bool_)
        for start in range(0, len(row_keys) + 1, BLOCK):
            block = row_keys[start : start + BLOCK]
            low, high = reach.searchsorted([start, start + BLOCK])
            if low < high:
                asked = wanted[low:high]
                within = _last_within(block, asked, reach[low:high] - start, marked)
                found[low:high] = np.where(within < 0, last[asked] - 1, start + within)
            last[block] = np.arange(start + 1, start + len(block) + 1)
        if places is not None:
            seen = found >= 0
            found[seen] = places[found[seen]]
        rows = np.empty_like(found)
        rows[by_time] = found
        return rows


def _last_within(block: Ints, keys: Ints, ends: Ints, marked: Any) -> Ints:
    """For each label the last row of its key among the first ``end`` of a block; -1: none."""
    marked[keys] = True
    rows = np.flatnonzero(marked[block])
    marked[keys] = False
    if not len(rows):
        return np.full(len(keys), -1)
    bits = BLOCK.bit_length()
    packed = (block[rows] << bits) + rows
    packed.sort()
    nearest: Ints = packed[np.maximum(packed.searchsorted((keys << bits) + ends) - 1, 0)]
    row = nearest & ((1 << bits) - 1)
    return np.where((nearest >> bits == keys) & (row < ends), row, -1)


def in_order(times: Ints, ties: Callable[[], Sequence[Ints]]) -> bool:
    """Whether rows ascend by time, and those of one time by the columns that order ties, read if there are any."""
    if bool((times[1:] < times[:-1]).any()):
        return False
    at = np.flatnonzero(times[1:] == times[:-1])
    for column in ties() if len(at) else ():
        before, after = column[at], column[at + 1]
        if bool((after < before).any()):
            return False
        at = at[after == before]
    return True
