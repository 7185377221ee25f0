"""Running totals of large integers in words of 64 bits, so that the sum over any range is one subtraction.

A total is kept in as many words as hold the sum over any range, lowest first, in two's complement: totals may wrap, their
differences do not. A word's totals are a ``cumsum`` of 64-bit integers; where it fell it has wrapped, and the word above gets
one more. Numbers come and go as digits of base 2**26 (``exact.py``), whose products fit 64 bits: in words they take two fifths
of the memory, and of the look-ups at the ends of ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from featurestore.transforms.windows.ranges import Array

DIGIT: Final = 26
MASK: Final = (1 << DIGIT) - 1
_WORD: Final = 64
_CHUNK: Final = 1 << 14


def runs(xp: Any, size: int) -> Iterator[slice]:
    """All items in runs small enough for the processor's cache; at once on a device."""
    step = _CHUNK if xp.__name__ == "numpy" else max(size, 1)
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


class RunningTotals:
    """Sums of the first 0, 1, ..., n integers, which :meth:`extend` is given run by run.

    Args:
        size: how many integers.
        bits: that hold the size of any of them.
    """

    def __init__(self, xp: Any, size: int, bits: int) -> None:
        self._xp = xp
        bits += size.bit_length() + 1  # those of a sum, and its sign
        self._digits = -(-bits // DIGIT)
        self._totals = [xp.zeros(size + 1, dtype=xp.uint64) for _ in range(-(-bits // _WORD))]

    def over(self, low: Array, high: Array) -> list[Array]:
        """The digits of each range's sum: clean but for the last, which is below 2**26 in size and carries the sign."""
        words: list[Array] = []
        borrow: Any = None
        for total in self._totals:
            minuend, subtrahend = total[high], total[low]
            word = minuend - subtrahend
            short = minuend < subtrahend
            if borrow is not None:
                short = short | (borrow & (word == 0))
                word = word - borrow
            words.append(word)
            borrow = short
        return [self._digit(words, k) for k in range(self._digits)]

    def fitted(self, digits: Sequence[Array]) -> list[Array]:
        """Digits of sums of these integers, not yet carried, in the form that :meth:`over` gives."""
        carry: Any = 0
        clean = []
        for k in range(self._digits - 1):
            carry = carry + digits[k] if k < len(digits) else carry
            clean.append(carry & MASK)
            carry = carry >> DIGIT
        for k, digit in enumerate(digits[self._digits - 1 :]):
            carry = carry + (digit << (DIGIT * k))
        return [*clean, carry]

    def extend(self, run: slice, digits: Sequence[Array], negative: Array | None) -> None:
        """Go on with a run of the integers.

        Args:
            digits: the clean digits of their sizes.
            negative: which are negative; None for none.
        """
        words = self._words(digits, negative)
        carry: Any = None
        for k, (total, word) in enumerate(zip(self._totals, words, strict=True), start=1):
            here = total[run.start : run.stop + 1]
            here[1:] = word if carry is None else word + carry
            self._xp.cumsum(here, out=here)
            if k < len(words):
                fell = here[1:] < here[:-1]
                # A word of all ones and a carry add 2**64: the total stays where it was.
                carry = fell if carry is None else fell | (carry & (here[1:] == here[:-1]))

    def _words(self, digits: Sequence[Array], negative: Array | None) -> list[Array]:
        words = [self._word(digits, k) for k in range(len(self._totals))]
        if negative is None or not bool(negative.any()):
            return words
        carry = negative
        ones = self._xp.where(negative, self._xp.uint64(2**64 - 1), self._xp.uint64(0))
        for k, word in enumerate(words):
            words[k] = (word ^ ones) + carry
            carry = carry & (words[k] == 0)
        return words

    def _word(self, digits: Sequence[Array], k: int) -> Array:
        word = None
        for j, digit in enumerate(digits):
            place = DIGIT * j - _WORD * k
            if -DIGIT < place < _WORD:
                part = digit.view(self._xp.uint64)
                part = part << place if place >= 0 else part >> -place
                word = part if word is None else word | part
        return self._xp.zeros(digits[0].size, dtype=self._xp.uint64) if word is None else word

    def _digit(self, words: Sequence[Array], k: int) -> Array:
        """The ``k``-th digit of integers given by their words; of the last all that is left, with the sign."""
        j, place = divmod(DIGIT * k, _WORD)
        last = k == self._digits - 1
        if last and j == len(words) - 1:
            return words[j].view(self._xp.int64) >> place
        part = words[j] >> place
        if place and j + 1 < len(words):
            part = part | (words[j + 1] << (_WORD - place))
        return (part if last else part & MASK).view(self._xp.int64)
