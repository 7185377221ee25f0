"""Plain numbers in text, many at once: eight digits to a machine word.

A parser that takes one text after the other spends most of its time on finding out where the text is and how long. Here each
step is one operation on a whole column, and the digits are checked on the way: what is taken is a plain decimal number, and
its value is exact. Whatever else a text may hold (exponents, leading zeros, more digits) is left to parsers that take their
time.

The arithmetic of a word: https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/. A quotient of two integers
that doubles hold, the divisor a power of ten up to 10**22, is the double nearest to the number: W. D. Clinger, How to read
floating point numbers accurately, PLDI 1990.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

_WORD: Final = 8
_MOST_INT: Final = 19
_MOST_DECIMAL: Final = 16
_MINUS, _ZERO = 45, 48
_ZEROS: Final = np.uint64(0x3030303030303030)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_OVER_NINE: Final = np.uint64(0x7676767676767676)
_POINTS: Final = np.uint64(0x1E1E1E1E1E1E1E1E)
"""The decimal point in each byte, as it is once the zeros are subtracted."""
_ONES: Final = np.uint64(0x0101010101010101)
_STEPS: Final = tuple(
    (np.uint64(mask), np.uint64(factor), np.uint64(shift))
    for mask, factor, shift in (
        (0x0F0F0F0F0F0F0F0F, 2561, 8),
        (0x00FF00FF00FF00FF, 6553601, 16),
        (0x0000FFFF0000FFFF, 42949672960001, 32),
    )
)
_TEN_TO_7, _TEN_TO_8 = np.uint64(10**7), np.uint64(10**8)
_DECIMALS: Final = np.maximum(_WORD - 1 - np.arange(8 * _WORD + 1) // 8, 0)
_POWERS: Final = 10.0**_DECIMALS
"""By the bits of a word before its point: how many digits follow it, and the power of ten that they stand for."""


def plain_ints(data: bytes | pa.Buffer, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """Texts as 64-bit integers; None where one of them is no integer in its plain form (as ``007``, ``+1``, ``-0``, ``1e3``).

    Args:
        data: what the texts are parts of.
        starts: where each text begins.
        ends: where it ends.
    """
    if not len(starts):
        return np.empty(0, np.int64)
    if not (ends > starts).all():
        return None
    text = np.frombuffer(data, np.uint8)
    minus, signed, lengths = _signs(text, starts, ends)
    longest = int(lengths.max())
    if longest > _MOST_INT or int(lengths.min()) < 1 or _has_leading_zero(text, starts, minus, lengths, signed=signed):
        return None
    words = _Words(data, ends)
    total = np.zeros(len(starts), np.uint64)
    for word in range((longest + _WORD - 1) // _WORD - 1, -1, -1):
        left = lengths - word * _WORD
        digits = words.ending(word * _WORD, left)
        if not _all_digits(digits):
            return None
        total = total * _TEN_TO_8 + _value(digits)
    if longest == _MOST_INT and bool((total > np.uint64(2**63 - 1)).any()):
        return None  # the smallest integer of all is left to others, too
    values = total.view(np.int64)
    if not signed:
        return values
    return None if bool((minus & (values == 0)).any()) else np.where(minus, -values, values)


def plain_decimals(data: bytes | pa.Buffer, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """Texts as doubles; None where one of them is no plain number of at most 15 digits (as ``.5``, ``1.``, ``00.5``, ``1e3``).

    Args: as for :func:`plain_ints`.
    """
    if not len(starts):
        return np.empty(0, np.float64)
    if not (ends > starts).all():
        return None
    text = np.frombuffer(data, np.uint8)
    minus, signed, lengths = _signs(text, starts, ends)
    longest = int(lengths.max())
    if longest > _MOST_DECIMAL or int(lengths.min()) < 1:
        return None
    words = _Words(data, ends)
    digits, bits, has_point = _without_point(words.ending(0, lengths))
    # A point as the last character, or more digits than any double holds.
    if bool((bits == 8 * (_WORD - 1)).any()) or int((lengths - has_point).max()) == _MOST_DECIMAL:
        return None
    whole = lengths - (_DECIMALS[bits] + 1) * has_point
    if int(whole.min()) < 1 or not _all_digits(digits) or _has_leading_zero(text, starts, minus, whole, signed=signed):
        return None
    total = _value(digits)
    if longest > _WORD:
        upper = words.ending(_WORD, lengths - _WORD)
        if not _all_digits(upper):
            return None
        total += _value(upper) * np.where(has_point, _TEN_TO_7, _TEN_TO_8)
    values: np.ndarray = total.astype(np.float64) / _POWERS[bits]
    return np.where(minus, -values, values) if signed else values


def _signs(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, bool, np.ndarray]:
    """Which texts begin with a minus, whether any does, and how long they are without it."""
    minus = text[starts] == _MINUS
    signed = bool(minus.any())
    return minus, signed, ends - starts - minus if signed else ends - starts


class _Words:
    """Eight bytes each, by where they end."""

    def __init__(self, data: bytes | pa.Buffer, ends: np.ndarray) -> None:
        self._ends = ends
        # What stands left of a text at the beginning of the data is needed too.
        padding = 3 * _WORD if int(ends.min()) < 3 * _WORD else 0
        padded = bytes(padding) + bytes(data) if padding else data
        self._offset = padding - _WORD
        self._all = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))

    def ending(self, behind: int, lengths: np.ndarray) -> np.ndarray:
        """The ``lengths`` bytes that stand so far behind the ends, as digits; what is not asked for is 0."""
        found: np.ndarray = self._all[self._ends + (self._offset - behind)] ^ _ZEROS
        least, most = int(lengths.min()), int(lengths.max())
        if least >= _WORD:
            return found
        shown = lengths if least > 0 and most <= _WORD else np.clip(lengths, 1, _WORD)
        bits = (8 * _WORD - (shown << 3)).astype(np.uint64)
        found = (found >> bits) << bits
        return np.where(lengths > 0, found, np.uint64(0)) if least <= 0 else found


def _without_point(digits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words without their first point, how many bits are before it (64 where there is none), and which words have one."""
    differing = digits ^ _POINTS
    # The lowest bit of this marks the first byte that is 0; higher ones may be wrong.
    marks = (differing - _ONES) & ~differing & _HIGH_BITS
    before = ((marks & (~marks + np.uint64(1))) - np.uint64(1)) >> np.uint64(7)
    has_point = marks != 0
    if not has_point.all():
        before[~has_point] = ~np.uint64(0)
    moved = (digits & before) << np.uint64(8)
    rest = digits & ~((before << np.uint64(8)) | np.uint64(0xFF))
    if not has_point.all():
        moved = np.where(has_point, moved, digits)
    return rest | moved, np.bitwise_count(before), has_point


def _all_digits(digits: np.ndarray) -> bool:
    return not bool((((digits + _OVER_NINE) | digits) & _HIGH_BITS).any())


def _value(digits: np.ndarray) -> np.ndarray:
    for mask, factor, shift in _STEPS:
        digits = ((digits & mask) * factor) >> shift
    return digits


def _has_leading_zero(text: np.ndarray, starts: np.ndarray, minus: np.ndarray, lengths: np.ndarray, *, signed: bool) -> bool:
    first = text[starts + minus] if signed else text[starts]
    return bool(((first == _ZERO) & (lengths > 1)).any())
