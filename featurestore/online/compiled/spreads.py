"""Variances."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from featurestore.compiling import inner
from featurestore.online.compiled.records import Array
from featurestore.online.compiled.sums import TOLERANCE, UNIT, reduce_floats, two_sum

_TINY: Final = 1e-280
"""Squares of less may have lost digits."""


@inner
def _spread(values: Array, low: int, high: int, room: Array) -> tuple[float, int]:
    """A variance of finite floats as a number and a power of four, from distances to the mean; scaled, so that squares stay
    in range."""
    count = high - low
    largest = 0.0
    for i in range(low, high):
        largest = max(largest, abs(values[i]))
    first = math.frexp(largest)[1]
    for i in range(count):
        room[i] = math.ldexp(values[low + i], -first)
    sums = reduce_floats(room, 0, count, 0.0)
    mean = (sums[0] + sums[1]) / count
    largest = 0.0
    for i in range(count):
        room[i] -= mean
        largest = max(largest, abs(room[i]))
    second = math.frexp(largest)[1]
    for i in range(count):
        room[i] = math.ldexp(room[i], -second)
    sums = reduce_floats(room, 0, count, 0.0)
    rest = sums[0] + sums[1]
    for i in range(count):
        room[i] *= room[i]
    sums = reduce_floats(room, 0, count, 0.0)
    return ((sums[0] + sums[1]) - rest * rest / count) / (count - 1), first + second


@inner
def _distances(values: Array, low: int, high: int, least: int, room: Array) -> None:
    """Integers as floats, counted from the least of them."""
    for i in range(high - low):
        value = values[low + i]
        above, below = (value >> 32) - (least >> 32), (value & 0xFFFFFFFF) - (least & 0xFFFFFFFF)
        room[i] = float(above) * 4294967296.0 + float(below)


@inner
def spread_of_floats(values: Array, low: int, high: int, least: float, greatest: float, room: Array) -> tuple[float, int]:
    """The variance of two values at least, slowly: a number and a power of four."""
    if not (math.isfinite(least) and math.isfinite(greatest)):
        return np.nan, 0
    return (0.0, 0) if least == greatest else _spread(values, low, high, room)


@inner
def spread_of_integers(values: Array, low: int, high: int, least: int, greatest: int, room: Array) -> tuple[float, int]:
    """The same of integers."""
    if least == greatest:
        return 0.0, 0
    _distances(values, low, high, least, room)
    return _spread(room, 0, high - low, room)


@inner
def variance_of(near: float, square: float, count: int) -> tuple[float, int]:
    """The variance of two values at least, by distances and their squares; -1 where it may not be exact."""
    scatter = square - near * near / count
    sure = scatter - square * ((3 * count + 8) * (UNIT / TOLERANCE)) >= _TINY  # not where anything is infinite
    return (scatter / (count - 1) if sure else -1.0), 0


@inner
def _product(a: float, b: float) -> tuple[float, float]:
    """A product, and what its rounding left out (Dekker, "A floating-point technique for extending the available precision",
    1971)."""
    total = a * b
    part = a * 134217729.0
    above = part - (part - a)
    below = a - above
    part = b * 134217729.0
    high = part - (part - b)
    low = b - high
    return total, ((above * high - total) + above * low + below * high) + below * low


@inner
def merged_scatter(
    more: float, power: int, near: float, new: int, origin: float, below: float, kept: Array, old: int
) -> tuple[float, int, bool]:
    """Squared distances to the mean of values in tiles and of those behind: a number, a power of four, and whether it is sure.

    Both add up, and so does what their means lie apart (Chan, Golub, LeVeque): nothing cancels. That of the tiles,
    ``Q - S^2 / n``, is taken in numbers of twice the length.

    Args:
        more, power: of the values behind, of which there are ``new``.
        near: the sum of their distances from an origin; ``below`` is what that is more than a float.
        kept: of the ``old`` values in tiles: sum and what is left out of it, its size, then see :func:`tiles._add_squares`.
    """
    count, scale = float(old), int(kept[5])
    if kept[6] != 0.0 or math.isnan(more):
        return np.nan, 0, True
    total, rest = two_sum(math.ldexp(kept[0], -scale), math.ldexp(kept[1], -scale))
    squared, left = _product(total, total)
    left += 2.0 * total * rest
    square, missed = _product(count, kept[3])
    missed += count * kept[4]
    scatter, part = two_sum(square, -squared)
    scatter = (scatter + (part + (missed - left))) / count
    # Numbers that fit in floats leave nothing out: what is 0 then is 0.
    exact = scatter == 0.0 and rest == 0.0 and kept[4] == 0.0
    error = (kept[7] * kept[7] + 32.0) * (4.0 * UNIT * UNIT) * kept[3]
    if new:
        away, left = _product(count, origin)
        apart, part = two_sum(kept[0], -away)
        apart = (apart + (part + (kept[1] - left - count * below))) / count - near / new
        if kept[3] == 0.0:
            # All values in tiles are 0 and have no scale: that of the others, whose squares may be too small for floats.
            scale = math.frexp(apart)[1]
            if more != 0.0:
                scale = max(scale, power + math.frexp(more)[1] // 2)
        apart = math.ldexp(apart, -scale)
        scatter += math.ldexp(more, 2 * (power - scale)) + apart * apart * (count * new / (count + new))
    return scatter, scale, math.isfinite(scatter) and (exact or scatter * TOLERANCE >= error)
