"""Columns without nulls, cut into runs of bytes and put together again; the values lie as in packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.codec.columns import FixedColumn, VariableColumn, make_column
from featurestore.registry.types import DataType

_Array: TypeAlias = np.ndarray[Any, Any]
Run: TypeAlias = tuple[bytes, int, int]
"""A block, where the run begins in it, and how many values it has; one at least."""


class ItemEncoder:
    """One column, to be cut into runs.

    A run is its values; of a type of variable width first their end offsets, little-endian uint32.
    """

    def __init__(self, data_type: DataType, items: pl.Series) -> None:
        codec = make_column(data_type)
        found = items.to_frame("items").to_arrow().column(0)
        combined = (found if found.type == codec.arrow else found.cast(codec.arrow)).combine_chunks()
        array = combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
        self._ends: _Array | None = None
        if isinstance(codec, FixedColumn):
            self._values = codec.to_numpy(array)
            return
        binary = codec.to_binary(array)
        lengths = pc.binary_length(binary).to_numpy(zero_copy_only=False)
        self._ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._values = np.frombuffer(b"".join(binary.to_pylist()), dtype=np.uint8)

    def add(self, pieces: list[bytes], low: int, high: int) -> None:
        """Append a run of values."""
        if self._ends is None:
            pieces.append(self._values[low:high].tobytes())
            return
        start = int(self._ends[low])
        pieces.append((self._ends[low + 1 : high + 1] - start).astype("<u4").tobytes())
        pieces.append(self._values[start : int(self._ends[high])].tobytes())


class ItemDecoder:
    """Puts the runs of one column together."""

    def __init__(self, data_type: DataType) -> None:
        self._codec = make_column(data_type)
        self.dtype = np.dtype(self._codec.dtype) if isinstance(self._codec, FixedColumn) else None
        """None for a type of variable width."""

    def series(self, found: Sequence[Run]) -> pl.Series:
        """The values of runs as a column."""
        return pl.Series(pl.from_arrow(self._array(found)))

    def _array(self, found: Sequence[Run]) -> pa.Array:
        codec = self._codec
        if not isinstance(codec, FixedColumn):
            return self._variable(codec, found)
        if codec.dtype == "?":
            parts = [np.frombuffer(block, bool, count, at) for block, at, count in found]
            return pa.array(np.concatenate([np.zeros(0, dtype=bool), *parts]))
        width = np.dtype(codec.dtype).itemsize
        raw = b"".join(block[at : at + width * count] for block, at, count in found)
        if codec.python is not None and codec.dtype.startswith("V") and not pa.types.is_decimal(codec.arrow):
            return pa.array([codec.python(raw[at : at + width]) for at in range(0, len(raw), width)], codec.arrow)
        return pa.Array.from_buffers(codec.arrow, len(raw) // width, [None, pa.py_buffer(raw)])

    @staticmethod
    def _variable(codec: VariableColumn, found: Sequence[Run]) -> pa.Array:
        lengths, values = [np.zeros(1, dtype=np.int64)], []
        for block, at, count in found:
            ends = np.frombuffer(block, "<u4", count, at).astype(np.int64)
            lengths.append(np.diff(ends, prepend=0))
            values.append(block[at + 4 * count : at + 4 * count + int(ends[-1])])
        bounds, raw = np.cumsum(np.concatenate(lengths)), b"".join(values)
        if pa.types.is_string(codec.arrow) or pa.types.is_binary(codec.arrow):
            large = pa.large_string() if pa.types.is_string(codec.arrow) else pa.large_binary()
            return pa.Array.from_buffers(large, bounds.size - 1, [None, pa.py_buffer(bounds.tobytes()), pa.py_buffer(raw)])
        ends = bounds.tolist()
        return pa.array([codec.python(raw[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)], codec.arrow)
