"""Records of CSV read into columns of the types that are wanted, by one compiled loop.

Nothing here guesses. What is taken is read strictly, and its value is exact; a field of another kind, or a record of more
fields or fewer, ends the scan.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numba import types

from featurestore.compiling import compiled, inner, stamp
from featurestore.ingestion.compiled.numbers import read_number
from featurestore.ingestion.compiled.scans import (
    BOOL,
    DONE,
    DOUBT,
    FLOAT,
    GAVE_UP,
    INT,
    KEY,
    LONG,
    MISFIT,
    NULL,
    ROWS,
    SPARE,
    TEXT,
)
from featurestore.ingestion.compiled.texts import is_key, view_of
from featurestore.ingestion.compiled.words import (
    BITS,
    FIVE,
    HALF,
    HIGH,
    NEWLINE,
    ONES,
    QUOTE,
    RETURN,
    TEXT_TYPE,
    Array,
    Bytes,
    Word,
    first_marked,
    pointer,
    word_at,
    word_of,
)

_TRUE_WORDS: Final = (word_of(b"true"), word_of(b"True"), word_of(b"TRUE"))
_FALSE_WORDS: Final = (word_of(b"false"), word_of(b"False"), word_of(b"FALSE"))
_NEWLINES: Final = np.uint64(0x0A0A0A0A0A0A0A0A)
_RETURNS: Final = np.uint64(0x0D0D0D0D0D0D0D0D)


class _Fields(NamedTuple):
    """Pointers to what is wanted of the fields, and to their values."""

    keys: Any
    width: Any
    sizes: Any
    nulls: Any
    wanted: Any
    slots: Any
    views: Any
    words: Any
    doubles: Any
    room: Any
    spare: Any


@inner
def _field_end(text: Bytes, size: int, at: int, delimiters: Word) -> int:
    """Where the next delimiter or line end stands."""
    while True:
        word = word_at(text, size, at)
        comma, newline, back = word ^ delimiters, word ^ _NEWLINES, word ^ _RETURNS
        marks = ((comma - ONES) & ~comma) | ((newline - ONES) & ~newline) | ((back - ONES) & ~back)
        marks &= HIGH
        if marks:
            return at + first_marked(marks)
        at += 8


@inner
def _quoted(text: Bytes, size: int, at: int, fields: _Fields, cell: int, state: Any) -> int:
    """Read a text from behind its quote: where the field ends, -1 if it does not."""
    start, used, doubled = at, state[SPARE], False
    while True:
        while at < size and text[at] != QUOTE:
            at += 1
        if at >= size:
            return -1
        if text[at + 1] != QUOTE:
            break
        at, doubled = at + 2, True
    if not doubled:
        fields.views[cell], fields.views[cell + 1] = view_of(text, size, start, at, 0)
        return at + 1
    begin = used
    while start < at:
        fields.spare[used] = text[start]
        used += 1
        start += 2 if text[start] == QUOTE else 1
    fields.views[cell], fields.views[cell + 1] = view_of(fields.spare, used, begin, used, 1)
    state[SPARE] = used
    return at + 1


@inner
def _is_null(text: Bytes, size: int, at: int, end: int, fields: _Fields) -> bool:
    """Whether a field that is not quoted says that there is no value."""
    for number in range(fields.nulls):
        if fields.sizes[number] == end - at and is_key(text, size, at, fields, number):
            return True
    return at == end


@inner
def _read_text(text: Bytes, size: int, at: int, end: int, fields: _Fields, cell: int, state: Any) -> tuple[int, int]:
    """Read a field of text that ends at ``end`` unless it is quoted: where it ends (-1: nowhere), and its kind."""
    if text[at] == QUOTE:
        return _quoted(text, size, at + 1, fields, cell, state), TEXT
    if _is_null(text, size, at, end, fields):
        fields.views[cell] = fields.views[cell + 1] = 0
        return end, NULL
    fields.views[cell], fields.views[cell + 1] = view_of(text, size, at, end, 0)
    return end, TEXT


@inner
def _read_typed(text: Bytes, size: int, at: int, fields: _Fields, wanted: int, cell: int) -> tuple[int, int]:
    """Read a number or a boolean: where it ends, and its kind; 0 if it is not of the kind that is wanted."""
    if wanted == BOOL:
        word = word_at(text, size, at)
        for true in _TRUE_WORDS:
            if word & HALF == true:
                fields.words[cell] = 1
                return at + 4, BOOL
        for false in _FALSE_WORDS:
            if word & FIVE == false:
                fields.words[cell] = 0
                return at + 5, BOOL
        return at, 0
    end, kind, whole, double = read_number(text, at, size)
    if end < 0:
        return at, 0
    if wanted == INT:
        fields.words[cell] = np.uint64(whole)
        return end, INT if kind & (INT | LONG) else 0
    if kind & (INT | FLOAT):
        fields.doubles[cell] = double
        return end, FLOAT
    fields.words[cell] = np.uint64(at) << BITS | np.uint64(end)
    return end, DOUBT


@inner
def _read_field(
    text: Bytes, size: int, at: int, delimiters: Word, fields: _Fields, column: int, row: int, state: Any
) -> tuple[int, int]:
    """Read a field: where it ends (-1: nowhere), and its kind; 0 if it is not of the kind that is wanted."""
    wanted, cell, quoted = fields.wanted[column], fields.slots[column] * fields.room + row, text[at] == QUOTE
    if wanted == TEXT:
        return _read_text(text, size, at, at if quoted else _field_end(text, size, at, delimiters), fields, 2 * cell, state)
    if not quoted:
        if text[at] == np.uint8(delimiters) or text[at] == NEWLINE or text[at] == RETURN:
            return at, NULL
        if fields.nulls:
            end = _field_end(text, size, at, delimiters)
            if _is_null(text, size, at, end, fields):
                return end, NULL
        return _read_typed(text, size, at, fields, wanted, cell)
    end, kind = _read_typed(text, size, at + 1, fields, wanted, cell)
    return end + 1, kind if text[end] == QUOTE else 0


def _scanning(stamp: int) -> Any:
    """The entry. It closes over the stamp: see :func:`featurestore.compiling.compiled`."""

    @compiled(
        TEXT_TYPE, types.uint8, types.uint8[::1], types.int64[::1], types.uint64[:, ::1], types.int64[::1],
        types.uint64[:, :, ::1], types.uint64[:, ::1], types.float64[:, ::1], types.uint8[:, ::1], types.uint8[::1],
        types.int64[::1],
    )  # fmt: skip
    def scan_records(
        text: Array, delimiter: int, wanted: Array, slots: Array, nulls: Array, sizes: Array, views: Array, words: Array,
        doubles: Array, kinds: Array, spare: Array, state: Array,
    ) -> int:  # fmt: skip
        """Read the records of CSV into columns of the kinds that are wanted.

        Args:
            text: ends with a line end; has no carriage return outside quotes but before a line end.
            delimiter: nothing that may stand in a number.
            wanted: for each column ``TEXT``, ``BOOL``, ``INT`` or ``FLOAT``.
            slots: where among the texts, or among the others, each column is put.
            nulls: texts that mean "no value" where they are not quoted, in words.
            sizes: how many bytes they are.
            views: two words for each text: its view.
            words: an integer, a double, 0 or 1 for a boolean; for a number in doubt in a column of ``FLOAT`` where it begins
                and, in the lower half, where it ends.
            doubles: the same as doubles.
            kinds: the kind of each value.
            spare: room for texts with doubled quotes.
            state: see :mod:`featurestore.ingestion.compiled.scans`.

        Returns:
            ``DONE``; ``MISFIT``, where a field of column ``state[KEY]`` is not of the kind wanted; ``GAVE_UP``, where a record
            has more fields or fewer.
        """
        _ = stamp
        size, begin, count = len(text), pointer(text), len(wanted)
        fields = _Fields(
            pointer(nulls), nulls.shape[1], pointer(sizes), len(sizes), pointer(wanted), pointer(slots), pointer(views),
            pointer(words), pointer(doubles), kinds.shape[1], pointer(spare),
        )  # fmt: skip
        known, delimiters, at, row = pointer(state), ONES * np.uint64(delimiter), 0, 0
        while at < size:
            if text[at] == NEWLINE or text[at] == RETURN:
                at += 1
                continue
            for column in range(count):
                if column:
                    if text[at] != delimiter:
                        return GAVE_UP
                    at += 1
                at, kinds[column, row] = _read_field(begin, size, at, delimiters, fields, column, row, known)
                if at < 0:
                    return GAVE_UP
                if kinds[column, row] == 0 or (text[at] != delimiter and text[at] != NEWLINE and text[at] != RETURN):
                    state[KEY] = column
                    return MISFIT
            if text[at] == delimiter:
                return GAVE_UP
            row += 1
            state[ROWS] = row
        return DONE

    return scan_records


scan_records = _scanning(stamp(*Path(__file__).parent.glob("*.py")))
