"""Texts: where they end, what their escapes mean, and how Arrow's views say where they are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from featurestore.compiling import inner
from featurestore.ingestion.compiled.words import (
    BACKSLASH,
    BITS,
    HIGH,
    ONES,
    QUOTE,
    QUOTES,
    SPACE,
    ZERO,
    Bytes,
    Word,
    first_marked,
    word_at,
)

_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)
_SMALL_U: Final = ord("u")
_ESCAPES: Final = tuple(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))


@inner
def text_end(text: Bytes, size: int, at: int) -> int:
    """Where the next quote, backslash or control character stands. A line end is one, and the text ends with it."""
    while True:
        word = word_at(text, size, at)
        quote, backslash = word ^ QUOTES, word ^ _BACKSLASHES
        marks = ((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) | ((word - _SPACES) & ~word)
        marks &= HIGH
        if marks:
            return at + first_marked(marks)
        at += 8


@inner
def view_of(text: Bytes, size: int, start: int, end: int, buffer: int) -> tuple[Word, Word]:
    """A text as an element of Arrow's view layout: up to twelve bytes in it, else four and where all of them are."""
    length = np.uint64(end - start)
    first = word_at(text, size, start)
    if end - start > 12:
        return length | first << BITS, np.uint64(buffer) | np.uint64(start) << BITS
    if end - start < 4:
        first &= (np.uint64(1) << (length * np.uint64(8))) - np.uint64(1)
    second = np.uint64(0)
    if end - start > 4:
        second = word_at(text, size, start + 4) & ~np.uint64(0) >> np.uint64(8 * (12 - (end - start)))
    return length | first << BITS, second


@inner
def _hex(text: Bytes, at: int) -> int:
    """Four hexadecimal digits; -1 if they are none."""
    value = 0
    for place in range(at, at + 4):
        digit, letter = text[place] - ZERO, (text[place] | 32) - 97
        if 0 <= digit < 10:
            value = value * 16 + digit
        elif 0 <= letter < 6:
            value = value * 16 + letter + 10
        else:
            return -1
    return value


@inner
def _put(spare: Bytes, used: int, code: int) -> int:
    """A character in UTF-8; what is used then."""
    if code < 0x80:
        spare[used] = code
        return used + 1
    size = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for place in range(size - 1, 0, -1):
        spare[used + place] = 0x80 | code & 0x3F
        code >>= 6
    spare[used] = (0xF00 >> size) & 0xFF | code
    return used + size


@inner
def unescaped(text: Bytes, at: int, spare: Bytes, used: int) -> tuple[int, int]:
    """Write a text with escapes: where its quote is (-1: it is no text, or half a surrogate), and what is used then."""
    while True:
        byte = text[at]
        if byte == QUOTE:
            return at, used
        if byte < SPACE:
            return -1, used
        at += 1
        if byte != BACKSLASH:
            spare[used] = byte
            used += 1
            continue
        byte = text[at]
        at += 1
        if byte == _SMALL_U:
            code = _hex(text, at)
            at += 4
            if 0xD800 <= code < 0xDC00 and text[at] == BACKSLASH and text[at + 1] == _SMALL_U:
                low = _hex(text, at + 2)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                    at += 6
            if code < 0 or 0xD800 <= code < 0xE000:
                return -1, used
            used = _put(spare, used, code)
            continue
        for written, meant in _ESCAPES:
            if byte == written:
                spare[used] = meant
                used += 1
                break
        else:
            return -1, used


@inner
def is_key(text: Bytes, size: int, at: int, known: Any, number: int) -> bool:
    """Whether one of the texts that are known in words stands here: a key of JSON, or a text that means "no value"."""
    left, place, key = known.sizes[number], at, number * known.width
    while left > 8 and word_at(text, size, place) == known.keys[key]:
        left, place, key = left - 8, place + 8, key + 1
    same: bool = left <= 8 and (word_at(text, size, place) ^ known.keys[key]) << np.uint64(64 - 8 * left) == 0
    return same
