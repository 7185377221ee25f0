"""Least and greatest of a range: sparse tables over few rows, then over blocks of them.

A range of length ``L`` is covered by two overlapping runs of ``2^floor(log2 L)`` rows, so that one table per power of two
answers it with two look-ups (Bender and Farach-Colton, "The LCA problem revisited", 2000). Tables go up to runs of 32 rows; a
longer range is its first 32 rows, its last 32, and the whole blocks of 32 rows between, a range in turn of the table's every
32nd entry. Values are 64-bit integers in the order of the column (floats by their bits, other types by rank): answers are bit
for bit a value of the data, on any machine.

Time O(n + m log n). Tables are built one from the other and only one is kept: O(n + m) memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from featurestore.transforms.windows.ranges import HIGHEST, Array

_POWER: Final = 5
"""Of the longest runs that have a table."""


@dataclass(frozen=True, slots=True)
class Covers:
    """Ranges as the two runs that cover each.

    Args:
        size: how many ranges.
        runs: for each length of runs, a power of two, which ranges they cover, and the rows where the two runs start.
        beyond: which ranges are longer than two of the longest runs, and the whole blocks in them.
    """

    size: int
    runs: dict[int, tuple[Array, Array, Array]]
    beyond: tuple[Array, Covers] | None

    @classmethod
    def of(cls, xp: Any, low: Array, high: Array) -> Covers:
        """The covers of the rows ``low`` to ``high`` (excluded)."""
        length = high - low
        levels: Array = sum((length >= 1 << power).astype(xp.int8) for power in range(_POWER + 2))
        runs = {}
        for power in range(_POWER + 1):
            which = xp.nonzero(levels == power + 1 if power < _POWER else levels > power)[0]
            if which.size:
                runs[power] = which, low[which], high[which] - (1 << power)
        which = xp.nonzero(levels > _POWER + 1)[0]
        if not which.size:
            return cls(int(low.size), runs, None)
        blocks = cls.of(xp, (low[which] + ((1 << _POWER) - 1)) >> _POWER, high[which] >> _POWER)
        return cls(int(low.size), runs, (which, blocks))


def least(xp: Any, values: Array, covers: Covers) -> Array:
    """The least of each range of ``values``; the greatest integer for an empty one."""
    answer = xp.full(covers.size, HIGHEST, dtype=xp.int64)
    table = values
    for power in range(max(covers.runs, default=-1) + 1):
        if power:
            half = 1 << (power - 1)
            table = xp.minimum(table[:-half], table[half:])
        if power in covers.runs:
            which, first, second = covers.runs[power]
            answer[which] = xp.minimum(table[first], table[second])
    if covers.beyond is not None:
        which, blocks = covers.beyond
        answer[which] = xp.minimum(answer[which], least(xp, table[:: 1 << _POWER], blocks))
    return answer
