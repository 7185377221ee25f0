"""Least and greatest of a range: sparse tables.

A range of length ``L`` is covered by two overlapping runs of ``2^floor(log2 L)`` rows, so that one table per power of two
answers it with two look-ups (Bender and Farach-Colton, "The LCA problem revisited", 2000). Values are 64-bit integers in the
order of the column (floats by their bits, other types by rank): answers are bit for bit a value of the data, on any machine.

Time O(n log n + m). Tables are built one from the other and only one is kept: O(n + m) memory.
"""

from __future__ import annotations

from typing import Any

from featurestore.transforms.windows.ranges import HIGHEST, Array


def least(xp: Any, values: Array, low: Array, high: Array) -> Array:
    """The least of each range of ``values``; the greatest integer for an empty one."""
    length = high - low
    answer = xp.full(low.size, HIGHEST, dtype=xp.int64)
    if not low.size or not values.size:
        return answer
    _, exponent = xp.frexp(length.astype(xp.float64))
    level = exponent.astype(xp.int8) - 1  # floor(log2), and -1 for an empty range
    queries = xp.argsort(level, kind="stable")
    sorted_levels = level[queries]
    top = int(sorted_levels[-1])
    ends = xp.searchsorted(sorted_levels, xp.arange(-1, top + 1, dtype=xp.int8), side="right").tolist()
    table = values
    for power in range(top + 1):
        if power:
            half = 1 << (power - 1)
            table = xp.minimum(table[:-half], table[half:])
        chosen = queries[ends[power] : ends[power + 1]]
        if chosen.size:
            answer[chosen] = xp.minimum(table[low[chosen]], table[high[chosen] - (1 << power)])
    return answer
