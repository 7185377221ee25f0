"""JSON objects one a line, the records and quotes of CSV, and times, read by compiled loops.

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
DONE, NEW_KEY, GAVE_UP, MISFIT = range(4)

_TEXT = types.Array(types.uint8, 1, "C", readonly=True)
_WORD_POINTER: Final = ir.IntType(64).as_pointer()
_FEW: Final = 64
_MOST_MANTISSA: Final = np.uint64(10**15)
_MOST_INT: Final = np.uint64(2**63 - 1)
_HELD: Final = np.uint64(2**53)
_TENFOLD: Final = np.array([10**power for power in range(20)], np.uint64)
_POWERS: Final = 10.0 ** np.arange(23)
_NEWLINE, _RETURN, _TAB, _SPACE, _QUOTE, _BACKSLASH, _MINUS, _PLUS, _POINT, _ZERO = b'\n\r\t "\\-+.0'
_COMMA, _COLON, _OPEN, _CLOSE, _SMALL_E, _SMALL_U, _LARGE_T, _LARGE_Z = b",:{}euTZ"
_MONTHS: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)
_ZEROS: Final = np.uint64(0x3030303030303030)
_SIXES: Final = np.uint64(0x0606060606060606)
_TENS: Final = np.uint64(0xF0F0F0F0F0F0F0F0)
_DATE = tuple(np.uint64(int.from_bytes(word, "little")) for word in (b"0000-00-", b"\0\0\0\0\xff\0\0\xff"))
_DAY = tuple(np.uint64(int.from_bytes(word, "little")) for word in (b"00", b""))
_CLOCK = tuple(np.uint64(int.from_bytes(word, "little")) for word in (b"00:00:00", b"\0\0\xff\0\0\xff"))
_NONE: Final = np.uint64(2**64 - 1)
_HALF: Final = np.uint64(0xFFFFFFFF)
_BITS: Final = np.uint64(32)
_NULL_WORD, _TRUE_WORD, _FALSE_WORD = (np.uint64(int.from_bytes(word, "little")) for word in (b"null", b"true", b"false"))
_TRUE_WORDS = tuple(np.uint64(int.from_bytes(word, "little")) for word in (b"true", b"True", b"TRUE"))
_FALSE_WORDS = tuple(np.uint64(int.from_bytes(word, "little")) for word in (b"false", b"False", b"FALSE"))
_FIVE: Final = np.uint64((1 << 40) - 1)
_NEWLINES: Final = np.uint64(0x0A0A0A0A0A0A0A0A)
_RETURNS: Final = np.uint64(0x0D0D0D0D0D0D0D0D)


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
def _digits(text: _Bytes, at: int, end: int) -> tuple[int, _Word]:
    """The digits that begin here: where they end, and their value in 64 bits."""
    value = np.uint64(0)
    while True:
        word = _word(text, end, at) ^ _ZEROS
        marks = (word + _SIXES | word) & _TENS
        size = _first(marks) if marks else 8
        if size == 0:
            return at, value
        # Neighbours are put together, then pairs, then fours: https://lemire.me/blog/2018/10/03/quickly-parsing-eight-digits/
        word = (word << np.uint64(64 - 8 * size)) * np.uint64(2561) >> np.uint64(8)
        word = (word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601) >> np.uint64(16)
        word = (word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001) >> np.uint64(32)
        value, at = value * _TENFOLD[size] + word, at + size
        if size < 8:
            return at, value


@inner
def _number(text: _Bytes, at: int, end: int) -> tuple[int, int, int, float]:
    """The number that begins here: where it ends (-1: it is none), its kind, and its value as an integer and as a double."""
    nothing = (-1, 0, 0, 0.0)
    negative = at < end and text[at] == _MINUS
    if negative:
        at += 1
    if at >= end:
        return nothing
    scale, power, first = 0, 0, at
    at, mantissa = _digits(text, at, end)
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
    if text[at] == _POINT:
        at += 1
        first = at
        at, fraction = _digits(text, at, end)
        scale = at - first
        if scale == 0:
            return nothing
        digits += scale
        mantissa = mantissa * _TENFOLD[min(scale, 19)] + fraction
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
    if digits > 19 or mantissa >= _MOST_MANTISSA or power > 22 or power < -22:
        return at, DOUBT, 0, 0.0
    double = np.float64(mantissa)
    double = double * _POWERS[power] if power >= 0 else double / _POWERS[-power]
    return at, FLOAT, 0, -double if negative else double


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
def _is_key(text: _Bytes, size: int, at: int, columns: _Columns | _Fields, number: int) -> bool:
    """Whether a key stands here."""
    left, place, key = columns.sizes[number], at, number * columns.width
    while left > 8 and _word(text, size, place) == columns.keys[key]:
        left, place, key = left - 8, place + 8, key + 1
    same: bool = left <= 8 and (_word(text, size, place) ^ columns.keys[key]) << np.uint64(64 - 8 * left) == 0
    return same


@inner
def _column(text: _Bytes, size: int, at: int, columns: _Columns, expected: int) -> int:
    """The column whose name and closing quote stand here, looked for from the one on that mostly does; -1 if none."""
    column = expected
    for _ in range(columns.count):
        if column >= columns.count:
            column = 0
        if _is_key(text, size, at, columns, column):
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


@inner
def _field_end(text: _Bytes, size: int, at: int, delimiters: _Word) -> int:
    """Where the next delimiter or line end stands."""
    while True:
        word = _word(text, size, at)
        comma, newline, back = word ^ delimiters, word ^ _NEWLINES, word ^ _RETURNS
        marks = ((comma - _ONES) & ~comma) | ((newline - _ONES) & ~newline) | ((back - _ONES) & ~back)
        marks &= _HIGH
        if marks:
            return at + _first(marks)
        at += 8


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
def _quoted(text: _Bytes, size: int, at: int, fields: _Fields, cell: int, state: Any) -> int:
    """Read a text from behind its quote: where the field ends, -1 if it does not."""
    start, used, doubled = at, state[SPARE], False
    while True:
        while at < size and text[at] != _QUOTE:
            at += 1
        if at >= size:
            return -1
        if text[at + 1] != _QUOTE:
            break
        at, doubled = at + 2, True
    if not doubled:
        fields.views[cell], fields.views[cell + 1] = _view(text, size, start, at, 0)
        return at + 1
    begin = used
    while start < at:
        fields.spare[used] = text[start]
        used += 1
        start += 2 if text[start] == _QUOTE else 1
    fields.views[cell], fields.views[cell + 1] = _view(fields.spare, used, begin, used, 1)
    state[SPARE] = used
    return at + 1


@inner
def _is_null(text: _Bytes, size: int, at: int, end: int, fields: _Fields) -> bool:
    """Whether a field that is not quoted says that there is no value."""
    for number in range(fields.nulls):
        if fields.sizes[number] == end - at and _is_key(text, size, at, fields, number):
            return True
    return at == end


@inner
def _read_text(text: _Bytes, size: int, at: int, end: int, fields: _Fields, cell: int, state: Any) -> tuple[int, int]:
    """Read a field of text that ends at ``end`` unless it is quoted: where it ends (-1: nowhere), and its kind."""
    if text[at] == _QUOTE:
        return _quoted(text, size, at + 1, fields, cell, state), TEXT
    if _is_null(text, size, at, end, fields):
        fields.views[cell] = fields.views[cell + 1] = 0
        return end, NULL
    fields.views[cell], fields.views[cell + 1] = _view(text, size, at, end, 0)
    return end, TEXT


@inner
def _read_typed(text: _Bytes, size: int, at: int, fields: _Fields, wanted: int, cell: int) -> tuple[int, int]:
    """Read a number or a boolean: where it ends, and its kind; 0 if it is not of the kind that is wanted."""
    if wanted == BOOL:
        word = _word(text, size, at)
        for true in _TRUE_WORDS:
            if word & _HALF == true:
                fields.words[cell] = 1
                return at + 4, BOOL
        for false in _FALSE_WORDS:
            if word & _FIVE == false:
                fields.words[cell] = 0
                return at + 5, BOOL
        return at, 0
    end, kind, whole, double = _number(text, at, size)
    if end < 0:
        return at, 0
    if wanted == INT:
        fields.words[cell] = np.uint64(whole)
        return end, INT if kind & (INT | LONG) else 0
    if kind & (INT | FLOAT):
        fields.doubles[cell] = double
        return end, FLOAT
    fields.words[cell] = np.uint64(at) << _BITS | np.uint64(end)
    return end, DOUBT


@inner
def _read_field(
    text: _Bytes, size: int, at: int, delimiters: _Word, fields: _Fields, column: int, row: int, state: Any
) -> tuple[int, int]:
    """Read a field: where it ends (-1: nowhere), and its kind; 0 if it is not of the kind that is wanted."""
    wanted, cell, quoted = fields.wanted[column], fields.slots[column] * fields.room + row, text[at] == _QUOTE
    if wanted == TEXT:
        return _read_text(text, size, at, at if quoted else _field_end(text, size, at, delimiters), fields, 2 * cell, state)
    if not quoted:
        if text[at] == np.uint8(delimiters) or text[at] == _NEWLINE or text[at] == _RETURN:
            return at, NULL
        if fields.nulls:
            end = _field_end(text, size, at, delimiters)
            if _is_null(text, size, at, end, fields):
                return end, NULL
        return _read_typed(text, size, at, fields, wanted, cell)
    end, kind = _read_typed(text, size, at + 1, fields, wanted, cell)
    return end + 1, kind if text[end] == _QUOTE else 0


@inner
def _pairs(word: _Word, form: _Word, between: _Word) -> _Word:
    """Pairs of digits, each as a number in the byte where it begins; ``_NONE`` if others stand there or between them."""
    word ^= form
    if (word + _SIXES | word) & _TENS or word & between:
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
def _byte(word: _Word, place: int) -> int:
    byte: int = int64(word >> np.uint64(8 * place) & np.uint64(0xFF))
    return byte


def _entries(stamp: int) -> Any:
    """What others call. All close over the stamp: see :func:`featurestore.compiling.compiled`."""

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

    @compiled(
        _TEXT, types.uint8, types.uint8[::1], types.int64[::1], types.uint64[:, ::1], types.int64[::1], types.uint64[:, :, ::1],
        types.uint64[:, ::1], types.float64[:, ::1], types.uint8[:, ::1], types.uint8[::1], types.int64[::1],
    )  # fmt: skip
    def scan_records(
        text: _Array, delimiter: int, wanted: _Array, slots: _Array, nulls: _Array, sizes: _Array, views: _Array, words: _Array,
        doubles: _Array, kinds: _Array, spare: _Array, state: _Array,
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
            state: see :data:`AT`.

        Returns:
            ``DONE``; ``MISFIT``, where a field of column ``state[KEY]`` is not of the kind wanted; ``GAVE_UP``, where a record
            has more fields or fewer.
        """
        _ = stamp
        size, begin, count = len(text), _pointer(text), len(wanted)
        fields = _Fields(
            _pointer(nulls), nulls.shape[1], _pointer(sizes), len(sizes), _pointer(wanted), _pointer(slots), _pointer(views),
            _pointer(words), _pointer(doubles), kinds.shape[1], _pointer(spare),
        )  # fmt: skip
        known, delimiters, at, row = _pointer(state), _ONES * np.uint64(delimiter), 0, 0
        while at < size:
            if text[at] == _NEWLINE or text[at] == _RETURN:
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
                if kinds[column, row] == 0 or (text[at] != delimiter and text[at] != _NEWLINE and text[at] != _RETURN):
                    state[KEY] = column
                    return MISFIT
            if text[at] == delimiter:
                return GAVE_UP
            row += 1
            state[ROWS] = row
        return DONE

    @compiled(_TEXT, types.Array(types.int64, 1, "C", readonly=True), types.boolean, types.int64[::1])
    def read_instants(text: _Array, offsets: _Array, zoned: bool, instants: _Array) -> bool:
        """Texts like ``2013-03-10T02:30:00.25`` as microseconds since the epoch; False where one is written in another way.

        Args:
            text, offsets: the texts, one behind the other.
            zoned: whether each ends with ``Z``; otherwise none does.
            instants: filled.
        """
        _ = stamp
        begin, known, days = _pointer(text), np.uint64(0), 0
        known_day = known
        for row in range(len(instants)):
            at, end = offsets[row], offsets[row + 1] - zoned
            size = end - at
            if size < 19 or size == 20 or size > 26 or (zoned and text[end] != _LARGE_Z):
                return False
            date, day, clock = _eight(begin, at), _word(begin, at + 10, at + 8), _pairs(_eight(begin, at + 11), *_CLOCK)
            if clock == _NONE or (text[at + 10] != _LARGE_T and text[at + 10] != _SPACE):
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
                behind, fraction = _digits(begin, at + 20, end)
                if text[at + 19] != _POINT or behind != end:
                    return False
                micros += int64(fraction * _TENFOLD[26 - size])
            instants[row] = micros
        return True

    return quotes_keep_to_lines, scan_lines, scan_records, read_instants


quotes_keep_to_lines, scan_lines, scan_records, read_instants = _entries(stamp(Path(__file__)))
