"""NumPy arrays as Polars series, without a copy, and large ones whose memory is not kept when they are gone.

``pl.Series(array)`` copies the array, and imports ``numpy.ma`` to see whether it is a masked one: 70 ms of CPU, once a process.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa


def series_of(values: np.ndarray[Any, Any], name: str = "", *, valid: np.ndarray[Any, Any] | None = None) -> pl.Series:
    """Booleans or numbers of one dimension as a series.

    Args:
        values: not to be changed any more.
        valid: booleans: where it is false there is a null; None: nowhere.

    >>> series_of(np.array([3, 1, 2]), valid=np.array([True, False, True])).to_list()
    [3, None, 2]
    """
    data = np.packbits(values, bitorder="little") if values.dtype == np.bool_ else np.ascontiguousarray(values)
    there = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    array = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [there, pa.py_buffer(data)])
    return pl.Series(name, pl.from_arrow(array))


def borrowed(count: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Room for so many values, all 0, which the system has back once nobody holds it; an allocator might keep it for long."""
    if not count or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros(count, dtype)
    room = mmap.mmap(-1, dtype.itemsize * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, dtype)
