"""Columns without nulls, cut into runs of bytes and put together again; the values lie as in packed rows."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.codec.columns import FixedColumn, VariableColumn, make_column
from featurestore.registry.types import DataType

_Array: TypeAlias = np.ndarray[Any, Any]
Run: TypeAlias = tuple[bytes, int, int]
"""A block, where the run begins in it, and how many values it has; one at least."""
_END: Final = struct.Struct("<I")


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
        self._dtype = np.dtype(self._codec.dtype) if isinstance(self._codec, FixedColumn) else None
        self.width = 0 if self._dtype is None else self._dtype.itemsize

    def end(self, block: bytes, at: int, count: int) -> int:
        """Where a run of ``count`` values ends, one at least."""
        if self.width:
            return at + self.width * count
        return at + 4 * count + int(_END.unpack_from(block, at + 4 * (count - 1))[0])

    def numbers(self, found: Sequence[Run]) -> _Array:
        """The values of runs as numbers of their own width."""
        if self._dtype is None:
            raise TypeError("a column of variable width has no numbers")
        if len(found) == 1:
            block, at, count = found[0]
            return np.frombuffer(block, self._dtype, count, at)
        parts = [np.frombuffer(block, self._dtype, count, at) for block, at, count in found]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=self._dtype)

    def series(self, found: Sequence[Run]) -> pl.Series:
        """The values of runs as a column."""
        return pl.Series(pl.from_arrow(self._array(found)))

    def _array(self, found: Sequence[Run]) -> pa.Array:
        codec = self._codec
        if not isinstance(codec, FixedColumn):
            return self._variable(codec, found)
        if codec.dtype == "?":
            return pa.array(self.numbers(found))
        raw = b"".join(block[at : at + self.width * count] for block, at, count in found)
        if codec.python is not None and codec.dtype.startswith("V") and not pa.types.is_decimal(codec.arrow):
            return pa.array([codec.python(raw[at : at + self.width]) for at in range(0, len(raw), self.width)], codec.arrow)
        return pa.Array.from_buffers(codec.arrow, len(raw) // self.width, [None, pa.py_buffer(raw)])

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
