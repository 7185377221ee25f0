"""Exact sums written down: as few numbers with exactly that sum, so that sums of tiles are sums of plain numbers again.

A sum of floats is its rounding, then the rounding of what that left, and so on until nothing is left (an expansion: Shewchuk,
"Adaptive precision floating-point arithmetic", 1997); usually one or two floats. A sum of integers is itself, cut where 64
bits do not hold it. Both are functions of the sum alone, whatever the order and the number of what was added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from featurestore.transforms.windows import exact
from featurestore.transforms.windows.words import DIGIT

_Array: TypeAlias = np.ndarray[Any, Any]
_LARGEST: Final = float(np.finfo(np.float64).max)
_CUT: Final = 1 << 62


def float_expansions(digits: Sequence[_Array], unit: int) -> tuple[_Array, _Array]:
    """Sums, given by their digits, as floats: how many each has, 1 at least, and all of them.

    Args:
        digits: clean but for the last, which carries the sign, as :meth:`Values.sums` gives them.
        unit: the power of two that they count.
    """
    left = [np.array(digit) for digit in digits]
    rounds: list[tuple[_Array, _Array]] = []
    rows = np.arange(left[0].size)
    while rows.size:
        sizes, negative = exact.magnitudes(np, left)
        mantissa, exponent = exact.to_float(np, sizes, unit)
        part = np.minimum(np.ldexp(mantissa, exponent), _LARGEST)
        some = (part > 0) | (not rounds)
        rows, part = rows[some], np.where(negative, -part, part)[some]
        rounds.append((rows, part))
        taken = exact.digits_of_floats(np, part, unit)
        width = max(len(left), len(taken))
        zero = np.zeros(rows.size, dtype=np.int64)
        left = [(left[k][some] if k < len(left) else zero) - (taken[k] if k < len(taken) else zero) for k in range(width)]
        left = exact.carried(left)
        going = np.logical_or.reduce([digit != 0 for digit in left])
        rows, left = rows[going], [digit[going] for digit in left]
    return _by_row(rounds, digits[0].size)


def _by_row(rounds: list[tuple[_Array, _Array]], size: int) -> tuple[_Array, _Array]:
    rows = np.concatenate([rows for rows, _ in rounds]) if rounds else np.zeros(0, dtype=np.int64)
    parts = np.concatenate([part for _, part in rounds]) if rounds else np.zeros(0)
    order = np.argsort(rows, kind="stable")
    return np.bincount(rows, minlength=size), parts[order]


def integer_cuts(digits: Sequence[_Array], *, cut: int = _CUT) -> list[list[int]]:
    """Sums, given by their digits, as integers whose size is below twice ``cut``."""
    return [_cut(number, cut) for number in integers(digits)]


def _cut(number: int, cut: int) -> list[int]:
    times, rest = divmod(abs(number), cut)
    sign = -1 if number < 0 else 1
    if not times:
        return [number]
    return [sign * cut] * (times - 1) + [sign * (cut + rest)]


def integers(digits: Sequence[_Array]) -> list[int]:
    """Numbers, given by their digits, as integers of any size."""
    columns: list[list[int]] = [digit.tolist() for digit in digits]
    if len(columns) == 1:
        return columns[0]
    return [sum(digit << (DIGIT * k) for k, digit in enumerate(row)) for row in zip(*columns, strict=True)]


def pack_scaled(number: int, exponent: int) -> bytes:
    """``number * 2**exponent`` as bytes, the same for the same value: the exponent, then the odd number."""
    if number:
        zeros = (number & -number).bit_length() - 1
        number, exponent = number >> zeros, exponent + zeros
    else:
        exponent = 0
    return exponent.to_bytes(2, "little", signed=True) + number.to_bytes((number.bit_length() + 7) // 8, "little")


def unpack_scaled(raw: bytes) -> tuple[int, int]:
    """What :func:`pack_scaled` packed: number and exponent."""
    return int.from_bytes(raw[2:], "little"), int.from_bytes(raw[:2], "little", signed=True)
