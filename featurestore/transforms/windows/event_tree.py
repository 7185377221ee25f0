"""Sketches of any window from sketches of blocks of time, made once: log n merges a window, whatever its width.

The rows of a window are parted at the instant after the first row and not after the last that is a multiple of the greatest
power of two (of microseconds since the epoch); each side again, until a part has at most ``LEAF`` rows or one instant. So the
parts depend on the rows of the window alone, not on what a key has before or after it, and a window's answer is the same to the
bit wherever it is computed: over all events of a key or those that are kept online, in whatever order they came. And the parts
that do not touch an edge of the window are whole blocks of time, the same for every window that holds them: their sketches are
kept.

For n rows of a key that are spread over time and m windows: some 2 n / LEAF sketches of blocks, and for each window about
2 log2(n / LEAF) parts, put together by one merge, with at most 2 LEAF rows fed one by one; where instants crowd together, no
more than 126 parts. Memory: ``KEPT`` sketches, those used last.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Generic, TypeAlias, TypeVar

import numpy as np

from featurestore.transforms.windows.columns import HostArray

LEAF: Final = 256
"""Rows that are fed one by one."""
KEPT: Final = 1024
"""Sketches of blocks that are kept."""

S = TypeVar("S")
Rows: TypeAlias = "range | HostArray"


class EventTree(Generic[S]):
    """Sketches of rows that are sorted by time, of one key each.

    Args:
        times: of all rows.
        of: the sketch of some rows.
        merged: the sketch of several sketches' rows, given in the order of time.
    """

    def __init__(self, times: HostArray, of: Callable[[Rows], S], merged: Callable[[Sequence[S]], S]) -> None:
        self._times, self._of, self._merged = times, of, merged
        self._kept = lru_cache(maxsize=KEPT)(self._build)

    def window(self, rows: Rows) -> S:
        """The sketch of rows, one at least, of one key and in their order."""
        rows = _as_range(rows)
        middle = self._middle(rows)
        if middle is None:
            return self._end(rows)
        return self._merged([*self._head(rows[:middle]), *self._tail(rows[middle:])])

    def _head(self, rows: Rows) -> list[S]:
        """Of rows that end with a block."""
        middle = self._middle(rows)
        return [self._end(rows)] if middle is None else [*self._head(rows[:middle]), self._block(rows[middle:])]

    def _tail(self, rows: Rows) -> list[S]:
        """Of rows that begin with a block."""
        middle = self._middle(rows)
        return [self._end(rows)] if middle is None else [self._block(rows[:middle]), *self._tail(rows[middle:])]

    def _end(self, rows: Rows) -> S:
        """Of a part that is not parted: kept only where it is large, being of one instant."""
        return self._of(rows) if len(rows) <= LEAF else self._block(rows)

    def _block(self, rows: Rows) -> S:
        rows = _as_range(rows)
        return self._kept(rows) if isinstance(rows, range) else self._build(rows)

    def _build(self, rows: Rows) -> S:
        middle = self._middle(rows)
        if middle is None:
            return self._of(rows)
        return self._merged([self._block(rows[:middle]), self._block(rows[middle:])])

    def _middle(self, rows: Rows) -> int | None:
        """Where to part rows; None where they are fed one by one."""
        if len(rows) <= LEAF:
            return None
        first, last = int(self._times[rows[0]]), int(self._times[rows[-1]])
        if first == last:
            return None
        return bisect_left(rows, _between(first, last), key=self._times.__getitem__)


def _as_range(rows: Rows) -> Rows:
    """Neighbours as a range."""
    if isinstance(rows, np.ndarray) and int(rows[-1]) - int(rows[0]) + 1 == rows.size:
        return range(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _between(first: int, last: int) -> int:
    """The multiple of the greatest power of two in ``(first, last]``.

    >>> _between(5, 9), _between(-5, -2), _between(-5, 9)
    (8, -4, 0)
    """
    if first < 0 <= last:
        return 0
    bit = (first ^ last).bit_length() - 1
    return last >> bit << bit
