"""JSON lines of texts, numbers and booleans, read into columns by :mod:`featurestore.ingestion.tokens`.

A line that holds a list or a record, or is no JSON object at all, is left to the parsers of
:mod:`featurestore.ingestion.readers.jsonl`, and so is every block with a column that needs a second look: of mixed kinds, or
with a number that neither 64 bits nor a double keeps. What is read here are their answers.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.ingestion import tokens as t
from featurestore.ingestion.readers.blocks import line_ends
from featurestore.ingestion.text_types import parse_floats

_FEW: Final = 1 << 16
_MOST_NEW: Final = 256
"""Keys that the first line of a block has not: for each of them the loop begins anew."""
_NUMBERS: Final = t.INT | t.LONG | t.FLOAT | t.DOUBT


class JsonRows(NamedTuple):
    """Rows, the numbers of their lines among those that are not blank, and the columns that are as they are written."""

    frame: pl.DataFrame
    rows: np.ndarray
    lines: int
    literal: frozenset[str]


class SecondLookError(Exception):
    """A column that is not for here."""


def read_rows(data: bytes, as_text: frozenset[str]) -> JsonRows | None:
    """The lines that can be read here; None where they are less than a quarter, or a column needs a second look.

    Args:
        data: whole lines of UTF-8.
        as_text: columns whose numbers and booleans are wanted as they are written.
    """
    scan = _Scan(data if data.endswith(b"\n") else data + b"\n", as_text)
    if not scan.run():
        return None
    columns: dict[str, pl.Series] = {}
    try:
        for column, name in enumerate(scan.names):
            found = scan.column(column)
            if found is not None:
                columns[name] = found.alias(name)
    except SecondLookError:
        return None
    frame = pl.DataFrame(columns) if columns else pl.DataFrame(height=scan.rows)
    literal = frozenset(name for name in as_text & columns.keys() if columns[name].dtype != pl.Null)
    return JsonRows(frame, scan.taken[: scan.rows], int(scan.state[t.LINE]), literal)


class _Scan:
    """Columns that grow as keys are met."""

    def __init__(self, data: bytes, as_text: frozenset[str]) -> None:
        self._data, self._as_text = data, as_text
        self._text = np.frombuffer(data, np.uint8)
        self._most = line_ends(data, len(data))
        self.names = _keys_of(data[: data.index(b"\n")])
        self._left = _MOST_NEW
        self.state = np.zeros(t.TRY + 1, np.int64)
        self.taken = np.empty(self._most, np.int64)
        self._spare = np.empty(len(data) if b"\\" in data else 0, np.uint8)
        self._cells = np.zeros((0, self._most, 2), np.uint64)
        self._kinds = np.zeros((0, self._most), np.uint8)
        self._fits = self._make_room(len(self.names))

    def run(self) -> bool:
        """Whether at least a quarter of the lines could be read."""
        if not self._fits:
            return False
        while True:
            keys, sizes = self._keys()
            written = np.array([name in self._as_text for name in self.names], np.uint8)
            doubles = self._cells.view(np.float64)
            status = t.scan_lines(
                self._text, keys, sizes, written, self._cells, doubles, self._kinds, self.taken, self._spare, self.state
            )
            if status != t.NEW_KEY:
                return bool(status == t.DONE) and self.rows * 4 >= int(self.state[t.LINE])
            self._grow()

    @property
    def rows(self) -> int:
        """Lines that were read."""
        return int(self.state[t.ROWS])

    def column(self, column: int) -> pl.Series | None:
        """The values of a column; None where no row has it.

        Raises:
            SecondLookError: its values are of several kinds, or a number is not kept.
        """
        kinds = self._kinds[column, : self.rows]
        found = int(np.bitwise_or.reduce(kinds, initial=0))
        valid = kinds > t.NULL if found & t.NULL or not kinds.all() else None
        found &= ~t.NULL
        cells = self._cells[column, : self.rows]
        if not found:
            return pl.Series([None], dtype=pl.Null).new_from_index(0, self.rows) if kinds.any() else None
        if found == t.TEXT:
            return _masked(self._views(cells), valid)
        if found == t.BOOL:
            return _masked(pl.Series(cells[:, 0] != 0), valid)
        if not found & ~(t.INT | t.LONG):
            return _masked(pl.Series(np.ascontiguousarray(cells[:, 0]).view(np.int64)), valid)
        if found & ~_NUMBERS or found & t.LONG:
            raise SecondLookError
        doubles = np.ascontiguousarray(cells.view(np.float64)[:, 1])
        if found & t.DOUBT:
            few = np.flatnonzero(kinds == t.DOUBT)
            kept = parse_floats(self._views(np.ascontiguousarray(cells[few])))
            if kept.null_count():
                raise SecondLookError
            doubles[few] = kept.to_numpy()
        return _masked(pl.Series(doubles), valid)

    def _views(self, cells: np.ndarray) -> pl.Series:
        # Which are null is not said here: Arrow would keep all buffers for as long as that is asked.
        buffers = [None, pa.py_buffer(cells), pa.py_buffer(self._data), pa.py_buffer(self._spare)]
        series = pl.from_arrow(pa.Array.from_buffers(pa.string_view(), len(cells), buffers))
        assert isinstance(series, pl.Series)  # noqa: S101 - narrows polars' union type
        return series

    def _keys(self) -> tuple[np.ndarray, np.ndarray]:
        # Half a surrogate is in no text that is UTF-8.
        quoted = [name.encode("utf-8", "surrogatepass") + b'"' for name in self.names]
        width = max(map(len, quoted), default=0) // 8 + 1
        padded = b"".join(key.ljust(8 * width, b"\0") for key in quoted)
        keys = np.frombuffer(padded, "<u8").reshape(-1, width).copy()
        return keys, np.array([len(key) for key in quoted], np.int64)

    def _grow(self) -> None:
        """Add the key that was met; where there are too many, none is added any more."""
        if not self._left or not self._make_room(len(self.names) + 1):
            self.state[t.CLOSED] = 1
            return
        self._left -= 1
        self.names.append(self._data[self.state[t.KEY] : self.state[t.KEY_END]].decode())

    def _make_room(self, columns: int) -> bool:
        """Whether so many columns have room: each value takes six bytes of the text at least, if most lines have it."""
        held = len(self._kinds)
        if columns > held:
            columns = max(columns, 2 * held)
            if columns * self._most > max(len(self._data) // 4, _FEW):
                return False
            self._cells = np.concatenate([self._cells, np.zeros((columns - held, self._most, 2), np.uint64)])
            self._kinds = np.concatenate([self._kinds, np.zeros((columns - held, self._most), np.uint8)])
        return True


def _keys_of(line: bytes) -> list[str]:
    """The keys of an object; none if it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return list(found) if isinstance(found, dict) else []


def _masked(values: pl.Series, valid: np.ndarray | None) -> pl.Series:
    if valid is None:
        return values
    return values.to_frame("").select(pl.when(pl.lit(pl.Series(valid))).then(pl.col(""))).to_series()
