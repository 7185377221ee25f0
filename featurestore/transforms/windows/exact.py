"""Exact sums: numbers as integers in base 2**26, so that a window is the difference of two prefix sums, with nothing lost.

Every finite float is an integer times a power of two. With ``2**unit`` the least bit set in any value of the bucket, each
value is ``X * 2**unit`` for an integer ``X``, written in signed digits of 26 bits. Prefix sums of each digit are 64-bit
integers that cannot overflow below 2**37 rows; the digits of a range's sum are differences of them: exact whatever stands
before the range, be it an outlier of 1e300, and the same however rows were ordered, split into batches or placed on a
device. The answer is rounded once, to nearest, ties to even (as ``math.fsum`` does). Squares are exact as well (products of
digits, carried), so that

    var = (n * sum(x**2) - sum(x)**2) / (n * (n - 1))

has an exact numerator: the subtraction loses nothing, and the variance is right to the last bits for any mean.
(Superaccumulators: Kulisch, "Computer Arithmetic and Validity", 2013; Neal, "Fast exact summation using small and large
superaccumulators", 2015.)

Cost: O((n + m) * d) for sums and O(n * d**2 + m * d**2) for variances, ``d`` digits: 1 for small integers, 3 for any 64-bit
integers, 3 to 5 for usual floats, 81 for a bucket that holds both 1e-308 and 1e308. Memory: ``8 * d`` bytes a row for sums,
``24 * d`` with squares.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from featurestore.transforms.windows.ranges import Array, prefix

DIGIT: Final = 26
MASK: Final = (1 << DIGIT) - 1
_CHUNK: Final = 1 << 14


class ExactSums:
    """Prefix sums of one column's numbers, kept as digits.

    Args:
        numbers: int64, uint64 or finite float64; or ``(high, low)``, int64 and uint64, halves of 128-bit integers.
    """

    def __init__(self, xp: Any, numbers: Array | tuple[Array, Array]) -> None:
        self.xp = xp
        if isinstance(numbers, tuple):
            self.digits, self.unit = _digits_of_halves(xp, *numbers), 0
        elif numbers.dtype == xp.float64:
            self.digits, self.unit = digits_of_floats(xp, numbers)
        else:
            self.digits, self.unit = _digits_of_integers(xp, numbers), 0

    @property
    def extra(self) -> int:
        """How many digits a sum may need beyond those of its summands and its carry."""
        return 0 if self.digits[0].size < 1 << DIGIT else 1

    @cached_property
    def sums(self) -> list[Array]:
        """Prefix sums of the digits, lowest digit first: differences of them are the digits of a range's sum, not yet
        carried."""
        return [prefix(self.xp, digit) for digit in self.digits]

    @cached_property
    def square_digits(self) -> list[Array]:
        """The digits of the squares."""
        return _square(self.digits)

    @cached_property
    def squares(self) -> list[Array]:
        """Prefix sums of the digits of the squares."""
        return [prefix(self.xp, digit) for digit in self.square_digits]


def _digits_of_integers(xp: Any, numbers: Array) -> list[Array]:
    if not numbers.size:
        return [xp.zeros(0, dtype=xp.int64)]
    low, high = int(numbers.min()), int(numbers.max())
    count = max(1, -(-max((-low).bit_length(), high.bit_length()) // DIGIT))
    if count == 1:
        return [numbers.astype(xp.int64)]
    negative = numbers < 0
    size = xp.where(negative, -numbers, numbers).astype(xp.uint64)  # -(-2**63) wraps to itself, which reads 2**63 unsigned
    return _signed(xp, [(size >> xp.uint64(DIGIT * k)) & xp.uint64(MASK) for k in range(count)], negative)


def _digits_of_halves(xp: Any, high: Array, low: Array) -> list[Array]:
    negative = high < 0
    low = xp.where(negative, ~low + xp.uint64(1), low)
    high = xp.where(negative, ~high + (low == 0), high).astype(xp.uint64)
    digits = []
    for start in range(0, 128, DIGIT):
        digit = high >> xp.uint64(start - 64) if start >= 64 else low >> xp.uint64(start)
        if 64 - DIGIT < start < 64:
            digit = digit | (high << xp.uint64(64 - start))
        digits.append(digit & xp.uint64(MASK))
    while len(digits) > 1 and not bool(digits[-1].any()):
        digits.pop()
    return _signed(xp, digits, negative)


def digits_of_floats(xp: Any, numbers: Array, unit: int | None = None) -> tuple[list[Array], int]:
    """Signed digits of floats that are multiples of ``2**unit``, by default of the greatest such unit; and the unit."""
    if not numbers.size:
        return [xp.zeros(0, dtype=xp.int64)], 0
    bits = numbers.view(xp.int64)
    exponent = (bits >> 52) & 0x7FF
    mantissa = (bits & ((1 << 52) - 1)) | ((exponent > 0).astype(xp.int64) << 52)
    exponent = xp.maximum(exponent, 1) - 1075  # of the mantissa's lowest bit
    _, trailing = xp.frexp((mantissa & -mantissa).astype(xp.float64))
    lowest = xp.where(mantissa == 0, 2000, exponent + trailing - 1)
    unit = min(int(lowest.min()), 1024) if unit is None else unit
    top = int(xp.where(mantissa == 0, unit, exponent + 53).max())
    shift = exponent - unit  # negative only where the bits shifted out are zero
    digits = []
    for start in range(0, max(top - unit, 1), DIGIT):
        right = start - shift
        digits.append(((mantissa >> xp.clip(right, 0, 62)) << xp.clip(-right, 0, DIGIT)) & MASK)
    return _signed(xp, digits, bits < 0), unit


def _signed(xp: Any, digits: list[Array], negative: Array) -> list[Array]:
    sign = 1 - 2 * negative.astype(xp.int64)
    return [digit.astype(xp.int64) * sign for digit in digits]


def _square(digits: list[Array]) -> list[Array]:
    """Digits of the squares of numbers given by their digits: all positive, each below 2**26."""
    count = len(digits)
    carry: Any = 0
    squared = []
    for k in range(2 * count - 1):
        total = carry
        for i in range(max(0, k - count + 1), (k + 1) // 2):
            total = total + 2 * (digits[i] * digits[k - i])
        if k % 2 == 0:
            total = total + digits[k // 2] * digits[k // 2]
        squared.append(total & MASK)
        carry = total >> DIGIT
    while bool((carry > 0).any()):
        squared.append(carry & MASK)
        carry = carry >> DIGIT
    return squared


def carried(digits: list[Array], extra: int = 0) -> list[Array]:
    """The same numbers with every digit in 0 to 2**26 - 1, but the last, which carries the sign.

    The last is below 2**26 as well, in size, where the numbers are sums over fewer than 2**26 rows; else with ``extra=1``.
    """
    carry: Any = 0
    clean = []
    for digit in digits:
        total = digit + carry
        clean.append(total & MASK)
        carry = total >> DIGIT
    for _ in range(extra):
        clean.append(carry & MASK)
        carry = carry >> DIGIT
    return [*clean, carry]


def magnitudes(xp: Any, digits: list[Array], extra: int = 0) -> tuple[list[Array], Array]:
    """Absolute values in clean digits, and where the numbers are negative."""
    clean = carried(digits, extra)
    negative = clean[-1] < 0
    if not bool(negative.any()):
        return clean, negative
    sign = 1 - 2 * negative.astype(xp.int64)
    return carried([digit * sign for digit in digits], extra), negative


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
    """Numbers of at most three digits as int64 (or uint64), and where they do not fit."""
    clean = carried([*digits, *[xp.zeros_like(digits[0])] * (3 - len(digits))])
    upper = clean[2] + (clean[3] << DIGIT)
    limit = 1 << (64 - 2 * DIGIT)
    outside = (upper < 0) | (upper >= limit) if unsigned else (upper < -(limit >> 1)) | (upper >= limit >> 1)
    value = clean[0] + (clean[1] << DIGIT) + (upper << (2 * DIGIT))
    return value.view(xp.uint64) if unsigned else value, outside


def scatter(xp: Any, count: Array, sums: list[Array], squares: list[Array], extra: int = 0) -> list[Array]:
    """``n * sum(x**2) - sum(x)**2`` in clean digits: never negative."""
    plain, _ = magnitudes(xp, sums, extra)
    minuend = carried(squares, extra)
    total = [count * digit for digit in minuend]
    total += [xp.zeros_like(count)] * (2 * len(plain) - len(total))
    for i, left in enumerate(plain):
        for j in range(i, len(plain)):
            total[i + j] = total[i + j] - (left * plain[j] if i == j else (left * plain[j]) << 1)
    return carried(total)


def in_chunks(xp: Any, size: int, function: Callable[[slice], tuple[Array, ...]]) -> tuple[Array, ...]:
    """``function(slice)`` over slices small enough for the processor's cache, its arrays put together again."""
    step = max(size, 1) if xp.__name__ != "numpy" else _CHUNK
    parts = [function(slice(start, start + step)) for start in range(0, max(size, 1), step)]
    return parts[0] if len(parts) == 1 else tuple(xp.concatenate(column) for column in zip(*parts, strict=True))
