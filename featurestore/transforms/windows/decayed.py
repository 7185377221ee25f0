"""Exponentially decayed sums: ``sum of x * 2**-((end - event_time) / half_life)`` over a window with right edge ``end``.

A block of rows is summed as seen from its last row's instant; two neighbours merge by decaying the left one to the right one's
instant. Blocks of 1, 2, 4, ... rows are kept one level at a time, and each range takes at most two of a level (a segment
tree, walked bottom up), decayed to its own end. Every factor is at most 1 and nothing is subtracted, so rows outside the
window leave no trace. O(n + m log n) time, O(n + m) memory.
"""

from __future__ import annotations

from typing import Any

from featurestore.transforms.windows.ranges import Array


def decayed_sum(xp: Any, values: Array, times: Array, low: Array, high: Array, end: Array, half_life: int) -> Array:
    """The decayed sum of each range of rows, whose ``times`` ascend within it."""
    answer = xp.zeros(low.size, dtype=xp.float64)
    active = low < high
    while values.size and bool(active.any()):
        for inside, edge in ((active & (low % 2 == 1), low), (active & (high % 2 == 1), high - 1)):
            chosen = xp.nonzero(inside)[0]
            block = edge[chosen]
            answer[chosen] += values[block] * xp.exp2(-((end[chosen] - times[block]) / half_life))
        low, high = (low + 1) // 2, high // 2
        active = low < high
        pairs = values.size // 2
        left, right = values[: 2 * pairs : 2], values[1 : 2 * pairs : 2]
        later = times[1 : 2 * pairs : 2]
        # An odd block at the end has no partner; no range reaches it at the next level.
        values = left * xp.exp2(-((later - times[: 2 * pairs : 2]) / half_life)) + right
        times = later
    return answer
