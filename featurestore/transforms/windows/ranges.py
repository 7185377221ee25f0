"""From labels to row ranges: the edges of windows, and two binary searches.

A window is a pair of instants and its two brackets. Times are whole microseconds, so each bracket is the half-open one with its
edge moved by one: ``x <= edge`` is ``x < edge + 1``. Every window is thus "from the first row at or after A up to the first row
at or after B", and both rows come from one binary search in a single sorted array of integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from featurestore.registry.aggregations import Bounds, Window

Array: TypeAlias = Any
"""An array of the namespace ``xp`` in use: NumPy's or CuPy's."""

LOWEST: Final = -(2**63)
HIGHEST: Final = 2**63 - 1


def minus(xp: Any, times: Array, span: int) -> Array:
    """``times - span`` that stops at the first instant there is, where it would wrap."""
    span = min(span, HIGHEST)
    return xp.where(times < LOWEST + span, LOWEST, times - span)


def edges(xp: Any, window: Window, delay: int, times: Array) -> tuple[Array | None, Array]:
    """Left and right edge of the window of each instant; no left edge for a lifetime."""
    right = minus(xp, times, delay)
    if window.kind == "lifetime":
        return None, right
    if window.kind == "tumbling":
        right = floor(xp, right, window.width)
        return minus(xp, right, window.width), right
    left = minus(xp, right, window.width)
    return (floor(xp, left, window.hop) if window.kind == "sawtooth" else left), right


def floor(xp: Any, times: Array, step: int) -> Array:
    """The last multiple of ``step`` since the epoch, at or before each instant."""
    if step > HIGHEST:
        return xp.where(times < 0, LOWEST, 0)
    floored = times - times % step
    return xp.where(floored > times, LOWEST, floored)  # it wraps only below the first instant there is


def half_open(left: Array | None, right: Array, bounds: Bounds) -> tuple[Array | None, Array]:
    """The edges ``a, b`` for which ``a <= x < b`` says what the brackets say."""
    if left is not None and bounds[0] == "(":
        left = left + (left < HIGHEST)
    if bounds[1] == "]":
        right = right + (right < HIGHEST)
    return left, right


@dataclass(frozen=True, slots=True)
class Axis:
    """Instants as small integers in the same order, so that (key, instant) fits one 64-bit integer.

    Offsets from the least instant where keys times span fit, else positions among the distinct instants.
    """

    xp: Any
    low: int
    high: int
    distinct: Array | None

    @classmethod
    def of(cls, xp: Any, times: Array, keys: int) -> Axis:
        low, high = (int(times.min()), int(times.max())) if times.size else (0, 0)
        fits = (high - low + 2) * max(keys, 1) <= HIGHEST
        return cls(xp, low, high, None if fits else distinct(xp, times))

    @property
    def size(self) -> int:
        """One more than the greatest position there is, that of "after all"."""
        return (self.high - self.low if self.distinct is None else int(self.distinct.size)) + 2

    def position(self, times: Array) -> Array:
        """Where the first instant of the axis at or after each of ``times`` stands."""
        if self.distinct is not None:
            return self.xp.searchsorted(self.distinct, times)
        return self.xp.clip(times, self.low, self.high + 1 if self.high < HIGHEST else HIGHEST) - self.low


def running_max(xp: Any, values: Array) -> Array:
    """The greatest value so far, at each place."""
    accumulate = getattr(xp.maximum, "accumulate", None)
    if xp.__name__ == "numpy" and accumulate is not None:
        return accumulate(values)
    values, step = values.copy(), 1
    while step < values.size:  # CuPy accumulates sums only: doubling takes log n passes
        values[step:] = xp.maximum(values[step:], values[:-step])
        step *= 2
    return values


def distinct(xp: Any, values: Array) -> Array:
    """The distinct values in order. NumPy's own ``unique`` of integers hashes them, which takes several times as long."""
    ordered = xp.sort(values)
    new = xp.ones(ordered.size, dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def prefix(xp: Any, counts: Array) -> Array:
    """Sums of the first 0, 1, ..., n entries."""
    total = xp.zeros(counts.size + 1, dtype=xp.int64)
    xp.cumsum(counts, out=total[1:])
    return total


def chunks(xp: Any, total: Array, size: int) -> Iterator[slice]:
    """Cut items into runs of a total cost of about ``size``, one item at least; ``total`` are the prefix sums of their
    costs."""
    start, items = 0, int(total.size) - 1
    while start < items:
        stop = max(start + 1, int(xp.searchsorted(total, total[start] + size, side="right")) - 1)
        yield slice(start, min(stop, items))
        start = stop
