"""Columns of plain number texts in their type, where a glance at all of them shows that no value changes.

These are short cuts of :mod:`featurestore.ingestion.text_types`, whose rules decide: what they take, it takes with the same
value; a column in which any text needs a second look is left to it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.ingestion.digits import plain_decimals, plain_ints
from featurestore.ingestion.text_types import FALSE, TRUE

p = pa.types


def quick_numbers(texts: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray | None:
    """Texts as integers, doubles or booleans; None where that needs a second look, or for another type."""
    if p.is_signed_integer(target):
        convert, parse = pa.int64(), plain_ints
    elif p.is_float64(target):
        convert, parse = target, plain_decimals
    elif p.is_boolean(target):
        chunks = [_bools(chunk) for chunk in texts.chunks]
        return None if any(chunk is None for chunk in chunks) else pa.chunked_array(chunks, target)
    else:
        return None
    try:
        chunks = [_numbers(chunk, convert, parse) for chunk in texts.chunks]
        return None if any(chunk is None for chunk in chunks) else pa.chunked_array(chunks, convert).cast(target)
    except pa.ArrowInvalid:
        return None


def _numbers(
    texts: pa.StringArray, target: pa.DataType, parse: Callable[[bytes, np.ndarray, np.ndarray], np.ndarray | None]
) -> pa.Array | None:
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), target)
    validity, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    starts, ends = places[:-1], places[1:]
    if not texts.null_count:
        values = parse(data, starts, ends)
        return None if values is None else _array(values, target, None)
    # Not by Arrow's own conversion, which would import pandas.
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[texts.offset : texts.offset + len(texts)]
    given = np.flatnonzero(bits)
    some = parse(data, starts[given], ends[given])
    if some is None:
        return None
    values = np.zeros(len(texts), some.dtype)
    values[given] = some
    return _array(values, target, np.packbits(bits, bitorder="little"))


def _array(values: np.ndarray, target: pa.DataType, valid: np.ndarray | None) -> pa.Array:
    buffers = [None if valid is None else pa.py_buffer(valid), pa.py_buffer(values)]
    return pa.Array.from_buffers(target, len(values), buffers)


def _bools(texts: pa.StringArray) -> pa.Array | None:
    true = pc.equal(texts, TRUE[0])
    plain = pc.or_(true, pc.equal(texts, FALSE[0]))
    return true if pc.all(plain).as_py() is not False else None
