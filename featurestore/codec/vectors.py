"""Vectors of many rows at once, as matrices, from what lies in the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias, cast

import numpy as np

from featurestore.codec.columns import FixedColumn, make_column
from featurestore.codec.row_reader import RowReader
from featurestore.registry import types as t

Vectors: TypeAlias = tuple[Sequence[int], np.ndarray[Any, Any]]
"""The places of rows that have a whole vector, and their vectors, a row each."""
_COUNT: Final = np.dtype("<u4")


def is_vector(data_type: t.DataType) -> bool:
    """Whether values of a type have distances: vectors, lists of floats."""
    return isinstance(data_type, t.Vector) or (isinstance(data_type, t.List) and data_type.inner in t.FLOATS)


def read_vectors(reader: RowReader, data_type: t.DataType, rows: Sequence[bytes]) -> list[Vectors]:
    """The vectors of rows of one schema, those of each size apart; null, empty, and with a null among them are passed by.

    Args:
        reader: of the one feature.
        data_type: of it, a vector or a list of floats.
    """
    (stored,), nulls = reader.stored(rows)
    null = nulls[0] if nulls and nulls[0] else [False] * len(rows)
    if isinstance(data_type, t.Vector):
        places = [i for i, missing in enumerate(null) if not missing]
        return _of_vectors(data_type, places, [stored[i] for i in places])
    inner = data_type.inner if isinstance(data_type, t.List) else data_type
    by_length: dict[int, list[int]] = {}
    for i, (raw, missing) in enumerate(zip(stored, null, strict=True)):
        if not missing:
            by_length.setdefault(len(raw), []).append(i)
    parts = [_of_lists(inner, some, b"".join([stored[i] for i in some])) for some in by_length.values()]
    return [(chosen, vectors) for chosen, vectors in parts if chosen and vectors.shape[1]]


def _dtype(inner: t.DataType) -> np.dtype[Any]:
    return np.dtype(cast("FixedColumn", make_column(inner)).dtype)


def _of_vectors(data_type: t.Vector, places: list[int], stored: Sequence[bytes]) -> list[Vectors]:
    """Elements, then a bitmap of those that are null."""
    dtype, size = _dtype(data_type.inner), data_type.size
    record = np.dtype([("elements", dtype, (size,)), ("nulls", "u1", ((size + 7) // 8,))])
    rows = np.frombuffer(b"".join(stored), record)
    whole = np.flatnonzero(~rows["nulls"].any(axis=1))
    return [([places[i] for i in whole.tolist()], rows["elements"][whole])]


def _of_lists(inner: t.DataType, places: list[int], stored: bytes) -> Vectors:
    """Of lists that take as many bytes each: a count, then each element behind a byte that tells null from a value.

    A null takes that byte and no other, so a list with as many elements as fit has no null among them.
    """
    element = np.dtype([("there", "u1"), ("value", _dtype(inner))])
    length = len(stored) // len(places)
    size, rest = divmod(length - _COUNT.itemsize, element.itemsize)
    if rest:
        return [], np.empty((0, 0))
    rows = np.frombuffer(stored, np.dtype([("count", _COUNT), ("elements", element, (size,))]))
    whole = np.flatnonzero(rows["count"] == size)
    return [places[i] for i in whole.tolist()], rows["elements"]["value"][whole]
