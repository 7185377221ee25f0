"""JSON lines of texts, numbers and booleans, read into columns by :mod:`featurestore.ingestion.compiled`.

A line that holds a list or a record, or is no JSON object at all, is left to the parsers of
:mod:`featurestore.ingestion.readers.jsonl`, and so is every block with a column that needs a second look: of mixed kinds, or
with a number that neither 64 bits nor a double keeps. What is read here are their answers.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from featurestore.ingestion.compiled import scans
from featurestore.ingestion.compiled.json_lines import scan_lines
from featurestore.ingestion.readers.blocks import line_ends
from featurestore.ingestion.readers.cells import SecondLookError, column_of, words_of
from featurestore.ingestion.readers.room import Room

_FEW: Final = 1 << 16
_MOST_NEW: Final = 256
"""Keys that the first line of a block has not: for each of them the loop begins anew."""


class JsonRows(NamedTuple):
    """Rows, the numbers of their lines among those that are not blank, and the columns that are as they are written."""

    frame: pl.DataFrame
    rows: np.ndarray
    lines: int
    literal: frozenset[str]


def read_rows(data: bytes, as_text: frozenset[str], room: Room) -> JsonRows | None:
    """The lines that can be read here; None where they are less than a quarter, or a column needs a second look.

    Args:
        data: whole lines of UTF-8.
        as_text: columns whose numbers and booleans are wanted as they are written.
        room: for the cells.
    """
    scan = _Scan(data if data.endswith(b"\n") else data + b"\n", as_text, room)
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
    return JsonRows(frame, scan.taken[: scan.rows], int(scan.state[scans.LINE]), literal)


class _Scan:
    """Columns that grow as keys are met."""

    def __init__(self, data: bytes, as_text: frozenset[str], room: Room) -> None:
        self._data, self._as_text, self._room = data, as_text, room
        self._text = np.frombuffer(data, np.uint8)
        self._most = line_ends(data, len(data))
        self.names = _keys_of(data[: data.index(b"\n")])
        self._left = _MOST_NEW
        self.state = np.zeros(scans.TRY + 1, np.int64)
        self.taken = np.empty(self._most, np.int64)
        self._spare = np.empty(len(data) if b"\\" in data else 0, np.uint8)
        self._cells, self._kinds = room.of(0, self._most)
        self._fits = self._make_room(len(self.names))

    def run(self) -> bool:
        """Whether at least a quarter of the lines could be read."""
        if not self._fits:
            return False
        while True:
            keys, sizes = self._keys()
            written = np.array([name in self._as_text for name in self.names], np.uint8)
            doubles = self._cells.view(np.float64)
            seen = np.zeros(len(sizes), np.int64)
            status = scan_lines(
                self._text, keys, sizes, written, self._cells, doubles, self._kinds, seen, self.taken, self._spare, self.state
            )
            if status != scans.NEW_KEY:
                return bool(status == scans.DONE) and self.rows * 4 >= int(self.state[scans.LINE])
            self._grow()

    @property
    def rows(self) -> int:
        """Lines that were read."""
        return int(self.state[scans.ROWS])

    def column(self, column: int) -> pl.Series | None:
        """The values of a column; None where no row has it.

        Raises:
            SecondLookError: its values are of several kinds, or a number is not kept.
        """
        rows = self.rows
        return column_of(self._kinds[column, :rows], self._cells[column, :rows], self._data, self._spare)

    def _keys(self) -> tuple[np.ndarray, np.ndarray]:
        # Half a surrogate is in no text that is UTF-8.
        return words_of([name.encode("utf-8", "surrogatepass") + b'"' for name in self.names])

    def _grow(self) -> None:
        """Add the key that was met; where there are too many, none is added any more."""
        if not self._left or not self._make_room(len(self.names) + 1):
            self.state[scans.CLOSED] = 1
            return
        self._left -= 1
        self.names.append(self._data[self.state[scans.KEY] : self.state[scans.KEY_END]].decode())

    def _make_room(self, columns: int) -> bool:
        """Whether so many columns have room: each value takes six bytes of the text at least, if most lines have it."""
        held = len(self._kinds)
        if columns > held:
            columns = max(columns, 2 * held)
            if columns * self._most > max(len(self._data) // 4, _FEW):
                return False
            self._cells, self._kinds = self._room.of(columns, self._most)
            self._kinds[held:] = 0
        return True


def _keys_of(line: bytes) -> list[str]:
    """The keys of an object; none if it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return list(found) if isinstance(found, dict) else []
