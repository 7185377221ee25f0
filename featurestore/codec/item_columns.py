"""Columns without nulls, cut into runs of bytes and put together again; the values lie as in packed rows."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.codec.columns import FixedColumn, make_column
from featurestore.registry.types import DataType

_Array: TypeAlias = np.ndarray[Any, Any]


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
    """One column of many runs, put together."""

    def __init__(self, data_type: DataType) -> None:
        self._codec = make_column(data_type)
        self._width = np.dtype(self._codec.dtype).itemsize if isinstance(self._codec, FixedColumn) else 0
        self._values: list[bytes] = []
        self._lengths: list[_Array] = [np.zeros(0, dtype=np.int64)]

    def take(self, block: bytes, at: int, count: int) -> int:
        """Take the next run in, of one value at least: where it ends."""
        if self._width:
            end = at + self._width * count
        else:
            ends = np.frombuffer(block, "<u4", count, at).astype(np.int64)
            self._lengths.append(np.diff(ends, prepend=0))
            at += 4 * count
            end = at + int(ends[-1])
        if end > len(block):
            raise ValueError(f"{len(block)} bytes where {end} were expected")
        self._values.append(block[at:end])
        return end

    @property
    def _raw(self) -> bytes:
        return self._values[0] if len(self._values) == 1 else b"".join(self._values)

    def numbers(self) -> _Array:
        """The values as numbers of their own width."""
        if not isinstance(self._codec, FixedColumn):
            raise TypeError("a column of variable width has no numbers")
        return np.frombuffer(self._raw, dtype=self._codec.dtype)

    def series(self) -> pl.Series:
        """The values as a column."""
        return pl.Series(pl.from_arrow(self._array()))

    def _array(self) -> pa.Array:
        codec, raw = self._codec, self._raw
        if not isinstance(codec, FixedColumn):
            bounds = np.concatenate([[0], np.cumsum(np.concatenate(self._lengths))]).astype(np.int64)
            if pa.types.is_string(codec.arrow) or pa.types.is_binary(codec.arrow):
                large = pa.large_string() if pa.types.is_string(codec.arrow) else pa.large_binary()
                parts = [None, pa.py_buffer(bounds.tobytes()), pa.py_buffer(raw)]
                return pa.Array.from_buffers(large, bounds.size - 1, parts)
            ends = bounds.tolist()
            return pa.array([codec.python(raw[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)], codec.arrow)
        if codec.dtype == "?":
            return pa.array(self.numbers())
        if codec.python is not None and codec.dtype.startswith("V") and not pa.types.is_decimal(codec.arrow):
            width = self._width
            return pa.array([codec.python(raw[at : at + width]) for at in range(0, len(raw), width)], codec.arrow)
        return pa.Array.from_buffers(codec.arrow, len(raw) // self._width, [None, pa.py_buffer(raw)])
