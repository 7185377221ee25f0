"""The functions of items that stand for several values: quantiles and frequencies by weight, variances of sums of squares.

For all other functions the kernels do as they are: the least of least values, the sum of sums, the first of first values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from featurestore.transforms.windows import expansion
from featurestore.transforms.windows.columns import HostArray, Operand
from featurestore.transforms.windows.kernels import KERNELS, Answer, Kernel
from featurestore.transforms.windows.layout import InOrder, Ranges
from featurestore.transforms.windows.ranges import prefix
from featurestore.transforms.windows.values import Values


class Weighted(Values):
    """Items in their order, each standing for some number of values."""

    def __init__(self, operand: Operand | None, times: HostArray, weights: HostArray) -> None:
        super().__init__(InOrder(np, times), np.arange(weights.size), None, operand, skip_nan=False)
        self.operand, self.weights = operand, weights
        self._weight_before = prefix(np, weights)

    def _count(self, ranges: Ranges) -> HostArray:
        total: HostArray = self._weight_before[ranges.high] - self._weight_before[ranges.low]
        return total


@dataclass(frozen=True)
class Squares:
    """Sums of squares beside items.

    Args:
        packed: of each item, by ``pack_scaled``.
        single: items that are one value, whose square is its own.
    """

    packed: HostArray
    single: HostArray


def _by_value(values: Values, low: int, high: int, weights: HostArray) -> tuple[HostArray, HostArray]:
    """The distinct codes of a range, ascending, and how often each occurs."""
    codes = values.codes[low:high]
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    first = np.ones(codes.size, dtype=bool)
    first[1:] = codes[1:] != codes[:-1]
    starts = np.nonzero(first)[0]
    return codes[starts], np.add.reduceat(weights[low:high][order], starts) if starts.size else starts


def _ranges_by_value(values: Values, ranges: Ranges) -> list[tuple[HostArray, HostArray]]:
    if not isinstance(values, Weighted):
        raise TypeError("values without weights")
    pairs = zip(ranges.low.tolist(), ranges.high.tolist(), strict=True)
    return [_by_value(values, low, high, values.weights) for low, high in pairs]


def _quantile(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    total = values.count(ranges)
    data = tuple(np.zeros(total.size, dtype=kind) for kind in (np.int64, np.int64, np.float64))
    for i, (codes, often) in enumerate(_ranges_by_value(values, ranges)):
        if codes.size:
            position = parameters["q"] * (int(total[i]) - 1)
            lower = int(position)
            places = np.searchsorted(np.cumsum(often), [lower, min(lower + 1, int(total[i]) - 1)], side="right")
            data[0][i], data[1][i], data[2][i] = *codes[places], position - lower
    return Answer("codes", data, total > 0)


def _most_frequent(values: Values, ranges: Ranges, n: int) -> tuple[list[HostArray], HostArray]:
    found = [codes[np.lexsort((codes, -often))[:n]] for codes, often in _ranges_by_value(values, ranges)]
    return found, np.array([codes.size for codes in found], dtype=np.int64)


def _top_k(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    found, lengths = _most_frequent(values, ranges, parameters["n"])
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    return Answer("codes", flat, lengths >= 0, lengths, lengths == 0)


def _mode(values: Values, ranges: Ranges, _: Mapping[str, Any]) -> Answer:
    found, lengths = _most_frequent(values, ranges, 1)
    data = np.zeros(lengths.size, dtype=np.int64)
    data[lengths > 0] = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    return Answer("codes", data, lengths > 0)


def _spread(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> tuple[HostArray, HostArray, HostArray]:
    """Mantissa and exponent of each variance, and the number of values."""
    total = values.count(ranges)
    sums, squares, shift, unit = _moments(values, parameters["squares"])
    mantissa, exponent = np.zeros(total.size), np.zeros(total.size, dtype=np.int64)
    for i, (low, high) in enumerate(zip(ranges.low.tolist(), ranges.high.tolist(), strict=True)):
        plain = sums[high] - sums[low]
        scatter = int(total[i]) * (squares[high] - squares[low]) - (plain * plain << shift)
        excess = max(0, scatter.bit_length() - 64)
        mantissa[i], exponent[i] = float(scatter >> excess), excess + unit
    pairs = np.maximum(total, 2).astype(np.float64) * (np.maximum(total, 2) - 1)
    return mantissa / pairs / float(10 ** parameters.get("scale", 0)) ** 2, exponent, total


def _moments(values: Values, squares: Squares) -> tuple[list[int], list[int], int, int]:
    """Sums of the first 0, 1, ... items and of their squares, the zeros by which a sum's square is shifted, and the unit."""
    numbers, unit = expansion.integers(values.exact.digits), 2 * values.exact.unit
    scaled = [expansion.unpack_scaled(raw) for raw in squares.packed]
    least = min([unit, *(exponent for number, exponent in scaled if number)])
    sums, totals = [0], [0]
    for number, single, (square, exponent) in zip(numbers, squares.single.tolist(), scaled, strict=True):
        sums.append(sums[-1] + number)
        own = number * number << (unit - least) if single else square << (exponent - least) if square else 0
        totals.append(totals[-1] + own)
    return sums, totals, unit - least, least


def _var(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    share, exponent, total = _spread(values, ranges, parameters)
    return _finite(values, ranges, np.ldexp(share, exponent), total)


def _std(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    share, exponent, total = _spread(values, ranges, parameters)
    return _finite(values, ranges, np.ldexp(np.sqrt(np.ldexp(share, exponent & 1)), exponent >> 1), total)


def _finite(values: Values, ranges: Ranges, number: HostArray, total: HostArray) -> Answer:
    rest = values.not_finite(ranges)
    number = number if rest is None else np.where(rest == 0, number, np.nan)
    return Answer("values", number, total > 1, empty=total == 0)


MERGED: Final[Mapping[str, Kernel]] = {
    **KERNELS,
    "var": _var,
    "std": _std,
    "quantile": _quantile,
    "top_k": _top_k,
    "mode": _mode,
    "decayed_count": KERNELS["decayed_sum"],  # of weights that have decayed already
}
"""What answers each function of merged items."""
