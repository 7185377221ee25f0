"""Numbers, read strictly: what is taken is exact, and what is not is told apart.

A product or quotient of an integer below 2**53 and a power of ten up to 10**22 is the double nearest to the number: W. D.
Clinger, How to read floating point numbers accurately, PLDI 1990.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import int64

from featurestore.compiling import inner
from featurestore.ingestion.compiled.scans import BEYOND, DOUBT, FLOAT, INT, LONG
from featurestore.ingestion.compiled.words import MINUS, PLUS, POINT, ZERO, Bytes, Word, first_marked, word_at

SIXES: Final = np.uint64(0x0606060606060606)
TENS: Final = np.uint64(0xF0F0F0F0F0F0F0F0)
TENFOLD: Final = np.array([10**power for power in range(20)], np.uint64)
_ZEROS: Final = np.uint64(0x3030303030303030)
_MOST_MANTISSA: Final = np.uint64(10**15)
_MOST_INT: Final = np.uint64(2**63 - 1)
_HELD: Final = np.uint64(2**53)
_POWERS: Final = 10.0 ** np.arange(23)
_SMALL_E: Final = ord("e")


@inner
def read_digits(text: Bytes, at: int, end: int) -> tuple[int, Word]:
    """The digits that begin here: where they end, and their value in 64 bits."""
    value = np.uint64(0)
    while True:
        word = word_at(text, end, at) ^ _ZEROS
        marks = (word + SIXES | word) & TENS
        size = first_marked(marks) if marks else 8
        if size == 0:
            return at, value
        # Neighbours are put together, then pairs, then fours: https://lemire.me/blog/2018/10/03/quickly-parsing-eight-digits/
        word = (word << np.uint64(64 - 8 * size)) * np.uint64(2561) >> np.uint64(8)
        word = (word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601) >> np.uint64(16)
        word = (word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001) >> np.uint64(32)
        value, at = value * TENFOLD[size] + word, at + size
        if size < 8:
            return at, value


@inner
def read_number(text: Bytes, at: int, end: int) -> tuple[int, int, int, float]:
    """The number that begins here: where it ends (-1: it is none), its kind, and its value as an integer and as a double."""
    nothing = (-1, 0, 0, 0.0)
    negative = at < end and text[at] == MINUS
    if negative:
        at += 1
    if at >= end:
        return nothing
    scale, power, first = 0, 0, at
    at, mantissa = read_digits(text, at, end)
    if at == first or (text[first] == ZERO and at > first + 1):
        return nothing
    digits = at - first
    if at == end or (text[at] != POINT and (text[at] | 32) != _SMALL_E):
        if digits > 19 or mantissa > _MOST_INT or (negative and mantissa == 0):
            return at, BEYOND, 0, 0.0
        value = int64(mantissa)
        if negative:
            value = -value
        return at, INT if mantissa <= _HELD else LONG, value, np.float64(value)
    if text[at] == POINT:
        at += 1
        first = at
        at, fraction = read_digits(text, at, end)
        scale = at - first
        if scale == 0:
            return nothing
        digits += scale
        mantissa = mantissa * TENFOLD[min(scale, 19)] + fraction
    if at < end and (text[at] | 32) == _SMALL_E:
        at += 1
        lowers = at < end and text[at] == MINUS
        if lowers or (at < end and text[at] == PLUS):
            at += 1
        first = at
        while at < end and np.uint8(text[at] - ZERO) < 10:
            power = min(power * 10 + (text[at] - ZERO), 9999)
            at += 1
        if at == first:
            return nothing
        if lowers:
            power = -power
    power -= scale
    if digits > 19 or mantissa >= _MOST_MANTISSA or power > 22 or power < -22:
        return at, DOUBT, 0, 0.0
    double = np.float64(mantissa)
    double = double * _POWERS[power] if power >= 0 else double / _POWERS[-power]
    return at, FLOAT, 0, -double if negative else double
