"""Functions of the values of one window, slowly and right, for numbers that the fast way does not know to be exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from featurestore.transforms.windows.expansion import unpack_scaled

_Array: TypeAlias = np.ndarray[Any, Any]


class NotPlainError(Exception):
    """The data is such that the kernels have to answer."""


def careful(function: str, values: _Array) -> Any:
    """One of ``sum mean var std min max first last`` of values that are not null, at least one (``var``, ``std``: two).

    Integers are computed exactly. Of floats, sums and means are rounded once (``math.fsum``: Shewchuk, "Adaptive precision
    floating-point arithmetic", 1997), variances are taken about the mean, of numbers scaled to their spread.

    Raises:
        NotPlainError: a sum of integers does not fit 64 bits.
    """
    if function in ("first", "last"):
        return values[0 if function == "first" else -1].item()
    if function in ("min", "max"):
        return (values.min() if function == "min" else values.max()).item()
    if values.dtype.kind == "f":
        return _of_floats(function, values.astype(np.float64, copy=False))
    return _of_integers(function, values)


def _of_integers(function: str, values: _Array) -> Any:
    numbers, count = list(map(int, values.tolist())), values.size
    total = sum(numbers)
    if function == "sum":
        limit = 1 << (64 if values.dtype.kind == "u" and values.dtype.itemsize == 8 else 63)
        if not -limit <= total < limit:
            raise NotPlainError
        return total
    if function == "mean":
        return total / count
    variance = (count * sum(n * n for n in numbers) - total * total) / (count * (count - 1))
    return math.sqrt(variance) if function == "std" else variance


def _of_floats(function: str, values: _Array) -> float:
    finite = np.isfinite(values)
    if not finite.all():
        return math.nan if function in ("var", "std") else float(values[~finite].sum())
    if function in ("sum", "mean"):
        return _total(values.tolist(), values.size if function == "mean" else 1)
    if values.min() == values.max():
        return 0.0
    return _spread(values, root=function == "std")


def _total(numbers: list[float], divisor: int) -> float:
    try:
        return math.fsum(numbers) / divisor
    except OverflowError:
        exact = sum(map(Fraction, numbers), Fraction(0)) / divisor
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _spread(values: _Array, *, root: bool) -> float:
    """Variance or its root: values, then distances from the mean, scaled by powers of two, so that squares stay in range."""
    _, first = np.frexp(np.abs(values).max())
    scaled = np.ldexp(values, -int(first))
    distances = scaled - scaled.mean()
    _, second = np.frexp(np.abs(distances).max())
    distances = np.ldexp(distances, -int(second))
    squares, rest = math.fsum((distances * distances).tolist()), math.fsum(distances.tolist())
    variance = (squares - rest * rest / values.size) / (values.size - 1)
    exponent = int(first) + int(second)
    try:
        return math.ldexp(math.sqrt(variance), exponent) if root else math.ldexp(variance, 2 * exponent)
    except OverflowError:
        return math.inf


def careful_merged(function: str, items: _Array, values: _Array, count: int, squares: Sequence[bytes]) -> Any:
    """The same of tiles and the values that follow them, at least one of both.

    Args:
        items: of the tiles, those that the function's first state keeps.
        count: how many values there are, those of the tiles included.
        squares: the sums of squares of the tiles, as they are kept.

    Raises:
        NotPlainError: a sum of integers does not fit 64 bits.
    """
    numbers = items.tolist() + values.tolist()
    floats = any(isinstance(number, float) for number in numbers)
    if floats and function in ("sum", "mean", "var", "std"):
        odd = [number for number in numbers if not math.isfinite(number)]
        if odd:
            return math.nan if function in ("var", "std") else sum(odd)
    match function:
        case "first" | "last":
            return numbers[0 if function == "first" else -1]
        case "min" | "max":
            return min(numbers) if function == "min" else max(numbers)
        case "var" | "std":
            return _merged_spread(numbers, values.tolist(), count, squares, root=function == "std")
    if floats:
        return _total(numbers, count if function == "mean" else 1)
    total = sum(numbers)
    unsigned = any(part.size and part.dtype == np.uint64 for part in (items, values))
    limit = 1 << (64 if unsigned else 63)
    if function == "sum" and not -limit <= total < limit:
        raise NotPlainError
    return total if function == "sum" else total / count


def _merged_spread(numbers: list[Any], values: list[Any], count: int, squares: Sequence[bytes], *, root: bool) -> float:
    """Variance or its root, from the exact sums of values and squares, in integers of any length."""
    kept = [pair for pair in map(unpack_scaled, squares) if pair[0]]
    unit = min([0, *(math.frexp(number)[1] - 53 for number in numbers if isinstance(number, float) and number)])
    base = min([2 * unit, *(exponent for _, exponent in kept)])
    total = sum(_scaled(number, unit) for number in numbers)
    spread = sum(number << (exponent - base) for number, exponent in kept)
    spread += sum(_scaled(value, unit) ** 2 for value in values) << (2 * unit - base)
    spread = count * spread - (total * total << (2 * unit - base))
    excess = max(0, spread.bit_length() - 64)
    share, exponent = float(spread >> excess) / (count * (count - 1)), excess + base
    try:
        return math.ldexp(math.sqrt(math.ldexp(share, exponent & 1)), exponent >> 1) if root else math.ldexp(share, exponent)
    except OverflowError:
        return math.inf


def _scaled(number: Any, unit: int) -> int:
    """``number / 2**unit``, which is an integer."""
    above, below = number.as_integer_ratio()
    scaled: int = (above << -unit) // below
    return scaled
