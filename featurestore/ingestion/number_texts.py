"""Columns of plain number texts in their type, by Arrow, where a glance at all of them shows that no value changes.

These are short cuts of :mod:`featurestore.ingestion.text_types`, whose rules decide: what they take, it takes with the same
value; a column in which any text needs a second look is left to it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.ingestion.text_types import FALSE, TRUE

_POWERS: Final = tuple(10**digits for digits in range(1, 19))
_SAFE_BYTES: Final = 15
_ZERO, _NINE, _PLUS, _MINUS = 48, 57, 43, 45
p = pa.types


def quick_numbers(texts: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray | None:
    """Texts as integers, doubles or booleans; None where that needs a second look, or for another type."""
    if p.is_signed_integer(target):
        convert = _ints
    elif p.is_float64(target):
        convert = _floats
    elif p.is_boolean(target):
        convert = _bools
    else:
        return None
    try:
        chunks = [convert(chunk, target) for chunk in texts.chunks]
    except pa.ArrowInvalid:
        return None
    return None if any(chunk is None for chunk in chunks) else pa.chunked_array(chunks, target)


def _ints(texts: pa.StringArray, target: pa.DataType) -> pa.Array | None:
    numbers = pc.cast(texts, target)
    signed = (numbers.drop_null() if numbers.null_count else numbers).to_numpy()
    if not len(signed):
        return numbers
    signs = int(np.count_nonzero(signed < 0))
    values = np.abs(signed) if signs else signed
    least, most = int(values.min()), int(values.max())
    if least < 0:
        return None  # the smallest integer has no absolute value
    # No text of an integer is shorter than its plain form: where the lengths add up, every text is plain (not 007, +1 or -0).
    digits = sum(
        len(values) if power <= least else int(np.count_nonzero(values >= power)) for power in _POWERS if power <= most
    )
    return numbers if len(values) + digits + signs == _bytes(texts) else None


def _floats(texts: pa.StringArray, target: pa.DataType) -> pa.Array | None:
    data, offsets = _buffers(texts)
    lengths = np.diff(offsets)
    if lengths.max(initial=0) > _SAFE_BYTES or not len(data):
        return None
    numbers = pc.cast(texts, target)
    values = (pc.fill_null(numbers, 1.0) if numbers.null_count else numbers).to_numpy()
    # A zero may have underflowed, unless it is "0", "-0" or "0.0".
    if not np.isfinite(values).all() or bool(((values == 0.0) & (lengths > 3)).any()):
        return None
    return None if _has_odd_beginning(data, offsets[:-1], lengths) else numbers


def _has_odd_beginning(data: np.ndarray, places: np.ndarray, lengths: np.ndarray) -> bool:
    """Whether a number has a plus sign or leading zeros; the empty ones have no beginning."""
    padded = np.append(data, np.zeros(2, np.uint8))
    first = padded[places]
    few = np.flatnonzero((first == _PLUS) | (first == _MINUS) | (first == _ZERO))
    places, first, lengths = places[few], first[few], lengths[few]
    signed = first == _MINUS
    leading = np.where(signed, padded[places + 1], first)
    following = np.where(signed, padded[places + 2], padded[places + 1])
    zeros = (leading == _ZERO) & (following >= _ZERO) & (following <= _NINE) & (lengths > np.where(signed, 2, 1))
    return bool(zeros.any() or ((first == _PLUS) & (lengths > 0)).any())


def _bools(texts: pa.StringArray, target: pa.DataType) -> pa.Array | None:  # noqa: ARG001
    true = pc.equal(texts, TRUE[0])
    plain = pc.or_(true, pc.equal(texts, FALSE[0]))
    return true if pc.all(plain).as_py() is not False else None


def _bytes(texts: pa.StringArray) -> int:
    _, offsets = _buffers(texts)
    return int(offsets[-1] - offsets[0])


def _buffers(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts, and where each begins and the last ends; a null is empty in what Arrow's CSV reader makes."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4) if offsets else np.zeros(1, np.int32)
    return np.frombuffer(data or b"", np.uint8), places
