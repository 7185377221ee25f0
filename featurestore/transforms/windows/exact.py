"""Exact sums: numbers as integers in base 2**26, so that a window is the difference of two running totals, with nothing lost.

Every finite float is an integer times a power of two. With ``2**unit`` the least bit set in any value of the bucket, each
value is ``X * 2**unit`` for an integer ``X``, written in digits of 26 bits. The sum of a range is the difference of two
running totals of these integers (``words.py``): exact whatever stands before the range, be it an outlier of 1e300, and the
same however rows were ordered, split into batches or placed on a device. The answer is rounded once, to nearest, ties to even
(as ``math.fsum`` does). Squares are exact as well (products of digits, carried), so that

    var = (n * sum(x**2) - sum(x)**2) / (n * (n - 1))

has an exact numerator: the subtraction loses nothing, and the variance is right to the last bits for any mean.
(Superaccumulators: Kulisch, "Computer Arithmetic and Validity", 2013; Neal, "Fast exact summation using small and large
superaccumulators", 2015.)

Cost: O((n + m) * d) for sums and O(n * d**2 + m * d**2) for variances, ``d`` digits: 1 for small integers, 3 for any 64-bit
integers, 3 to 5 for usual floats, 81 for a bucket that holds both 1e-308 and 1e308. Memory: some ``4 * d`` bytes a row for
sums, ``12 * d`` with squares. On the host all of it goes in runs of rows, and of ranges, that fit the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from featurestore.transforms.windows.ranges import Array
from featurestore.transforms.windows.words import DIGIT, MASK, RunningTotals, runs


class ExactSums:
    """Running totals of one column's numbers and of their squares.

    Args:
        numbers: int64, uint64 or finite float64; or ``(high, low)``, int64 and uint64, halves of 128-bit integers.
        squares: total the squares as well when the numbers are; else when they are asked for.
    """

    def __init__(self, xp: Any, numbers: Array | tuple[Array, Array], *, squares: bool = False) -> None:
        self.xp, self._numbers, self._with_squares = xp, numbers, squares
        self._size = int(numbers[0].size if isinstance(numbers, tuple) else numbers.size)
        self.unit, self._bits = _extent(xp, numbers)

    @cached_property
    def sums(self) -> RunningTotals:
        """Of the numbers."""
        sums, squares = self._empty(self._bits), self._empty(2 * self._bits) if self._with_squares else None
        for run in runs(self.xp, self._size):
            digits, negative = self._parts(run)
            sums.extend(run, digits, negative)
            if squares is not None:
                squares.extend(run, _square(digits), None)
        if squares is not None:
            self.squares = squares
        return sums

    @cached_property
    def squares(self) -> RunningTotals:
        """Of their squares."""
        squares = self._empty(2 * self._bits)
        for run in runs(self.xp, self._size):
            squares.extend(run, _square(self._parts(run)[0]), None)
        return squares

    def _empty(self, bits: int) -> RunningTotals:
        return RunningTotals(self.xp, self._size, bits)

    @cached_property
    def digits(self) -> list[Array]:
        """The digits of each number, with its sign."""
        return _signed(self.xp, *self._parts(slice(None)))

    @cached_property
    def square_digits(self) -> list[Array]:
        """The digits of the square of each number."""
        return _square(self.digits)

    def _parts(self, run: slice) -> tuple[list[Array], Array]:
        """The digits of the numbers' sizes, and which are negative."""
        numbers = self._numbers
        if isinstance(numbers, tuple):
            high, low = numbers
            return _digits_of_halves(self.xp, high[run], low[run], self._bits)
        if numbers.dtype == self.xp.float64:
            return _digits_of_floats(self.xp, numbers[run], self.unit, self._bits)
        return _digits_of_integers(self.xp, numbers[run], self._bits)


def _extent(xp: Any, numbers: Array | tuple[Array, Array]) -> tuple[int, int]:
    """The unit, and how many bits hold the size of each number in it; 1 at least."""
    if isinstance(numbers, tuple):
        high, low = numbers
        small = bool((high == low.view(xp.int64) >> 63).all())
        return 0, 64 if small else 128
    if not numbers.size:
        return 0, 1
    if numbers.dtype != xp.float64:
        return 0, max((-int(numbers.min())).bit_length(), int(numbers.max()).bit_length(), 1)
    found = [_extent_of_floats(xp, numbers[run]) for run in runs(xp, numbers.size)]
    unit = min(1024, *(least for least, _ in found))
    return unit, max(1, *(top - unit for _, top in found))


def _extent_of_floats(xp: Any, numbers: Array) -> tuple[int, int]:
    """The exponent of the least bit set, and of the first bit that is set in none."""
    bits = numbers.view(xp.int64)
    exponent = (bits >> 52) & 0x7FF
    mantissa = (bits & ((1 << 52) - 1)) | ((exponent > 0).astype(xp.int64) << 52)
    exponent = xp.maximum(exponent, 1) - 1075  # of the mantissa's lowest bit
    zeros = ((mantissa & -mantissa).astype(xp.float64).view(xp.int64) >> 52) - 1023  # a power of two is its exponent
    lowest = xp.where(mantissa == 0, 2000, exponent + zeros)
    return int(lowest.min()), int(exponent.max()) + 53


def _digits_of_integers(xp: Any, numbers: Array, bits: int) -> tuple[list[Array], Array]:
    negative = numbers < 0
    size = numbers.astype(xp.int64)
    if numbers.dtype == xp.int64 and bool(negative.any()):
        size = xp.where(negative, -numbers, numbers)  # -(-2**63) wraps to itself, which reads 2**63 unsigned
    size = size.view(xp.uint64)
    return [((size >> start) & MASK).view(xp.int64) for start in range(0, bits, DIGIT)], negative


def _digits_of_halves(xp: Any, high: Array, low: Array, bits: int) -> tuple[list[Array], Array]:
    negative = high < 0
    low = xp.where(negative, ~low + xp.uint64(1), low)
    high = xp.where(negative, ~high + (low == 0), high).astype(xp.uint64)
    digits = []
    for start in range(0, bits, DIGIT):
        digit = high >> (start - 64) if start >= 64 else low >> start
        if 64 - DIGIT < start < 64:
            digit = digit | (high << (64 - start))
        digits.append((digit & MASK).view(xp.int64))
    return digits, negative


def _digits_of_floats(xp: Any, numbers: Array, unit: int, width: int) -> tuple[list[Array], Array]:
    """From the highest down: each is the whole part of what is left, in its unit, and every step is exact."""
    left = xp.abs(numbers)
    digits = []
    for start in reversed(range(0, width, DIGIT)):
        digit = _times_power(left, -(unit + start)).astype(xp.int64)
        digits.append(digit)
        if start:
            left = left - _times_power(digit, unit + start)
    return digits[::-1], numbers < 0


def _times_power(numbers: Array, exponent: int) -> Array:
    """``numbers * 2**exponent``, where that power itself may be beyond the floats."""
    beyond = exponent - max(-1000, min(exponent, 1000))
    return numbers * 2.0 ** (exponent - beyond) * 2.0**beyond if beyond else numbers * 2.0**exponent


def digits_of_floats(xp: Any, numbers: Array, unit: int) -> list[Array]:
    """Signed digits of finite floats that are multiples of ``2**unit``."""
    if not numbers.size:
        return [xp.zeros(0, dtype=xp.int64)]
    _, top = _extent_of_floats(xp, numbers)
    return _signed(xp, *_digits_of_floats(xp, numbers, unit, max(top - unit, 1)))


def _signed(xp: Any, digits: list[Array], negative: Array) -> list[Array]:
    sign = 1 - 2 * negative.astype(xp.int64)
    return [digit * sign for digit in digits]


def _square(digits: list[Array]) -> list[Array]:
    """Digits of the squares of numbers given by their digits: all positive, each below 2**26."""
    count = len(digits)
    twice = [digit << 1 for digit in digits]
    carry: Any = 0
    squared = []
    for k in range(2 * count - 1):
        total = carry
        for i in range(max(0, k - count + 1), (k + 1) // 2):
            total = total + twice[i] * digits[k - i]
        if k % 2 == 0:
            total = total + digits[k // 2] * digits[k // 2]
        squared.append(total & MASK)
        carry = total >> DIGIT
    while bool((carry > 0).any()):
        squared.append(carry & MASK)
        carry = carry >> DIGIT
    return squared


def carried(digits: list[Array]) -> list[Array]:
    """The same numbers with every digit in 0 to 2**26 - 1, but one more, the last, which carries the sign."""
    carry: Any = 0
    clean = []
    for digit in digits:
        total = digit + carry
        clean.append(total & MASK)
        carry = total >> DIGIT
    return [*clean, carry]


def magnitudes(xp: Any, digits: list[Array]) -> tuple[list[Array], Array]:
    """Absolute values in clean digits, and where the numbers are negative.

    Args:
        digits: clean but for the last, which is below 2**26 in size and carries the sign.
    """
    negative = digits[-1] < 0
    if not bool(negative.any()):
        return digits, negative
    sign = 1 - 2 * negative.astype(xp.int64)
    return carried([digit * sign for digit in digits])[:-1], negative


def to_float(xp: Any, clean: list[Array], unit: int) -> tuple[Array, Array]:
    """Positive numbers in clean digits as ``mantissa * 2**exponent``, the mantissa rounded once, to nearest, ties to even.

    The two highest digits in use are the integer part (52 bits at most), the next two its fraction, and whatever lies
    below sets the fraction's last bit: one floating addition of two exact numbers then rounds as the whole number would.
    """
    top = xp.full(clean[0].size, 3, dtype=xp.int16)
    for k, digit in enumerate(clean[4:], start=4):
        top[digit != 0] = k
    mantissa = xp.zeros(top.size, dtype=xp.float64)
    padded = [*clean, *[xp.zeros_like(clean[0])] * (4 - len(clean))]
    for place in xp.nonzero(xp.bincount(top))[0].tolist():
        chosen = xp.nonzero(top == place)[0]
        part = padded if chosen.size == top.size else [digit[chosen] for digit in padded[: place + 1]]
        fraction = (part[place - 2] << DIGIT) | part[place - 3]
        for digit in part[: place - 3]:
            fraction = fraction | (digit != 0)
        whole = ((part[place] << DIGIT) | part[place - 1]).astype(xp.float64)
        mantissa[chosen] = whole + fraction.astype(xp.float64) * 2.0 ** (-2 * DIGIT)
    return mantissa, (top.astype(xp.int32) - 1) * DIGIT + unit


def to_int64(xp: Any, digits: list[Array], *, unsigned: bool) -> tuple[Array, Array]:
    """Numbers of at most four digits as int64 (or uint64), and where they do not fit.

    Args:
        digits: clean but for the last, which carries the sign.
    """
    value = digits[0]
    for k, digit in enumerate(digits[1:3], start=1):
        value = value + (digit << (DIGIT * k))
    upper = xp.zeros_like(value) if len(digits) < 3 else digits[2]
    if len(digits) > 3:
        upper = upper + (digits[3] << DIGIT)
    limit = 1 << (64 - 2 * DIGIT)
    outside = (upper < 0) | (upper >= limit) if unsigned else (upper < -(limit >> 1)) | (upper >= limit >> 1)
    return value.view(xp.uint64) if unsigned else value, outside


def scatter(xp: Any, count: Array, plain: list[Array], squares: list[Array]) -> list[Array]:
    """``n * sum(x**2) - sum(x)**2`` in clean digits: never negative.

    Args:
        plain: the absolute values of the sums.
    """
    total = [count * digit for digit in squares]
    total += [xp.zeros_like(count)] * (2 * len(plain) - len(total))
    for i, left in enumerate(plain):
        for j in range(i, len(plain)):
            total[i + j] = total[i + j] - (left * plain[j] if i == j else (left * plain[j]) << 1)
    return carried(total)


def in_runs(xp: Any, size: int, function: Callable[[slice], tuple[Array, ...]]) -> tuple[Array, ...]:
    """``function(slice)`` over items in cache-sized runs, its arrays put together again."""
    parts = [function(run) for run in runs(xp, size)] or [function(slice(0, 0))]
    return parts[0] if len(parts) == 1 else tuple(xp.concatenate(column) for column in zip(*parts, strict=True))
