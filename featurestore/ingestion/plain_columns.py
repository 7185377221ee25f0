"""Numbers with a point as they lie in a Parquet file: uncompressed, plain and none null, they are an array already.

The lake stores those that do not compress this way (``parts.column_options``). Reading one copies its bytes, and nothing else:
a third of the time of decoding, and memory for one column of one row group. What a file says of itself is checked, and other
columns are left to a Parquet reader.

The layout: https://parquet.apache.org/docs/file-format/, the header of a page in Thrift's compact protocol.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq

_DOUBLE: Final[np.dtype[Any]] = np.dtype("<f8")
_FLOAT: Final[np.dtype[Any]] = np.dtype("<f4")
_TYPES: Final = {"DOUBLE": _DOUBLE, "FLOAT": _FLOAT}
_POLARS_TYPES: Final[dict[pl.DataType, np.dtype[Any]]] = {pl.Float64(): _DOUBLE, pl.Float32(): _FLOAT}
_DATA_PAGE: Final = b"\x15\x00\x15"
"""How the header of one begins: its kind, and that the size of the page follows."""
_LEAST_HEADER: Final = 17
_MOST_LEVELS: Final = 16
"""Bytes that say that no value is null."""
_MOST_FILES: Final = 16
"""Read together; of more and smaller ones the footers would cost more than is gained."""

Rows = np.ndarray[Any, Any]
Group = Callable[[Sequence[str]], Iterator[np.ndarray[Any, Any]]]
"""Reads columns of a row group, one after the other."""


class PlainRows:
    """Rows of files, one file after the other, by their number: the columns that lie plain in all of them.

    Args:
        files: paths of Parquet files; none of their columns counts where one is remote, or where there are many small ones.
        schema: columns that may, and the types in which they are wanted.

    Attributes:
        types: of the columns that do, in that type.
    """

    def __init__(self, files: Sequence[str], schema: Mapping[str, pl.DataType]) -> None:
        wanted = {name: _POLARS_TYPES[dtype] for name, dtype in schema.items() if dtype in _POLARS_TYPES}
        few = 0 < len(files) <= _MOST_FILES and not any("://" in file for file in files)
        opened = [PlainColumns(file, wanted) for file in files] if few and wanted else []
        self.types = {
            name: dtype for name, dtype in wanted.items() if opened and all(file.types.get(name) is dtype for file in opened)
        }
        self._groups = [(file, group) for file in opened for group in range(len(file.rows))]
        self._starts = np.cumsum([0, *(file.rows[group] for file, group in self._groups)])

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

    def take(self, rows: Rows, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """The values of some rows."""
        taken = {name: np.empty(len(rows), self.types[name]) for name in names}
        for read, chosen, within in self.by_group(rows):
            for column, values in zip(taken.values(), read(names), strict=True):
                column[chosen] = values[within]
        return taken


class PlainColumns:
    """The columns of a local file that lie plain in all of its row groups. Safe to share between threads; holds no file open.

    Args:
        path: of a Parquet file.
        names: columns that may.

    Attributes:
        rows: of each row group.
        types: of the columns that do.
    """

    def __init__(self, path: str, names: Iterable[str]) -> None:
        footer = pq.read_metadata(path)
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        places = {name: at for at in range(footer.num_columns) if (name := _flat(footer.schema.column(at))) is not None}
        self.rows = [group.num_rows for group in groups]
        self.types: dict[str, np.dtype[Any]] = {}
        self._path = path
        self._ends: dict[str, list[int]] = {}
        with Path(path).open("rb", buffering=0) as file:
            for name in names:
                chunks = [group.column(places[name]) for group in groups] if name in places else []
                if chunks and all(_is_plain(chunk) and _is_one_page(chunk, file.fileno()) for chunk in chunks):
                    self.types[name] = _TYPES[chunks[0].physical_type]
                    self._ends[name] = [chunk.data_page_offset + chunk.total_compressed_size for chunk in chunks]

    def read(self, group: int, names: Iterable[str]) -> Iterator[np.ndarray[Any, Any]]:
        """The values of columns in a row group, one column after the other."""
        with Path(self._path).open("rb", buffering=0) as file:
            for name in names:
                dtype = self.types[name]
                size = self.rows[group] * dtype.itemsize
                yield np.frombuffer(os.pread(file.fileno(), size, self._ends[name][group] - size), dtype)


def _is_plain(chunk: pq.ColumnChunkMetaData) -> bool:
    stored = chunk.compression == "UNCOMPRESSED" and chunk.physical_type in _TYPES and set(chunk.encodings) <= {"PLAIN", "RLE"}
    known = chunk.statistics if stored else None
    return known is not None and bool(known.has_null_count) and known.null_count == 0


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
    values = chunk.num_values * _TYPES[chunk.physical_type].itemsize
    header = chunk.total_compressed_size - size
    return bool(values <= size <= values + _MOST_LEVELS and 0 < header < 2 * _LEAST_HEADER)


def _flat(column: pq.ColumnSchema) -> str | None:
    """The name of a column that is neither in a list nor in a struct."""
    return column.name if not column.max_repetition_level and column.max_definition_level <= 1 else None
