"""Cells as :mod:`featurestore.ingestion.compiled` fills them, as columns."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.ingestion.compiled import scans
from featurestore.ingestion.text_types import parse_floats
from featurestore.transforms.arrays import series_of

_NUMBERS: Final = scans.INT | scans.LONG | scans.FLOAT | scans.DOUBT


class SecondLookError(Exception):
    """A column that is not for here."""


def column_of(kinds: np.ndarray, cells: np.ndarray, data: bytes, spare: np.ndarray) -> pl.Series | None:
    """The values of a column; None where no row has it.

    Args:
        kinds: of each row.
        cells: two words for each row, which are copied.
        data, spare: where the texts are.

    Raises:
        SecondLookError: its values are of several kinds, or a number is not kept.
    """
    found = int(np.bitwise_or.reduce(kinds, initial=0))
    valid = kinds > scans.NULL if found & scans.NULL or not kinds.all() else None
    found &= ~scans.NULL
    if not found:
        return pl.Series([None], dtype=pl.Null).new_from_index(0, len(kinds)) if kinds.any() else None
    if found == scans.TEXT:
        # What was there before is no view of these texts.
        return texts_of(cells.copy() if valid is None else cells * valid[:, np.newaxis], valid, data, spare)
    if found == scans.BOOL:
        return series_of(cells[:, 0] != 0, valid=valid)
    if not found & ~(scans.INT | scans.LONG):
        return series_of(cells[:, 0].copy().view(np.int64), valid=valid)
    if found & ~_NUMBERS or found & scans.LONG:
        raise SecondLookError
    doubles = cells.view(np.float64)[:, 1].copy()
    if found & scans.DOUBT:
        few = np.flatnonzero(kinds == scans.DOUBT)
        kept = parse_floats(texts_of(cells[few], None, data, spare))
        if kept.null_count():
            raise SecondLookError
        doubles[few] = kept.to_numpy()
    return series_of(doubles, valid=valid)


def words_of(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Texts in words, and how many bytes each of them is."""
    width = max(map(len, texts), default=0) // 8 + 1
    padded = b"".join(text.ljust(8 * width, b"\0") for text in texts)
    return np.frombuffer(padded, "<u8").reshape(-1, width).copy(), np.array([len(text) for text in texts], np.int64)


def texts_of(views: np.ndarray, valid: np.ndarray | None, data: bytes, spare: np.ndarray) -> pl.Series:
    """Texts by their views, which are kept; where they are not valid, null."""
    buffers = [None, *map(pa.py_buffer, (views, data, spare))]
    texts = pl.Series(pl.from_arrow(pa.Array.from_buffers(pa.string_view(), len(views), buffers)))
    if valid is None:
        return texts
    # Not said to Arrow: it would keep all buffers for as long as somebody asks which values are null.
    return texts.to_frame("").select(pl.when(pl.lit(series_of(valid))).then(pl.col(""))).to_series()
