"""Sums and extremes of runs of numbers."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import int64

from featurestore.compiling import inner
from featurestore.online.compiled.records import Array, Number

_LANES: Final = 32
"""Numbers that are added side by side, so that the compiler finds vector instructions for them."""
SIGN: Final = np.int64(-(1 << 63))
UNIT: Final = 2.0**-53
TOLERANCE: Final = 5e-10
_FAR: Final = 2.0**62
_LIMIT: Final = 2.0**63


@inner
def two_sum(a: float, b: float) -> tuple[float, float]:
    """A sum, and what its rounding left out."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@inner
def reduce_floats(values: Array, low: int, high: int, origin: float) -> tuple[float, ...]:
    """Sum, what is left out of it, sum of the numbers that are not finite, distances from the origin, their squares, extremes.

    Extremes are NaN where a value is.
    """
    total = rest = near = square = 0.0
    least, greatest = np.inf, -np.inf
    at = low
    if high - low >= 2 * _LANES:
        totals, rests = np.zeros(_LANES), np.zeros(_LANES)
        nears, squares = np.zeros(_LANES), np.zeros(_LANES)
        leasts, greatests = np.empty(_LANES), np.empty(_LANES)
        for i in range(_LANES):
            leasts[i], greatests[i] = np.inf, -np.inf
        while at + _LANES <= high:
            some = values[at : at + _LANES]
            for i in range(_LANES):
                value = some[i]
                more = totals[i] + value
                part = more - totals[i]
                rests[i] += (totals[i] - (more - part)) + (value - part)
                totals[i] = more
                distance = value - origin
                nears[i] += distance
                squares[i] += distance * distance
                leasts[i] = min(leasts[i], value)
                greatests[i] = max(greatests[i], value)
            at += _LANES
        for i in range(_LANES):
            total, left = two_sum(total, totals[i])
            rest += left + rests[i]
            near += nears[i]
            square += squares[i]
            least, greatest = min(least, leasts[i]), max(greatest, greatests[i])
    for i in range(at, high):
        value = values[i]
        total, left = two_sum(total, value)
        rest += left
        distance = value - origin
        near += distance
        square += distance * distance
        least = min(least, value)
        greatest = max(greatest, value)
    odd = 0.0
    if not math.isfinite(total + rest):
        for i in range(low, high):
            if not math.isfinite(values[i]):
                odd += values[i]
                if math.isnan(values[i]):
                    least = greatest = np.nan
    return total, rest, odd, near, square, least, greatest


@inner
def reduce_integers(values: Array, low: int, high: int, origin: int) -> tuple[float, float, Number, float, float, int, int]:
    """The same of integers: in the third place their sum but for multiples of 2^64."""
    above = below = int64(0)
    least = greatest = values[low]
    for i in range(low, high):
        value = values[i]
        above += value >> 32
        below += value & 0xFFFFFFFF
        least, greatest = min(least, value), max(greatest, value)
    near = square = np.nan
    if float(max(greatest, origin)) - float(min(least, origin)) < _FAR:
        near = square = 0.0
        for i in range(low, high):
            distance = float(values[i] - origin)
            near += distance
            square += distance * distance
    total, rest = two_sum(float(above) * 4294967296.0, float(below))
    return total, rest, (above << 32) + below, near, square, least, greatest


@inner
def _add_exactly(partials: Array, used: int, value: float) -> int:
    """Add a number to others that do not overlap; how many there are then."""
    kept = 0
    for i in range(used):
        other = partials[i]
        if abs(value) < abs(other):
            value, other = other, value
        total = value + other
        left = other - (total - value)
        if left != 0.0:
            partials[kept] = left
            kept += 1
        value = total
    partials[kept] = value
    return kept + 1


@inner
def _exact_total(values: Array, low: int, high: int, items: Array, first: int, stop: int) -> float:
    partials = np.zeros(64)
    used = 0
    for i in range(low, high):
        used = _add_exactly(partials, used, values[i])
    for i in range(first, stop):
        used = _add_exactly(partials, used, items[i])
    answer = 0.0
    for i in range(used):
        answer += partials[i]
    return answer


# --- what differs between floats and integers


@inner
def settle_floats(total: float, rest: float, odd: float, _count: int, _unsigned: bool) -> tuple[float, float, float]:
    """A sum as that of the numbers that were meant."""
    return total, rest, odd


@inner
def settle_integers(total: float, rest: float, wrapped: int, count: int, unsigned: bool) -> tuple[float, float, Number]:
    """The same, of unsigned ones that were moved down by 2^63 each."""
    if unsigned:
        total, left = two_sum(total, count * _LIMIT)
        return total, rest + left, wrapped + count * SIGN
    return total, rest, wrapped + count * 0


@inner
def finish_floats(
    values: Array, low: int, high: int, items: Array, first: int, stop: int, total: float, rest: float, odd: float,
    size: float, _unsigned: bool,
) -> tuple[float, float, bool]:  # fmt: skip
    """A sum as it is, as a float, and whether there is one.

    Args:
        values, items: what was added, and where in it.
        size: their sum is no larger.
    """
    if odd != 0.0:
        return odd, odd, True
    answer = total + rest
    rounding = (high - low + stop - first) * UNIT
    if rounding * rounding * size > TOLERANCE * abs(answer):
        answer = _exact_total(values, low, high, items, first, stop)
    return answer, answer, math.isfinite(answer)


@inner
def finish_integers(
    _values: Array, _low: int, _high: int, _items: Array, _first: int, _stop: int, total: float, rest: float, wrapped: int,
    _size: float, unsigned: bool,
) -> tuple[int, float, bool]:  # fmt: skip
    """The same of integers."""
    fits = total - 2.0 * _LIMIT + rest < 0.0 if unsigned else total - _LIMIT + rest < 0.0 and total + _LIMIT + rest >= 0.0
    return wrapped, total + rest, fits


@inner
def origin_of_floats(value: float, _unsigned: bool) -> tuple[float, float]:
    """A number as a float, and what is left out of it."""
    return value, 0.0


@inner
def origin_of_integers(value: int, unsigned: bool) -> tuple[float, float]:
    """The same of an integer."""
    return two_sum(float((value >> 32) + unsigned * 2147483648) * 4294967296.0, float(value & 0xFFFFFFFF))


@inner
def same_float(value: float, _unsigned: bool) -> float:
    """A number as it was."""
    return value


@inner
def same_integer(value: int, unsigned: bool) -> Number:
    """The same of an integer: unsigned ones were moved down by 2^63."""
    return value ^ SIGN if unsigned else value
