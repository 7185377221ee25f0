"""Columns of plain number texts in their type, where a glance at all of them shows that no value changes.

These are short cuts of :mod:`featurestore.ingestion.text_types`, whose rules decide: what they take, it takes with the same
value; a column in which any text needs a second look is left to it.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.ingestion.text_types import FALSE, TRUE, parse_floats

p = pa.types


def quick_numbers(texts: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray | None:
    """Texts as integers, doubles or booleans; None where that needs a second look, or for another type."""
    if p.is_boolean(target):
        chunks = [_bools(chunk) for chunk in texts.chunks]
    elif p.is_signed_integer(target) or p.is_float64(target):
        chunks = [_numbers(chunk, whole=not p.is_float64(target)) for chunk in texts.chunks]
    else:
        return None
    taken = [chunk for chunk in chunks if chunk is not None]
    if len(taken) < len(chunks):
        return None
    try:
        return pa.chunked_array([chunk.cast(target) for chunk in taken], target)
    except pa.ArrowInvalid:
        return None  # an integer of more bits


def _numbers(texts: pa.StringArray, *, whole: bool) -> pa.Array | None:
    from featurestore.ingestion import tokens as t  # loads Numba

    validity, places, data = texts.buffers()
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), pa.int64() if whole else pa.float64())
    offsets = np.frombuffer(places, np.int32, len(texts) + 1, texts.offset * 4)
    ints, doubles, kinds = np.empty(len(texts), np.int64), np.empty(len(texts)), np.empty(len(texts), np.uint8)
    t.read_numbers(np.frombuffer(data, np.uint8) if data.size else np.empty(0, np.uint8), offsets, ints, doubles, kinds)
    bits = None
    if texts.null_count:
        # Not by Arrow's own conversion, which would import pandas.
        bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[texts.offset : texts.offset + len(texts)]
    if not (kinds.all() if bits is None else np.array_equal(kinds > 0, bits)):
        return None
    found = int(np.bitwise_or.reduce(kinds))
    if whole and found & ~(t.INT | t.LONG):
        return None
    if not whole and found & ~(t.INT | t.FLOAT):
        few = np.flatnonzero(kinds & ~np.uint8(t.INT | t.FLOAT))
        kept = parse_floats(pl.Series(texts).gather(few))
        if kept.null_count():
            return None
        doubles[few] = kept.to_numpy()
    valid = None if bits is None else pa.py_buffer(np.packbits(bits, bitorder="little"))
    values = pa.py_buffer(ints if whole else doubles)
    return pa.Array.from_buffers(pa.int64() if whole else pa.float64(), len(texts), [valid, values])


def _bools(texts: pa.StringArray) -> pa.Array | None:
    # Not by Arrow, whose functions import pandas to make a scalar of a text.
    given = pl.Series(texts)
    true = given == TRUE[0]
    return true.to_arrow() if (true | (given == FALSE[0])).all() else None
