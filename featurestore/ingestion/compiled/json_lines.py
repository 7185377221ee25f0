"""JSON objects of texts, numbers and booleans, one a line, read into columns by one compiled loop.

Nothing here guesses. What is taken is read strictly, and its value is exact; lines that hold anything else are left to parsers
that take their time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numba import types

from featurestore.compiling import compiled, inner, stamp
from featurestore.ingestion.compiled.numbers import read_number
from featurestore.ingestion.compiled.scans import (
    AT,
    BOOL,
    CLOSED,
    DONE,
    DOUBT,
    GAVE_UP,
    KEY,
    KEY_END,
    LEFT,
    LINE,
    NEW_KEY,
    NULL,
    ROWS,
    SPARE,
    TEXT,
    TRY,
)
from featurestore.ingestion.compiled.texts import is_key, text_end, unescaped, view_of
from featurestore.ingestion.compiled.words import (
    BACKSLASH,
    FIVE,
    HALF,
    MINUS,
    NEWLINE,
    QUOTE,
    RETURN,
    SPACE,
    TAB,
    TEXT_TYPE,
    ZERO,
    Array,
    Bytes,
    pointer,
    word_at,
    word_of,
)

_FEW: Final = 64
_COMMA, _COLON, _OPEN, _CLOSE = b",:{}"
_NULL_WORD, _TRUE_WORD, _FALSE_WORD = word_of(b"null"), word_of(b"true"), word_of(b"false")


class _Columns(NamedTuple):
    """Pointers to what is known of the columns, and to their values."""

    count: Any
    keys: Any
    width: Any
    sizes: Any
    written: Any
    seen: Any
    cells: Any
    doubles: Any
    kinds: Any
    room: Any
    spare: Any


@inner
def _behind_spaces(text: Bytes, at: int) -> int:
    while text[at] == SPACE or text[at] == TAB:
        at += 1
    return at


@inner
def _column(text: Bytes, size: int, at: int, columns: _Columns, expected: int) -> int:
    """The column whose name and closing quote stand here, looked for from the one on that mostly does; -1 if none."""
    column = expected
    for _ in range(columns.count):
        if column >= columns.count:
            column = 0
        if is_key(text, size, at, columns, column):
            return column
        column += 1
    return -1


@inner
def _value(text: Bytes, size: int, at: int, columns: _Columns, column: int, row: int, state: Any) -> tuple[int, int]:
    """Read a value: where it ends (-1: it is none, or a list, or a record), and its kind."""
    byte, cell = text[at], 2 * (column * columns.room + row)
    if byte == QUOTE:
        end = text_end(text, size, at + 1)
        if text[end] == QUOTE:
            columns.cells[cell], columns.cells[cell + 1] = view_of(text, size, at + 1, end, 0)
            return end + 1, TEXT
        if text[end] != BACKSLASH:
            return -1, 0
        start = state[SPARE]
        end, used = unescaped(text, at + 1, columns.spare, start)
        if end < 0:
            return -1, 0
        columns.cells[cell], columns.cells[cell + 1] = view_of(columns.spare, used, start, used, 1)
        state[SPARE] = used
        return end + 1, TEXT
    if byte == MINUS or np.uint8(byte - ZERO) < 10:
        end, kind, whole, double = read_number(text, at, size)
        columns.cells[cell] = np.uint64(whole)
        columns.doubles[cell + 1] = double
    else:
        word = word_at(text, size, at)
        if word & HALF == _NULL_WORD:
            return at + 4, NULL
        end, kind = -1, BOOL
        if word & HALF == _TRUE_WORD:
            end, columns.cells[cell] = at + 4, np.uint64(1)
        elif word & FIVE == _FALSE_WORD:
            end, columns.cells[cell] = at + 5, np.uint64(0)
    if end > 0 and (columns.written[column] != 0 or kind == DOUBT):
        columns.cells[cell], columns.cells[cell + 1] = view_of(text, size, at, end, 0)
        return end, TEXT if columns.written[column] != 0 else DOUBT
    return end, kind


@inner
def _object(text: Bytes, size: int, at: int, columns: _Columns, state: Any) -> int:
    """Read an object into a row: where it ends; -1 where it is none that can be read here, -2 at a key that is new."""
    row, expected = state[ROWS], 0
    if text[at] != _OPEN:
        return -1
    at = _behind_spaces(text, at + 1)
    if text[at] == _CLOSE:
        return at + 1
    while text[at] == QUOTE:
        at += 1
        column = _column(text, size, at, columns, expected)
        if column < 0:
            end = text_end(text, size, at)
            if text[end] != QUOTE or state[CLOSED]:
                return -1
            state[KEY], state[KEY_END] = at, end
            return -2
        if columns.seen[column] == state[TRY]:
            return -1
        columns.seen[column] = state[TRY]
        at = _behind_spaces(text, at + columns.sizes[column])
        if text[at] != _COLON:
            return -1
        at, kind = _value(text, size, _behind_spaces(text, at + 1), columns, column, row, state)
        if at < 0:
            return -1
        columns.kinds[column * columns.room + row] = kind
        expected = column + 1
        at = _behind_spaces(text, at)
        if text[at] == _CLOSE:
            return at + 1
        if text[at] != _COMMA:
            return -1
        at = _behind_spaces(text, at + 1)
    return -1


def _scanning(stamp: int) -> Any:
    """The entry. It closes over the stamp: see :func:`featurestore.compiling.compiled`."""

    @compiled(
        TEXT_TYPE, types.uint64[:, ::1], types.int64[::1], types.uint8[::1], types.uint64[:, :, ::1], types.float64[:, :, ::1],
        types.uint8[:, ::1], types.int64[::1], types.int64[::1], types.uint8[::1], types.int64[::1],
    )  # fmt: skip
    def scan_lines(
        text: Array, keys: Array, sizes: Array, written: Array, cells: Array, doubles: Array, kinds: Array,
        seen: Array, taken: Array, spare: Array, state: Array,
    ) -> int:  # fmt: skip
        """Read JSON objects, one a line, into columns; lines that are not read here are left out.

        Args:
            text: UTF-8 that ends with a line end.
            keys: the name of each column and a quote, in words.
            sizes: how many bytes that are.
            written: columns whose numbers and booleans are wanted as they are written.
            cells: two words for each value of each column: of a text or a number of doubt its view, of a number the integer and
                the double, of a boolean 0 or 1.
            doubles: the same as doubles.
            kinds: the kind of each value; 0 where there is none.
            seen: zeros, one a column. (Not made here: an array that the loop makes is gone once its pointer was taken.)
            taken: the number of the line of each row.
            spare: room for texts that are written with escapes.
            state: see :mod:`featurestore.ingestion.compiled.scans`.

        Returns:
            ``DONE``; ``NEW_KEY``, after which the line is begun anew; ``GAVE_UP``, where three lines of four are left out.
        """
        _ = stamp
        size, begin, count = len(text), pointer(text), len(sizes)
        columns = _Columns(
            count, pointer(keys), keys.shape[1], pointer(sizes), pointer(written), pointer(seen), pointer(cells),
            pointer(doubles), pointer(kinds), kinds.shape[1], pointer(spare),
        )  # fmt: skip
        known = pointer(state)
        at, line = state[AT], state[LINE]
        while at < size:
            if text[at] == NEWLINE:
                at += 1
                continue
            if text[at] == RETURN and text[at + 1] == NEWLINE:
                at += 2
                continue
            state[TRY] += 1
            row, used = state[ROWS], state[SPARE]
            end = _object(begin, size, _behind_spaces(begin, at), columns, known)
            if end > 0:
                end = _behind_spaces(begin, end)
                if text[end] == RETURN:
                    end += 1
            if end > 0 and text[end] == NEWLINE:
                taken[row] = line
                state[ROWS] += 1
                at = end + 1
            else:
                for column in range(count):
                    kinds[column, row] = 0
                state[SPARE] = used
                if end == -2:
                    state[AT], state[LINE] = at, line
                    return NEW_KEY
                state[LEFT] += 1
                if state[LEFT] > _FEW and state[LEFT] > 3 * state[ROWS]:
                    return GAVE_UP
                while text[at] != NEWLINE:
                    at += 1
                at += 1
            line += 1
        state[AT], state[LINE] = at, line
        return DONE

    return scan_lines


scan_lines = _scanning(stamp(*Path(__file__).parent.glob("*.py")))
