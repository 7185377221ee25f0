"""NumPy arrays as Polars series, without a copy, and large ones whose memory is not kept when they are gone.

``pl.Series(array)`` copies the array, and imports ``numpy.ma`` to see whether it is a masked one: 70 ms of CPU, once a process.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

_LINE: Final = 64
"""Bytes of a cache line: columns begin at one."""


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


def borrowed(dtypes: Mapping[str, np.dtype[Any]], count: int) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of so many values, all 0, in memory of their own.

    The system has it back once nobody holds any of them, which an allocator might put off for long, and gives it in large pages
    where it has some: a fault for each small one costs more than its bytes.
    """
    sizes = [-(-dtype.itemsize * count // _LINE) * _LINE for dtype in dtypes.values()]
    room = _mapped(sum(sizes))
    starts = np.cumsum([0, *sizes]).tolist()
    return {
        name: room[start : start + dtype.itemsize * count].view(dtype)
        for (name, dtype), start in zip(dtypes.items(), starts, strict=False)
    }


def _mapped(size: int) -> np.ndarray[Any, Any]:
    if not size or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros(size, dtype=np.uint8)
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, dtype=np.uint8)
