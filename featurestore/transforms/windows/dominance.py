"""Dominance: the rows of a range whose rank is below a limit, for every query at once.

A wavelet matrix (Claude, Navarro and Ordonez, "The wavelet matrix", 2015), walked from the top bit of the rank down and
thrown away level by level: at each level rows are parted, stably, into those whose bit is 0 and those whose bit is 1. A
query whose limit has a 1 there takes all its rows with a 0, which stand side by side, and follows the ones; otherwise it
follows the zeros. So "rows ``[low, high)`` with ``rank < limit``" is a union of at most log2(ranks) runs of neighbouring
rows in permuted orders, each still in row order. What can be merged over runs (counts, sums, extremes) is answered in O((n +
m) log n) time for n rows and m queries, O(n + m) memory, without ever subtracting a row that is not in the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from featurestore.transforms.windows.ranges import Array, prefix


def runs(xp: Any, ranks: Array, low: Array, high: Array, limit: Array) -> Iterator[tuple[Array, Array, Array]]:
    """The runs that make up each query: triples of a permutation of the rows, and a range in it for each query.

    Args:
        ranks: of each row, from 0.
        low, high: the range of rows of each query.
        limit: only rows with a rank below it.
    """
    top = int(limit.max()) if limit.size else 0
    rows = xp.arange(ranks.size)
    for bit in reversed(range(top.bit_length())):
        if bit == top.bit_length() - 1:
            ranks = xp.minimum(ranks, (2 << bit) - 1)  # beyond every limit: where exactly does not matter
        one = (ranks >> bit) & 1
        zeros = prefix(xp, 1 - one)
        low0, high0 = zeros[low], zeros[high]
        split = xp.argsort(one, kind="stable") if xp.__name__ != "numpy" else _split(xp, one)
        rows, ranks = rows[split], ranks[split]
        ones = ((limit >> bit) & 1).astype(bool)
        yield rows, xp.where(ones, low0, 0), xp.where(ones, high0, 0)
        low = xp.where(ones, zeros[-1] + low - low0, low0)
        high = xp.where(ones, zeros[-1] + high - high0, high0)


def _split(xp: Any, one: Array) -> Array:
    """Places of the zeros, then those of the ones."""
    return xp.concatenate([xp.nonzero(one == 0)[0], xp.nonzero(one)[0]])


def count(xp: Any, ranks: Array, low: Array, high: Array, limit: Array) -> Array:
    """How many rows of each range have a rank below the limit."""
    total = xp.zeros(low.size, dtype=xp.int64)
    for _, first, last in runs(xp, ranks, low, high, limit):
        total += last - first
    return total
