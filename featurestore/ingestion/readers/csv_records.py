"""Where the records of CSV text begin and end, quoted line ends included.

A quote opens a field only at its beginning and closes it only before a delimiter or a line end; a doubled quote stands for one
(RFC 4180). A quote elsewhere in an unquoted field is a letter like others, as in ``5" pipe``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

_QUOTE, _NEWLINE, _RETURN = 34, 10, 13


@dataclass(frozen=True, slots=True)
class Records:
    """Byte ranges of the records of a block; ``broken`` are first lines of fields that are never closed, with the reason."""

    starts: np.ndarray
    ends: np.ndarray
    broken: list[tuple[int, int, str]] = field(default_factory=list)


class Cutter:
    """Cuts a stream where records end; remembers whether the part before the last cut is plain, see :func:`is_plain`."""

    def __init__(self, delimiter: bytes, *, compiled: bool = False) -> None:
        self._delimiter, self._compiled = delimiter, compiled
        self.plain = False

    def end_of_last(self, data: bytes) -> int:
        """Where the last whole record ends; 0 if none does."""
        newline = data.rfind(b"\n")
        if newline < 0 or data.find(b'"') < 0 or (self._compiled and _keeps_to_lines(data, self._delimiter)):
            self.plain = not has_lone_return(data)
            return newline + 1
        ends = _well_formed_ends(data, self._delimiter)
        if ends is not None:
            self.plain = not has_lone_return(data)
            return int(ends[-1]) if len(ends) else 0
        self.plain = False
        return _lex(data, self._delimiter, final=False)[1]


def _keeps_to_lines(data: bytes, delimiter: bytes) -> bool:
    from featurestore.ingestion.compiled.csv_quotes import quotes_keep_to_lines  # loads Numba

    return bool(quotes_keep_to_lines(np.frombuffer(data, np.uint8), delimiter[0]))


def is_plain(data: bytes, delimiter: bytes) -> bool:
    """Whether a parser that knows only the rules above cannot go wrong: quotes in pairs, no lone carriage returns."""
    if has_lone_return(data):
        return False
    if data.find(b'"') < 0:
        return True
    return data.count(b'"') % 2 == 0 and _well_formed_ends(data, delimiter) is not None


def has_lone_return(data: bytes) -> bool:
    """Whether a carriage return stands without its line feed."""
    return data.find(b"\r") >= 0 and data.count(b"\r") != data.count(b"\r\n")


def split_records(data: bytes, delimiter: bytes) -> Records:
    """The records of a block that hold anything; blank lines are none."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE) + 1 if data.find(b'"') < 0 else None
    if ends is None and is_plain(data, delimiter):
        ends = _well_formed_ends(data, delimiter)
    if ends is None or has_lone_return(data):
        return _lex(data, delimiter, final=True)[0]
    if not len(ends) or ends[-1] != len(data):
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1]])
    return _without_blanks(data, starts, ends, [])


def _without_blanks(data: bytes, starts: np.ndarray, ends: np.ndarray, broken: list[tuple[int, int, str]]) -> Records:
    if not len(starts):
        return Records(starts.astype(np.int64), ends.astype(np.int64), broken)
    bytes_ = np.frombuffer(data, np.uint8)
    first = bytes_[np.minimum(starts, len(bytes_) - 1)]
    blank = (ends <= starts) | (first == _NEWLINE) | ((first == _RETURN) & (ends - starts <= 2))
    return Records(starts[~blank], ends[~blank], broken)


def _well_formed_ends(data: bytes, delimiter: bytes) -> np.ndarray | None:
    """Ends of records by the parity of quotes; None where some quote does not open or close a field."""
    bytes_ = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(bytes_ == _QUOTE)
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening > 0, bytes_[opening - 1], _NEWLINE)
    after = np.where(closing < len(bytes_) - 1, bytes_[np.minimum(closing + 1, len(bytes_) - 1)], _NEWLINE)
    comma = delimiter[0]
    # A doubled quote closes and opens again; then it opens right behind the quote before it.
    opens = (before == comma) | (before == _NEWLINE)
    opens[1:] |= opening[1:] == closing[: len(opening) - 1] + 1
    closes = (after == comma) | (after == _NEWLINE) | (after == _RETURN) | (after == _QUOTE)
    if not (opens.all() and closes.all()):
        return None
    ends: np.ndarray = np.flatnonzero(bytes_ == _NEWLINE) + 1
    # There are fewer quoted fields than lines, and nearly all of them end on the line that they begin on.
    first, last = (np.searchsorted(ends, places, side="right") for places in (opening[: len(closing)], closing))
    over = np.flatnonzero(first < last)
    if len(closing) < len(opening):
        ends = ends[: np.searchsorted(ends, opening[-1], side="right")]
    if not len(over):
        return ends
    kept = np.ones(len(ends), bool)
    for begin, end in zip(first[over].tolist(), last[over].tolist(), strict=True):
        kept[begin:end] = False
    return ends[kept]


def _lex(data: bytes, delimiter: bytes, *, final: bool) -> tuple[Records, int]:
    """Records one by one, and where the last whole one ends."""
    comma = re.escape(delimiter)
    plain = rb'[^"' + comma + rb"\r\n][^" + comma + rb"\r\n]*|"
    one = rb'(?:"[^"]*(?:""[^"]*)*"(?=[' + comma + rb"\r\n]|\Z)|" + plain + rb")"
    record = re.compile(one + rb"(?:" + comma + one + rb")*(?:\r?\n|\r?\Z)")
    starts: list[int] = []
    ends: list[int] = []
    broken: list[tuple[int, int, str]] = []
    position = 0
    while position < len(data):
        match = record.match(data, position)
        if match is not None and match.end() > position and (final or data[match.end() - 1] == _NEWLINE):
            starts.append(position)
            ends.append(match.end())
            position = match.end()
            continue
        newline = data.find(b"\n", position)
        if not final and (newline < 0 or _may_go_on(data, position, delimiter)):
            break
        end = newline + 1 or len(data)
        broken.append((position, end, _reason(data[position:end])))
        position = end
    return _without_blanks(data, np.array(starts, np.int64), np.array(ends, np.int64), broken), position


def _may_go_on(data: bytes, position: int, delimiter: bytes) -> bool:
    """Whether the record at a position is still open at the end of the data, so that more data could close it."""
    comma = re.escape(delimiter)
    closed = rb'(?:"[^"]*(?:""[^"]*)*"(?=[' + comma + rb'\r\n])|[^"' + comma + rb"\r\n][^" + comma + rb"\r\n]*|)"
    tail = rb'(?:"[^"]*(?:""[^"]*)*"?|[^"' + comma + rb"\r\n][^" + comma + rb"\r\n]*|)"
    return re.compile(rb"(?:" + closed + comma + rb")*" + tail + rb"\r?\Z").match(data, position) is not None


def _reason(line: bytes) -> str:
    if b"\r" in line.rstrip(b"\r\n"):
        return "a carriage return outside quotes"
    return "a quoted field that is not closed before a delimiter or line end"
