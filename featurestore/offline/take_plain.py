"""Features that lie plain in their files, taken from there: no row that answers nothing is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.ingestion.plain_columns import PlainColumns
from featurestore.offline.pieces import Piece
from featurestore.offline.winners import Answered, Asked
from featurestore.transforms.keys import Ints

_STORED: Final[dict[pl.DataType, np.dtype[Any]]] = {pl.Float64(): np.dtype("<f8"), pl.Float32(): np.dtype("<f4")}
_MOST_FILES: Final = 16
"""Of a piece; of more and smaller ones the footers would cost more than is gained."""
_THREADS: Final = 4


def take_plain(
    pieces: Sequence[Piece], types: Mapping[str, pl.DataType], answered: Sequence[Answered], asked: Asked
) -> dict[str, pl.Series]:
    """For all labels the values of those features that lie plain in all files of the pieces that answer; else null.

    Args:
        types: of the features.
    """
    wanted = {name: _STORED[dtype] for name, dtype in types.items() if dtype in _STORED}
    used = sorted({int(number) for some in answered for number in np.unique(some.pieces)})
    if not wanted or not used or not all(0 < len(pieces[number].files) <= _MOST_FILES for number in used):
        return {}
    opened = {number: [PlainColumns(file, wanted) for file in pieces[number].files] for number in used}
    columns = {
        name: np.zeros(asked.count, dtype)
        for name, dtype in wanted.items()
        if all(name in file.types and file.types[name] == dtype for files in opened.values() for file in files)
    }
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "featurestore-gather") as pool:
        for done in [pool.submit(read) for read in _reads(opened, answered, asked, columns)]:
            done.result()
    return {
        name: _series(columns[name], _validity(asked, some.labels))
        for some in answered
        for name in some.names
        if name in columns
    }


def _reads(
    opened: Mapping[int, Sequence[PlainColumns]], answered: Sequence[Answered], asked: Asked, columns: Mapping[str, Any]
) -> Iterator[Callable[[], None]]:
    """For each row group that holds an answer what copies its values to their labels."""
    for some in answered:
        names = [name for name in some.names if name in columns]
        for number, files in opened.items() if names else ():
            labels, rows = some.in_piece(number)
            places = asked.places[labels]
            groups = [(file, group) for file in files for group in range(len(file.rows))]
            starts = np.cumsum([0, *(file.rows[group] for file, group in groups)])
            # Small integers are sorted by radix.
            where = (starts.searchsorted(rows, side="right") - 1).astype(np.min_scalar_type(len(groups)))
            order = where.argsort(kind="stable")
            bounds = where[order].searchsorted(np.arange(len(groups) + 1))
            for (file, group), start, low, high in zip(groups, starts, bounds, bounds[1:], strict=False):
                if low < high:
                    chosen = order[low:high]
                    yield partial(_copy, file, group, names, rows[chosen] - start, places[chosen], columns)


def _copy(file: PlainColumns, group: int, names: Sequence[str], rows: Ints, places: Ints, columns: Mapping[str, Any]) -> None:
    for name, values in zip(names, file.read(group, names), strict=True):
        columns[name][places] = values[rows]


def _validity(asked: Asked, labels: Ints) -> pa.Buffer | None:
    """Which labels have an answer, as Arrow tells it; None: all."""
    if len(labels) == asked.count:
        return None
    valid = np.zeros(asked.count, dtype=np.bool_)
    valid[asked.places[labels]] = True
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _series(values: np.ndarray[Any, Any], validity: pa.Buffer | None) -> pl.Series:
    kind = pa.float64() if values.itemsize == 8 else pa.float32()
    found: pl.Series = pl.from_arrow(pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(values)]))  # type: ignore[assignment]
    return found
