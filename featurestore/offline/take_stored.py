"""Features that are numbers, taken from the files: read as they lie there, or decoded a row group at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl

from featurestore.ingestion.stored_numbers import Group, StoredNumbers
from featurestore.offline.pieces import Piece
from featurestore.offline.winners import Answered, Asked
from featurestore.transforms.keys import Ints

_THREADS: Final = 4


def take_stored(
    pieces: Sequence[Piece], types: Mapping[str, pl.DataType], answered: Sequence[Answered], asked: Asked
) -> dict[str, pl.Series]:
    """For all labels the values of those features that all files of the pieces that answer have as numbers; else null.

    Args:
        types: of the features.
    """
    # Not np.unique, which imports numpy.ma as well.
    used = sorted({number for some in answered for number in np.flatnonzero(np.bincount(some.pieces)).tolist()})
    if not used or not all(pieces[number].files for number in used):
        return {}
    opened = {number: StoredNumbers(pieces[number].files, types) for number in used}
    first = opened[used[0]]
    names = [name for name in first.types if all(name in rows.types for rows in opened.values())]
    columns = first.arrays(names, asked.count)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "featurestore-gather") as pool:
        for done in [pool.submit(read) for read in _reads(opened, answered, asked, columns)]:
            done.result()
    found: dict[str, pl.Series] = {}
    for some in answered:
        valid = np.zeros(asked.count, dtype=np.bool_)
        valid[asked.places[some.labels]] = True
        found |= {name: first.series(name, columns[name], valid=valid) for name in some.names if name in columns}
    return found


def _reads(
    opened: Mapping[int, StoredNumbers], answered: Sequence[Answered], asked: Asked, columns: Mapping[str, Any]
) -> Iterator[Callable[[], None]]:
    """For each row group that holds an answer what copies its values to their labels."""
    for some in answered:
        names = [name for name in some.names if name in columns]
        for number, stored in opened.items() if names else ():
            labels, rows = some.in_piece(number)
            places = asked.places[labels]
            for read, chosen, within in stored.by_group(rows):
                yield partial(_copy, read, names, within, places[chosen], columns)


def _copy(read: Group, names: Sequence[str], rows: Ints, places: Ints, columns: Mapping[str, Any]) -> None:
    for name, values in zip(names, read(names), strict=True):
        columns[name][places] = values[rows]
