"""JSON lines that look alike, read column by column.

A program that writes JSON lines writes each with the same keys in the same order and with the same spaces. All that stands
between the values is then known beforehand: where the keys end, the values begin. Nothing here guesses. What is taken was
compared byte by byte with the layout of the first line, its texts hold no escapes, its numbers are plain or survive a double,
and the quotes of a line add up; every other line, and every block with a column that needs a second look, is left to the
parsers of :mod:`featurestore.ingestion.readers.jsonl`, whose answers these are.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from featurestore.ingestion.digits import plain_decimals, plain_ints
from featurestore.ingestion.readers.blocks import Lines, texts_at
from featurestore.ingestion.text_types import parse_floats

_NEWLINE, _SPACE, _QUOTE, _COLON, _BACKSLASH = b'\n ":\\'
_TRUE, _FALSE, _NULL = b"tfn"
_NUMERALS: Final = np.isin(np.arange(256), list(b"-0123456789"))
_BEGINNINGS: Final = np.isin(np.arange(256), list(b'-0123456789tfn"'))
"""What a value that is no list and no record begins with."""
_KEY: Final = rb'"([^"\\\x00-\x1f]*)": *'
_FIRST: Final = re.compile(rb"\{ *" + _KEY)
_NEXT: Final = re.compile(rb" *, *" + _KEY)
_VALUE: Final = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*"|[^\s",:{}\[\]]+')
_LAST: Final = re.compile(rb" *\}")
_NUMBER: Final = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
_WIDEST: Final = 16
_LONG: Final = 16
"""From so many characters on an integer may be one that no double holds."""


class Alike(NamedTuple):
    """The lines of one layout as columns; ``literal`` ones hold numbers and booleans as they are written."""

    rows: np.ndarray
    frame: pl.DataFrame
    literal: frozenset[str]


class _Layout(NamedTuple):
    """What stands before each value of a line, and behind the last."""

    names: list[str]
    before: list[bytes]
    behind: bytes


class _Values(NamedTuple):
    """Where the values of a column begin and end."""

    starts: np.ndarray
    ends: np.ndarray


class _SecondLookError(Exception):
    """A column that is not for here."""


def read_alike(data: bytes, lines: Lines, as_text: frozenset[str]) -> Alike | None:
    """The lines that look like the first one; None where they are less than a quarter, or a column needs a second look.

    Args:
        data: the block of the lines, all of which are UTF-8.
        as_text: columns whose numbers and booleans are wanted as they are written.
    """
    layout = _layout_of(lines.raw(0)) if len(lines) else None
    if layout is None:
        return None
    rows, columns = _places(lines, data, layout)
    if not _many(rows, lines):
        return None
    rows, columns = _only(_sound(data, lines, rows, columns), rows, columns)
    if not _many(rows, lines):
        return None
    literal: set[str] = set()
    series: list[pl.Series] = []
    try:
        for name, values in zip(layout.names, columns, strict=True):
            found, as_written = _column(data, lines.bytes, values, as_written=name in as_text)
            series.append(found.alias(name))
            literal.update([name] if as_written else [])
    except _SecondLookError:
        return None
    return Alike(rows, pl.DataFrame(series), frozenset(literal))


def _many(rows: np.ndarray, lines: Lines) -> bool:
    return len(rows) * 4 >= len(lines)


def _layout_of(line: bytes) -> _Layout | None:
    """The layout of a line; None for one that holds lists or records, or is no object."""
    names: list[bytes] = []
    before: list[bytes] = []
    position = 0
    while (key := (_NEXT if names else _FIRST).match(line, position)) is not None:
        value = _VALUE.match(line, key.end())
        if value is None:
            return None
        names.append(key.group(1))
        before.append(line[position : key.end()])
        position = value.end()
    end = _LAST.match(line, position)
    if not names or end is None or end.end() != len(line) or len(set(names)) < len(names):
        return None
    return _Layout([name.decode() for name in names], before, end.group())


def _places(lines: Lines, data: bytes, layout: _Layout) -> tuple[np.ndarray, list[_Values]]:
    """The lines whose bytes between the values are those of the layout, and where their values are."""
    text, keys = lines.bytes, len(layout.names)
    colons = np.flatnonzero(text == _COLON)
    colons = colons[text[colons - 1] == _QUOTE]
    rows = np.arange(len(lines))
    if len(colons) != len(lines) * keys:
        first, last = (np.searchsorted(colons, places) for places in (lines.starts, lines.ends))
        rows = np.flatnonzero(last - first == keys)
        colons = colons[first[rows][:, np.newaxis] + np.arange(keys)]
    places = np.ascontiguousarray(colons.reshape(-1, keys).T)
    starts = [place + (len(part) - part.rindex(b":")) for place, part in zip(places, layout.before, strict=True)]
    ends = [start - len(part) for start, part in zip(starts[1:], layout.before[1:], strict=True)]
    ends.append(lines.ends[rows] - len(layout.behind))
    same: np.ndarray = starts[0] - len(layout.before[0]) == lines.starts[rows]
    for start, part in zip(starts, layout.before, strict=True):
        same &= _equal(data, start - len(part), part)
    same &= _equal(data, ends[-1], layout.behind)
    for start, end in zip(starts, ends, strict=True):
        same &= end > start
    return _only(same, rows, [_Values(start, end) for start, end in zip(starts, ends, strict=True)])


def _only(kept: np.ndarray, rows: np.ndarray, columns: list[_Values]) -> tuple[np.ndarray, list[_Values]]:
    if kept.all():
        return rows, columns
    return rows[kept], [_Values(values.starts[kept], values.ends[kept]) for values in columns]


def _equal(data: bytes, places: np.ndarray, part: bytes) -> np.ndarray:
    """Where these bytes stand."""
    if len(part) > _WIDEST:
        both: np.ndarray = _equal(data, places, part[:_WIDEST]) & _equal(data, places + _WIDEST, part[_WIDEST:])
        return both
    # Sixteen bytes are fetched as fast as one. No number is ever made of them.
    kind, size = ("<u8", 8) if len(part) <= 8 else ("<c16", 16)
    last = len(data) - size
    outside = np.flatnonzero((places < 0) | (places > last))
    if last < 0:
        return np.array([_stands(data, place, part) for place in places.tolist()], bool)
    within = places
    if len(outside):
        within = places.copy()
        within[outside] = 0
    words = np.ndarray((last + 1,), kind, data, strides=(1,))[within].view("<u8").reshape(len(places), size // 8)
    found = np.ones(len(places), bool)
    for word in range(words.shape[1]):
        piece = part[8 * word : 8 * (word + 1)]
        mask = np.uint64((1 << 8 * len(piece)) - 1)
        found &= (words[:, word] & mask) == int.from_bytes(piece, "little")
    for index in outside.tolist():
        found[index] = _stands(data, int(places[index]), part)
    return found


def _stands(data: bytes, place: int, part: bytes) -> bool:
    return place >= 0 and data[place : place + len(part)] == part


def _sound(data: bytes, lines: Lines, rows: np.ndarray, columns: list[_Values]) -> np.ndarray:
    """Which lines hold nothing but the layout and values without escapes, quotes or control characters."""
    text = lines.bytes
    sound = np.ones(len(rows), bool)
    texts: list[np.ndarray] = []
    for starts, ends in columns:
        first = text[starts]
        quoted = first == _QUOTE
        if quoted.any():
            texts.append(quoted)
            sound &= ~quoted | ((text[ends - 1] == _QUOTE) & (ends - starts > 1))
        if not quoted.all():
            sound &= _BEGINNINGS[first]
        for letter, word in ((_NULL, b"null"), (_TRUE, b"true"), (_FALSE, b"false")):
            places = np.flatnonzero(first == letter) if not quoted.all() else ()
            if len(places):
                sound[places] &= (ends[places] - starts[places] == len(word)) & _equal(data, starts[places], word)
    # Each key and each text has two quotes. No line that is sound so far has fewer; a text with one more is none.
    wanted = 2 * len(columns) * len(rows) + 2 * sum(int(np.count_nonzero(quoted)) for quoted in texts)
    complete = len(rows) == len(lines) and sound.all()
    if not complete or int(np.count_nonzero(text == _QUOTE)) != wanted:
        found = _within(np.flatnonzero(text == _QUOTE), lines)[rows]
        sound &= found == 2 * (len(columns) + sum(quoted.astype(np.int64) for quoted in texts))
    if data.find(b"\\") >= 0:
        sound &= _within(np.flatnonzero(text == _BACKSLASH), lines)[rows] == 0
    if int(np.count_nonzero(text < _SPACE)) != int(np.count_nonzero(text == _NEWLINE)):
        sound &= _within(np.flatnonzero(text < _SPACE), lines)[rows] == 0
    return sound


def _within(places: np.ndarray, lines: Lines) -> np.ndarray:
    """How many of these places are in each line."""
    counts: np.ndarray = np.searchsorted(places, lines.ends) - np.searchsorted(places, lines.starts)
    return counts


def _column(data: bytes, text: np.ndarray, values: _Values, *, as_written: bool) -> tuple[pl.Series, bool]:
    """The values of a column of one kind, and whether they are numbers or booleans as they are written."""
    first = text[values.starts]
    missing = first == _NULL
    given = None
    if missing.any():
        given = np.flatnonzero(~missing)
        first = first[given]
        if not len(given):
            return pl.Series([None], dtype=pl.Null).new_from_index(0, len(missing)), False
    if (first == _QUOTE).all():
        # Where null stands, this takes two of its letters; they are dropped below.
        found = texts_at(data, values.starts + 1, values.ends - 1)
    elif _NUMERALS[first].all():
        found = _numbers(data, values, given, as_written=as_written)
    elif ((first == _TRUE) | (first == _FALSE)).all():
        found = texts_at(data, *values) if as_written else pl.Series(text[values.starts] == _TRUE)
    else:
        raise _SecondLookError
    if given is not None:
        found = found.to_frame("").select(pl.when(pl.lit(pl.Series(~missing))).then(pl.col(""))).to_series()
    return found, as_written


def _numbers(data: bytes, values: _Values, given: np.ndarray | None, *, as_written: bool) -> pl.Series:
    """Numbers, where ``given``; anything elsewhere."""
    some = values if given is None else _Values(values.starts[given], values.ends[given])
    if as_written:
        _written_numbers(data, some)
        return texts_at(data, *values)
    found = plain_ints(data, *some)
    if found is None:
        found = _doubles(data, some)
    if given is None:
        return pl.Series(found)
    whole = np.zeros(len(values.starts), found.dtype)
    whole[given] = found
    return pl.Series(whole)


def _doubles(data: bytes, values: _Values) -> np.ndarray:
    found = plain_decimals(data, *values)
    if found is None:
        texts = _written_numbers(data, values)
        doubles = parse_floats(texts)
        long = texts.filter(texts.str.len_bytes() >= _LONG)
        if doubles.null_count() or not long.str.contains("[.eE]").all():
            raise _SecondLookError
        found = doubles.to_numpy()
    zeros = np.flatnonzero(found == 0.0)
    # An integer cannot say "-0", and the column may be one of integers.
    if bool((np.signbit(found[zeros]) & (values.ends[zeros] - values.starts[zeros] == len("-0"))).any()):
        raise _SecondLookError
    return found


def _written_numbers(data: bytes, values: _Values) -> pl.Series:
    texts = texts_at(data, *values)
    if not texts.str.contains(_NUMBER).all():
        raise _SecondLookError
    return texts
