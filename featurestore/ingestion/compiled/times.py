"""Times as most texts write them, read by a compiled loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import int64, types

from featurestore.compiling import compiled, inner, stamp
from featurestore.ingestion.compiled.numbers import SIXES, TENFOLD, TENS, read_digits
from featurestore.ingestion.compiled.words import POINT, SPACE, TEXT_TYPE, Array, Word, eight, pointer, word_at, word_of

_LARGE_T, _LARGE_Z = b"TZ"
_MONTHS: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_DATE: Final = (word_of(b"0000-00-"), word_of(b"\0\0\0\0\xff\0\0\xff"))
_DAY: Final = (word_of(b"00"), word_of(b""))
_CLOCK: Final = (word_of(b"00:00:00"), word_of(b"\0\0\xff\0\0\xff"))
_NONE: Final = np.uint64(2**64 - 1)


@inner
def _pairs(word: Word, form: Word, between: Word) -> Word:
    """Pairs of digits, each as a number in the byte where it begins; ``_NONE`` if others stand there or between them."""
    word ^= form
    if (word + SIXES | word) & TENS or word & between:
        return _NONE
    return word * np.uint64(10) + (word >> np.uint64(8))


@inner
def _day(year: int, month: int, day: int) -> tuple[int, int]:
    """Days since the epoch; -1 in second place if there is no such day."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year == 0 or not 1 <= month <= 12 or not 1 <= day <= _MONTHS[month] + (leap and month == 2):
        return 0, -1
    # Years begin in March, so that a leap day is the last of its year.
    year -= month < 3
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469, 0


@inner
def _byte(word: Word, place: int) -> int:
    byte: int = int64(word >> np.uint64(8 * place) & np.uint64(0xFF))
    return byte


def _reading(stamp: int) -> Any:
    """The entry. It closes over the stamp: see :func:`featurestore.compiling.compiled`."""

    @compiled(TEXT_TYPE, types.Array(types.int64, 1, "C", readonly=True), types.boolean, types.int64[::1])
    def read_instants(text: Array, offsets: Array, zoned: bool, instants: Array) -> bool:
        """Texts like ``2013-03-10T02:30:00.25`` as microseconds since the epoch; False where one is written in another way.

        Args:
            text, offsets: the texts, one behind the other.
            zoned: whether each ends with ``Z``; otherwise none does.
            instants: filled.
        """
        _ = stamp
        begin, known, days = pointer(text), np.uint64(0), 0
        known_day = known
        for row in range(len(instants)):
            at, end = offsets[row], offsets[row + 1] - zoned
            size = end - at
            if size < 19 or size == 20 or size > 26 or (zoned and text[end] != _LARGE_Z):
                return False
            date, day, clock = eight(begin, at), word_at(begin, at + 10, at + 8), _pairs(eight(begin, at + 11), *_CLOCK)
            if clock == _NONE or (text[at + 10] != _LARGE_T and text[at + 10] != SPACE):
                return False
            # Most rows are of the day of the row before.
            if date != known or day != known_day:
                known, known_day = date, day
                date, day = _pairs(date, *_DATE), _pairs(day, *_DAY)
                if date == _NONE or day == _NONE:
                    return False
                days, wrong = _day(_byte(date, 0) * 100 + _byte(date, 2), _byte(date, 5), _byte(day, 0))
                if wrong:
                    return False
            hour, minute, second = _byte(clock, 0), _byte(clock, 3), _byte(clock, 6)
            if hour > 23 or minute > 59 or second > 59:
                return False
            micros = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000
            if size > 19:
                behind, fraction = read_digits(begin, at + 20, end)
                if text[at + 19] != POINT or behind != end:
                    return False
                micros += int64(fraction * TENFOLD[26 - size])
            instants[row] = micros
        return True

    return read_instants


read_instants = _reading(stamp(*Path(__file__).parent.glob("*.py")))
