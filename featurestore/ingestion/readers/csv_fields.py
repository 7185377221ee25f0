"""Records of CSV read into columns of the types wanted by :mod:`featurestore.ingestion.compiled`.

Integers, doubles and booleans come in their type where no value of the block changes; every other column is text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.ingestion.casts import polars_type
from featurestore.ingestion.compiled import scans
from featurestore.ingestion.compiled.csv_records import scan_records
from featurestore.ingestion.readers.blocks import line_ends, texts_at
from featurestore.ingestion.readers.cells import texts_of, words_of
from featurestore.ingestion.text_types import parse_floats
from featurestore.transforms.arrays import series_of

p = pa.types


def read_fields(
    data: bytes,
    delimiter: bytes,
    types: Mapping[str, pa.DataType | None],
    null_values: Iterable[str],
    odd: set[str],
) -> tuple[pl.DataFrame, frozenset[str]] | None:
    """The fields of all records, and the columns that are texts; None where a record has more fields or fewer.

    Args:
        data: whole records of UTF-8, well-formed: quotes open and close fields, or are doubled in them.
        types: the columns, in the order of the fields, and the type wanted of each.
        null_values: unquoted texts that mean "no value", besides the empty one.
        odd: columns whose texts did not all fit their type: read as text, and added to here.
    """
    fields = _Fields(data if data.endswith(b"\n") else data + b"\n", delimiter, types, null_values)
    while True:
        status = fields.scan({name for name in types if name not in odd})
        misfit: str | None = None
        if status == scans.DONE:
            try:
                return fields.frame()
            except _MisfitError as error:
                misfit = error.column
        elif status == scans.MISFIT:
            misfit = fields.met
        if misfit is None or misfit in odd or _kind(types[misfit]) == scans.TEXT:
            return None
        odd.add(misfit)


class _MisfitError(Exception):
    """A column whose texts do not all fit its type."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


class _Fields:
    """The fields of a block, in columns."""

    def __init__(
        self, data: bytes, delimiter: bytes, types: Mapping[str, pa.DataType | None], null_values: Iterable[str]
    ) -> None:
        self._data, self._delimiter, self._types = data, delimiter[0], types
        self._names = list(types)
        self._nulls = words_of([value.encode() for value in null_values])
        # A record has a byte for each of its fields at least; blank lines are none.
        most = min(line_ends(data, len(data)), len(data) // len(types) + 1)
        self._kinds = np.empty((len(types), most), np.uint8)
        self._spare = np.empty(len(data), np.uint8)
        self._state = np.zeros(scans.TRY + 1, np.int64)

    def scan(self, typed: Collection[str]) -> int:
        """Read all fields, those of some columns in their type."""
        self._wanted = np.array([_kind(kind) if name in typed else scans.TEXT for name, kind in self._types.items()], np.uint8)
        is_text = self._wanted == scans.TEXT
        self._slots = np.where(is_text, np.cumsum(is_text), np.cumsum(~is_text)) - 1
        texts, most = int(is_text.sum()), self._kinds.shape[1]
        self._views = _pooled(texts * most * 2).reshape(texts, most, 2)
        self._words = _pooled((len(is_text) - texts) * most).reshape(-1, most)
        self._state[:] = 0
        wanted, values = (self._wanted, self._slots, *self._nulls), (self._views, self._words, self._words.view(np.float64))
        text = np.frombuffer(self._data, np.uint8)
        return int(scan_records(text, self._delimiter, *wanted, *values, self._kinds, self._spare, self._state))

    @property
    def met(self) -> str:
        """The column where the scan met a text that does not fit."""
        return self._names[int(self._state[scans.KEY])]

    def frame(self) -> tuple[pl.DataFrame, frozenset[str]]:
        """All columns, and those that are texts.

        Raises:
            _MisfitError: a number does not fit the type wanted.
        """
        texts = frozenset(name for name, kind in zip(self._names, self._wanted, strict=True) if kind == scans.TEXT)
        return pl.DataFrame([self._column(place, name in texts) for place, name in enumerate(self._names)]), texts

    def _column(self, place: int, is_text: bool) -> pl.Series:
        name, slot, rows = self._names[place], self._slots[place], int(self._state[scans.ROWS])
        kinds = self._kinds[place, :rows]
        valid = kinds > scans.NULL
        some = None if valid.all() else valid
        if is_text:
            return texts_of(self._views[slot, :rows], some, self._data, self._spare).alias(name)
        words = self._words[slot, :rows]
        if self._wanted[place] == scans.BOOL:
            return series_of(words != 0, name, valid=some)
        if self._wanted[place] == scans.FLOAT:
            return series_of(self._doubles(name, words, kinds), name, valid=some)
        try:
            return series_of(words.view(np.int64), name, valid=some).cast(polars_type(self._types[name]))
        except pl.exceptions.InvalidOperationError:
            raise _MisfitError(name) from None

    def _doubles(self, name: str, words: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Doubles, those in doubt as the rules of number texts read them."""
        doubles, few = words.view(np.float64), np.flatnonzero(kinds == scans.DOUBT)
        if len(few):
            places = words[few].astype(np.int64)
            kept = parse_floats(texts_at(self._data, places >> 32, places & 0xFFFFFFFF))
            if kept.null_count():
                raise _MisfitError(name)
            doubles[few] = kept.to_numpy()
        return doubles


def _pooled(words: int) -> np.ndarray:
    """Memory of Arrow's pool, which has mostly been touched before: to touch new one costs as much as to read a block."""
    return np.frombuffer(pa.allocate_buffer(words * 8), np.uint64)


def _kind(wanted: pa.DataType | None) -> int:
    if wanted is None:
        return scans.TEXT
    return (
        scans.BOOL
        if p.is_boolean(wanted)
        else scans.INT
        if p.is_signed_integer(wanted)
        else scans.FLOAT
        if p.is_float64(wanted)
        else scans.TEXT
    )
