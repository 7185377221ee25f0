"""Functions of the values of one window, slowly and right, for numbers that the fast way does not know to be exact."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

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
        return math.copysign(math.inf, exact)


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
