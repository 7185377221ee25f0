"""Numbers and instants of Parquet files, none of them null, as arrays: a column of a row group at a time.

Numbers with a point lie in a part as an array would: the lake stores those that do not compress uncompressed and plain
(``parts.column_options``). Reading them copies their bytes and nothing else: a third of the time of decoding, and no memory but
for one column of one row group. Whole numbers and instants are stored as differences, which Arrow decodes. What a file says of
itself is checked; other columns are left to a Parquet reader.

The layout: https://parquet.apache.org/docs/file-format/, the header of a page in Thrift's compact protocol.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.time import EVENT_TIME
from featurestore.transforms.arrays import borrowed, series_of
from featurestore.transforms.casts import INSTANT

_DOUBLE: Final[np.dtype[Any]] = np.dtype("<f8")
_FLOAT: Final[np.dtype[Any]] = np.dtype("<f4")
_WHOLE: Final[np.dtype[Any]] = np.dtype("<i8")
_PLAIN: Final = {"DOUBLE": _DOUBLE, "FLOAT": _FLOAT}
_DECODED: Final[dict[pl.DataType, pa.DataType]] = {pl.Int64(): pa.int64(), INSTANT: pa.timestamp("us", "UTC")}
_ARRAYS: Final[dict[pl.DataType, np.dtype[Any]]] = {
    pl.Float64(): _DOUBLE,
    pl.Float32(): _FLOAT,
    **dict.fromkeys(_DECODED, _WHOLE),
}
_DATA_PAGE: Final = b"\x15\x00\x15"
"""How the header of one begins: its kind, and that the size of the page follows."""
_LEAST_HEADER: Final = 17
_MOST_LEVELS: Final = 16
"""Bytes that say that no value is null."""
_MOST_FILES: Final = 16
"""Read together; of more and smaller ones the footers would cost more than is gained."""
_MOST_ROWS: Final = 4 << 20
"""In a row group, and read as a whole: of larger ones, which are another's files, a stream takes less memory."""

Rows = np.ndarray[Any, Any]
Group = Callable[[Sequence[str]], Iterator[np.ndarray[Any, Any]]]
"""Reads columns of a row group, one after the other: each array holds until the next one is asked for."""


class StoredNumbers:
    """Rows of files, one file after the other, by their number: the columns that can be had this way in all of them.

    Args:
        files: paths of Parquet files; none of their columns counts where one is remote or unreadable, or where there are many.
        schema: columns that may, and the types in which they are wanted.

    Attributes:
        types: of the columns that do.
        count: of the rows, where there are such columns.
    """

    def __init__(self, files: Sequence[str], schema: Mapping[str, pl.DataType]) -> None:
        wanted = {name: dtype for name, dtype in schema.items() if dtype in _ARRAYS}
        few = 0 < len(files) <= _MOST_FILES and not any("://" in file for file in files)
        try:
            opened = [FileNumbers(file, wanted) for file in files] if few and wanted else []
        except (OSError, pa.ArrowException):
            opened = []  # whoever reads them otherwise says what is wrong with them
        self.types = {name: dtype for name, dtype in wanted.items() if opened and all(name in file.names for file in opened)}
        self._groups = [(file, group) for file in opened for group in range(len(file.rows))]
        self._starts = np.cumsum([0, *(file.rows[group] for file, group in self._groups)])
        self.count = int(self._starts[-1])

    def arrays(self, names: Iterable[str], count: int) -> dict[str, np.ndarray[Any, Any]]:
        """Room for so many values of columns, all 0."""
        return borrowed({name: _ARRAYS[self.types[name]] for name in names}, count)

    def series(self, name: str, values: np.ndarray[Any, Any], *, valid: np.ndarray[Any, Any] | None = None) -> pl.Series:
        """Values of a column in its type."""
        return series_of(values, name, valid=valid).cast(self.types[name])

    def by_group(self, rows: Rows) -> Iterator[tuple[Group, Rows, Rows]]:
        """The row groups that some rows are in: what reads its columns, which of the rows, and their numbers in it."""
        # Small integers are sorted by radix.
        where = (self._starts.searchsorted(rows, side="right") - 1).astype(np.min_scalar_type(len(self._groups)))
        order = where.argsort(kind="stable")
        bounds = where[order].searchsorted(np.arange(len(self._groups) + 1))
        for (file, group), start, low, high in zip(self._groups, self._starts, bounds, bounds[1:], strict=False):
            if low < high:
                chosen = order[low:high]
                yield partial(file.read, group), chosen, rows[chosen] - start

    def take(self, rows: Rows, names: Sequence[str]) -> list[pl.Series]:
        """The values of some rows."""
        taken = self.arrays(names, len(rows))
        for read, chosen, within in self.by_group(rows):
            for column, values in zip(taken.values(), read(names), strict=True):
                column[chosen] = values[within]
        return [self.series(name, values) for name, values in taken.items()]

    def whole(self) -> pl.DataFrame | None:
        """All rows of these columns; None where they are too many for one frame."""
        if self.count > _MOST_ROWS:
            return None
        columns = self.arrays(self.types, self.count)
        for (file, group), start, end in zip(self._groups, self._starts, self._starts[1:], strict=False):
            for column, values in zip(columns.values(), file.read(group, list(columns)), strict=True):
                column[start:end] = values
        return pl.DataFrame([self.series(name, values) for name, values in columns.items()])


def read_instants(files: Sequence[str], keys: Mapping[str, pl.DataType], event_time: str) -> pl.DataFrame | None:
    """Join keys and ``__event_time`` of all rows; None where they are not all such columns, or too many for one frame.

    Args:
        keys: the types of the join keys.
        event_time: what the column of event times is called in the files.
    """
    types = {**keys, event_time: INSTANT}
    stored = StoredNumbers(files, types)
    rows = stored.whole() if len(stored.types) == len(types) else None
    return None if rows is None else rows.rename({event_time: EVENT_TIME})


class FileNumbers:
    """The columns of a local file that can be had as arrays. Safe to share between threads; holds no file open.

    Args:
        path: of a Parquet file.
        schema: columns that may, and the types in which they are wanted.

    Attributes:
        rows: of each row group.
        names: of the columns that do.
    """

    def __init__(self, path: str, schema: Mapping[str, pl.DataType]) -> None:
        self._path = path
        self._footer = footer = pq.read_metadata(path)
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        places = {name: at for at in range(footer.num_columns) if (name := _flat(footer.schema.column(at))) is not None}
        stored = footer.schema.to_arrow_schema()
        self.rows = [group.num_rows for group in groups]
        self.names: set[str] = set()
        self._types = {name: _ARRAYS[dtype] for name, dtype in schema.items()}
        self._ends: dict[str, list[int]] = {}
        """Of plain columns: where their values end, by row group."""
        with Path(path).open("rb", buffering=0) as file:
            for name, dtype in schema.items() if max(self.rows, default=0) <= _MOST_ROWS else ():
                chunks = [group.column(places[name]) for group in groups] if name in places else []
                if not chunks or not all(_has_no_null(chunk) for chunk in chunks):
                    continue
                if dtype in _DECODED:
                    if stored.field(name).type == _DECODED[dtype]:
                        self.names.add(name)
                elif all(_is_plain(chunk, self._types[name]) and _is_one_page(chunk, file.fileno()) for chunk in chunks):
                    self.names.add(name)
                    self._ends[name] = [chunk.data_page_offset + chunk.total_compressed_size for chunk in chunks]

    def read(self, group: int, names: Iterable[str]) -> Iterator[np.ndarray[Any, Any]]:
        """The values of columns in a row group, one column after the other: each holds until the next one is asked for."""
        # One array for all plain ones: the system clears fresh memory before it is written.
        room: Any = None
        with ExitStack() as stack:
            file = stack.enter_context(Path(self._path).open("rb", buffering=0))
            reader: pq.ParquetFile | None = None
            for name in names:
                if name not in self._ends:
                    reader = reader or stack.enter_context(pq.ParquetFile(file, metadata=self._footer))
                    column = reader.read_row_group(group, columns=[name], use_threads=False).column(0)
                    if column.null_count:
                        raise OSError(f"{self._path} says that no {name!r} is null, and some are")
                    yield _decoded(column)
                    continue
                size = self.rows[group] * self._types[name].itemsize
                room = np.empty(self.rows[group] * _DOUBLE.itemsize, dtype=np.uint8) if room is None else room
                file.seek(self._ends[name][group] - size)
                if file.readinto(room[:size]) < size:
                    raise OSError(f"{self._path} is shorter than it was")
                yield room[:size].view(self._types[name])


def _decoded(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    arrays = [np.frombuffer(chunk.buffers()[1], _WHOLE, len(chunk), _WHOLE.itemsize * chunk.offset) for chunk in column.chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, _WHOLE), *arrays])


def _has_no_null(chunk: pq.ColumnChunkMetaData) -> bool:
    known = chunk.statistics
    return known is not None and bool(known.has_null_count) and known.null_count == 0


def _is_plain(chunk: pq.ColumnChunkMetaData, dtype: np.dtype[Any]) -> bool:
    stored = _PLAIN.get(chunk.physical_type)
    return stored is dtype and chunk.compression == "UNCOMPRESSED" and set(chunk.encodings) <= {"PLAIN", "RLE"}


def _is_one_page(chunk: pq.ColumnChunkMetaData, file: int) -> bool:
    """Whether the first page holds all values, and no other follows: they are then the last bytes of the chunk."""
    head = os.pread(file, _LEAST_HEADER, chunk.data_page_offset)
    if not head.startswith(_DATA_PAGE):
        return False
    size = 0
    for place, byte in enumerate(head[len(_DATA_PAGE) :]):
        size |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    size >>= 1  # zigzag
    values = chunk.num_values * _PLAIN[chunk.physical_type].itemsize
    header = chunk.total_compressed_size - size
    return bool(values <= size <= values + _MOST_LEVELS and 0 < header < 2 * _LEAST_HEADER)


def _flat(column: pq.ColumnSchema) -> str | None:
    """The name of a column that is neither in a list nor in a struct."""
    return column.name if not column.max_repetition_level and column.max_definition_level <= 1 else None
