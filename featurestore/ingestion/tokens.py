"""Numbers in columns of text, JSON objects one a line, and the quotes of CSV, read by compiled loops.

Nothing here guesses. What is taken is read strictly, and its value is exact; whatever else a text may hold is told apart, and
left to parsers that take their time.

A product or quotient of an integer below 2**53 and a power of ten up to 10**22 is the double nearest to the number: W. D.
Clinger, How to read floating point numbers accurately, PLDI 1990. Bytes are compared eight at a time:
https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from llvmlite import ir
from numba import int64, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from featurestore.compiling import compiled, inner, stamp

_Array: TypeAlias = Any
_Bytes: TypeAlias = Any
"""A pointer to them."""
_Word: TypeAlias = Any
"""Eight bytes, unsigned."""

NULL, TEXT, BOOL, INT, LONG, FLOAT, DOUBT, BEYOND = (1 << bit for bit in range(8))
"""Kinds of values. Of numbers: an integer that a double holds too; another one of 64 bits; one with a point or an exponent, and
its nearest double; the same, where that takes more than one rounding; an integer beyond 64 bits, or ``-0``.
"""
AT, LINE, ROWS, LEFT, SPARE, KEY, KEY_END, CLOSED, TRY = range(9)
"""What :func:`scan_lines` keeps from call to call: the offset of the next line; its number, blank lines not counted; the lines
taken; those left out; the bytes of texts with escapes so far; where a new key stands; whether lines with new keys are left out;
how often a line was begun.
"""
DONE, NEW_KEY, GAVE_UP = range(3)

_TEXT = types.Array(types.uint8, 1, "C", readonly=True)
_WORD_POINTER: Final = ir.IntType(64).as_pointer()
_FEW: Final = 64
_MOST_DIGITS: Final = 15
_MOST_INT: Final = np.uint64(2**63 - 1)
_HELD: Final = np.uint64(2**53)
_TEN: Final = np.uint64(10)
_POWERS: Final = 10.0 ** np.arange(23)
_NEWLINE, _RETURN, _TAB, _SPACE, _QUOTE, _BACKSLASH, _MINUS, _PLUS, _POINT, _ZERO = b'\n\r\t "\\-+.0'
_COMMA, _COLON, _OPEN, _CLOSE, _SMALL_E, _SMALL_U = b",:{}eu"
_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)
_HALF: Final = np.uint64(0xFFFFFFFF)
_BITS: Final = np.uint64(32)
_NULL_WORD, _TRUE_WORD, _FALSE_WORD = (np.uint64(int.from_bytes(word, "little")) for word in (b"null", b"true", b"false"))
_FIVE: Final = np.uint64((1 << 40) - 1)


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(_: Any, array: Any) -> Any:
    """Where an array lies. Pointers have no owners, and so none are counted at each call."""

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), lower


@intrinsic  # type: ignore[untyped-decorator]
def _eight(_: Any, text: Any, _at: Any) -> Any:
    """Eight bytes from anywhere."""

    def lower(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.bitcast(cgutils.pointer_add(builder, *arguments), _WORD_POINTER)
        word = builder.load(place)
        word.align = 1
        return word

    return types.uint64(text, types.int64), lower


@inner
def _number(text: _Bytes, at: int, end: int) -> tuple[int, int, int, float]:
    """The number that begins here: where it ends (-1: it is none), its kind, and its value as an integer and as a double."""
    nothing = (-1, 0, 0, 0.0)
    negative = at < end and text[at] == _MINUS
    if negative:
        at += 1
    if at >= end:
        return nothing
    mantissa, digits, scale, power, first = np.uint64(0), 0, 0, 0, at
    while at < end and np.uint8(text[at] - _ZERO) < 10:
        mantissa = mantissa * _TEN + np.uint64(text[at] - _ZERO)
        at += 1
    if at == first or (text[first] == _ZERO and at > first + 1):
        return nothing
    digits = at - first
    if at == end or (text[at] != _POINT and (text[at] | 32) != _SMALL_E):
        if digits > 19 or mantissa > _MOST_INT or (negative and mantissa == 0):
            return at, BEYOND, 0, 0.0
        value = int64(mantissa)
        if negative:
            value = -value
        return at, INT if mantissa <= _HELD else LONG, value, np.float64(value)
    if mantissa == 0:
        digits = 0
    if text[at] == _POINT:
        at += 1
        first = at
        while at < end and np.uint8(text[at] - _ZERO) < 10:
            mantissa = mantissa * _TEN + np.uint64(text[at] - _ZERO)
            at += 1
            if mantissa != 0:
                digits += 1
        scale = at - first
        if scale == 0:
            return nothing
    if at < end and (text[at] | 32) == _SMALL_E:
        at += 1
        lowers = at < end and text[at] == _MINUS
        if lowers or (at < end and text[at] == _PLUS):
            at += 1
        first = at
        while at < end and np.uint8(text[at] - _ZERO) < 10:
            power = min(power * 10 + (text[at] - _ZERO), 9999)
            at += 1
        if at == first:
            return nothing
        if lowers:
            power = -power
    power -= scale
    if digits > _MOST_DIGITS or power > 22 or power < -22:
        return at, DOUBT, 0, 0.0
    double = np.float64(mantissa)
    double = double * _POWERS[power] if power >= 0 else double / _POWERS[-power]
    return at, FLOAT, 0, -double if negative else double


@inner
def _first(marks: _Word) -> int:
    """The byte of the lowest bit; higher ones may be wrong."""
    below = (marks & (~marks + np.uint64(1))) - np.uint64(1)
    found: int = int64(((below & _ONES) * _ONES) >> np.uint64(56)) - 1
    return found


@inner
def _word(text: _Bytes, size: int, at: int) -> _Word:
    """Eight bytes; 0 behind the end."""
    if at + 8 <= size:
        return _eight(text, at)
    word = np.uint64(0)
    for place in range(size - at):
        word |= np.uint64(text[at + place]) << np.uint64(8 * place)
    return word


@inner
def _text_end(text: _Bytes, size: int, at: int) -> int:
    """Where the next quote, backslash or control character stands. A line end is one, and the text ends with it."""
    while True:
        word = _word(text, size, at)
        quote, backslash = word ^ _QUOTES, word ^ _BACKSLASHES
        marks = ((quote - _ONES) & ~quote) | ((backslash - _ONES) & ~backslash) | ((word - _SPACES) & ~word)
        marks &= _HIGH
        if marks:
            return at + _first(marks)
        at += 8


@inner
def _view(text: _Bytes, size: int, start: int, end: int, buffer: int) -> tuple[_Word, _Word]:
    """A text as an element of Arrow's view layout: up to twelve bytes in it, else four and where all of them are."""
    length = np.uint64(end - start)
    first = _word(text, size, start)
    if end - start > 12:
        return length | first << _BITS, np.uint64(buffer) | np.uint64(start) << _BITS
    if end - start < 4:
        first &= (np.uint64(1) << (length * np.uint64(8))) - np.uint64(1)
    second = np.uint64(0)
    if end - start > 4:
        second = _word(text, size, start + 4) & ~np.uint64(0) >> np.uint64(8 * (12 - (end - start)))
    return length | first << _BITS, second


@inner
def _hex(text: _Bytes, at: int) -> int:
    """Four hexadecimal digits; -1 if they are none."""
    value = 0
    for place in range(at, at + 4):
        digit, letter = text[place] - _ZERO, (text[place] | 32) - 97
        if 0 <= digit < 10:
            value = value * 16 + digit
        elif 0 <= letter < 6:
            value = value * 16 + letter + 10
        else:
            return -1
    return value


@inner
def _put(spare: _Bytes, used: int, code: int) -> int:
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
def _unescaped(text: _Bytes, at: int, spare: _Bytes, used: int) -> tuple[int, int]:
    """Write a text with escapes: where its quote is (-1: it is no text, or half a surrogate), and what is used then."""
    while True:
        byte = text[at]
        if byte == _QUOTE:
            return at, used
        if byte < _SPACE:
            return -1, used
        at += 1
        if byte != _BACKSLASH:
            spare[used] = byte
            used += 1
            continue
        byte = text[at]
        at += 1
        if byte == _SMALL_U:
            code = _hex(text, at)
            at += 4
            if 0xD800 <= code < 0xDC00 and text[at] == _BACKSLASH and text[at + 1] == _SMALL_U:
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


_ESCAPES = tuple(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))


@inner
def _behind_spaces(text: _Bytes, at: int) -> int:
    while text[at] == _SPACE or text[at] == _TAB:
        at += 1
    return at


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
def _column(text: _Bytes, size: int, at: int, columns: _Columns, expected: int) -> int:
    """The column whose name and closing quote stand here, looked for from the one on that mostly does; -1 if none."""
    column = expected
    for _ in range(columns.count):
        if column >= columns.count:
            column = 0
        left, place, key = columns.sizes[column], at, column * columns.width
        while left > 8 and _word(text, size, place) == columns.keys[key]:
            left, place, key = left - 8, place + 8, key + 1
        if left <= 8 and (_word(text, size, place) ^ columns.keys[key]) << np.uint64(64 - 8 * left) == 0:
            return column
        column += 1
    return -1


@inner
def _value(text: _Bytes, size: int, at: int, columns: _Columns, column: int, row: int, state: Any) -> tuple[int, int]:
    """Read a value: where it ends (-1: it is none, or a list, or a record), and its kind."""
    byte, cell = text[at], 2 * (column * columns.room + row)
    if byte == _QUOTE:
        end = _text_end(text, size, at + 1)
        if text[end] == _QUOTE:
            columns.cells[cell], columns.cells[cell + 1] = _view(text, size, at + 1, end, 0)
            return end + 1, TEXT
        if text[end] != _BACKSLASH:
            return -1, 0
        start = state[SPARE]
        end, used = _unescaped(text, at + 1, columns.spare, start)
        if end < 0:
            return -1, 0
        columns.cells[cell], columns.cells[cell + 1] = _view(columns.spare, used, start, used, 1)
        state[SPARE] = used
        return end + 1, TEXT
    if byte == _MINUS or np.uint8(byte - _ZERO) < 10:
        end, kind, whole, double = _number(text, at, size)
        columns.cells[cell] = np.uint64(whole)
        columns.doubles[cell + 1] = double
    else:
        word = _word(text, size, at)
        if word & _HALF == _NULL_WORD:
            return at + 4, NULL
        end, kind = -1, BOOL
        if word & _HALF == _TRUE_WORD:
            end, columns.cells[cell] = at + 4, np.uint64(1)
        elif word & _FIVE == _FALSE_WORD:
            end, columns.cells[cell] = at + 5, np.uint64(0)
    if end > 0 and (columns.written[column] != 0 or kind == DOUBT):
        columns.cells[cell], columns.cells[cell + 1] = _view(text, size, at, end, 0)
        return end, TEXT if columns.written[column] != 0 else DOUBT
    return end, kind


@inner
def _object(text: _Bytes, size: int, at: int, columns: _Columns, state: Any) -> int:
    """Read an object into a row: where it ends; -1 where it is none that can be read here, -2 at a key that is new."""
    row, expected = state[ROWS], 0
    if text[at] != _OPEN:
        return -1
    at = _behind_spaces(text, at + 1)
    if text[at] == _CLOSE:
        return at + 1
    while text[at] == _QUOTE:
        at += 1
        column = _column(text, size, at, columns, expected)
        if column < 0:
            end = _text_end(text, size, at)
            if text[end] != _QUOTE or state[CLOSED]:
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


def _entries(stamp: int) -> Any:
    """What others call. All close over the stamp: see :func:`featurestore.compiling.compiled`."""

    @compiled(_TEXT, types.Array(types.int32, 1, "C", readonly=True), types.int64[::1], types.float64[::1], types.uint8[::1])
    def read_numbers(text: _Array, offsets: _Array, ints: _Array, doubles: _Array, kinds: _Array) -> None:
        """Each text of a column as a number; its kind is 0 where it is none."""
        _ = stamp
        begin = _pointer(text)
        for row in range(len(kinds)):
            end = int64(offsets[row + 1])
            behind, kind, ints[row], doubles[row] = _number(begin, int64(offsets[row]), end)
            kinds[row] = kind if behind == end else 0

    @compiled(_TEXT, types.uint8)
    def quotes_keep_to_lines(text: _Array, delimiter: int) -> bool:
        """Whether each quote of CSV text opens or closes a field, and no field between quotes holds a line end."""
        _ = stamp
        begin, size, at, closed = _pointer(text), len(text), 0, 0
        while True:
            while at + 8 <= size:
                quote = _eight(begin, at) ^ _QUOTES
                marks = (quote - _ONES) & ~quote & _HIGH
                if marks:
                    at += _first(marks)
                    break
                at += 8
            while at < size and text[at] != _QUOTE:
                at += 1
            if at >= size:
                return True
            # A doubled quote closes and opens again.
            if at > closed and text[at - 1] != delimiter and text[at - 1] != _NEWLINE:
                return False
            at += 1
            while at < size and text[at] != _QUOTE:
                if text[at] == _NEWLINE:
                    return False
                at += 1
            at += 1
            closed = at
            if at > size:
                return False
            if at < size and text[at] != delimiter and text[at] != _NEWLINE and text[at] != _RETURN and text[at] != _QUOTE:
                return False

    @compiled(
        _TEXT, types.uint64[:, ::1], types.int64[::1], types.uint8[::1], types.uint64[:, :, ::1], types.float64[:, :, ::1],
        types.uint8[:, ::1], types.int64[::1], types.uint8[::1], types.int64[::1],
    )  # fmt: skip
    def scan_lines(
        text: _Array, keys: _Array, sizes: _Array, written: _Array, cells: _Array, doubles: _Array, kinds: _Array,
        taken: _Array, spare: _Array, state: _Array,
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
            taken: the number of the line of each row.
            spare: room for texts that are written with escapes.
            state: see :data:`AT`.

        Returns:
            ``DONE``; ``NEW_KEY``, after which the line is begun anew; ``GAVE_UP``, where three lines of four are left out.
        """
        _ = stamp
        size, begin, count = len(text), _pointer(text), len(sizes)
        seen = np.zeros(count, np.int64)
        columns = _Columns(
            count, _pointer(keys), keys.shape[1], _pointer(sizes), _pointer(written), _pointer(seen), _pointer(cells),
            _pointer(doubles), _pointer(kinds), kinds.shape[1], _pointer(spare),
        )  # fmt: skip
        known = _pointer(state)
        at, line = state[AT], state[LINE]
        while at < size:
            if text[at] == _NEWLINE:
                at += 1
                continue
            if text[at] == _RETURN and text[at + 1] == _NEWLINE:
                at += 2
                continue
            state[TRY] += 1
            row, used = state[ROWS], state[SPARE]
            end = _object(begin, size, _behind_spaces(begin, at), columns, known)
            if end > 0:
                end = _behind_spaces(begin, end)
                if text[end] == _RETURN:
                    end += 1
            if end > 0 and text[end] == _NEWLINE:
                taken[row] = line
                state[ROWS] += 1
                at = end + 1
            else:
                for column in range(count):
                    kinds[column, row] = 0
                    cells[column, row, 0] = cells[column, row, 1] = 0
                state[SPARE] = used
                if end == -2:
                    state[AT], state[LINE] = at, line
                    return NEW_KEY
                state[LEFT] += 1
                if state[LEFT] > _FEW and state[LEFT] > 3 * state[ROWS]:
                    return GAVE_UP
                while text[at] != _NEWLINE:
                    at += 1
                at += 1
            line += 1
        state[AT], state[LINE] = at, line
        return DONE

    return read_numbers, quotes_keep_to_lines, scan_lines


read_numbers, quotes_keep_to_lines, scan_lines = _entries(stamp(Path(__file__)))
