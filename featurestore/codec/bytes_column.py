"""Byte strings one after the other in one run of memory: a hundred thousand rows without an object for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
import pyarrow as pa

_Array = np.ndarray[Any, Any]


class BytesColumn(Sequence[bytes]):
    """A sequence of ``bytes``, each made for who asks for it; a slice shares the memory.

    Args:
        data: where they lie.
        offsets: int64: where each begins in it, and where the last ends.

    >>> column = BytesColumn.of([b"a", b"", b"bcd"])
    >>> column[2], list(column[:2]), bytes(column[1:].joined), column.lengths.tolist()
    (b'bcd', [b'a', b''], b'bcd', [1, 0, 3])
    """

    __slots__ = ("_data", "_offsets")

    def __init__(self, data: memoryview, offsets: _Array) -> None:
        self._data, self._offsets = data, offsets

    @classmethod
    def of(cls, values: Sequence[bytes]) -> BytesColumn:
        """Of any bytes."""
        if isinstance(values, cls):
            return values
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        return cls(memoryview(b"".join(values)), np.concatenate([[0], lengths.cumsum()]))

    @classmethod
    def of_width(cls, records: _Array) -> BytesColumn:
        """Of the items of an array, each as it lies in memory."""
        width = records.dtype.itemsize
        return cls(records.view(np.uint8).data, np.arange(len(records) + 1) * width)

    @classmethod
    def of_arrow(cls, array: pa.Array) -> BytesColumn:
        """Of an array of text or bytes, none of it null."""
        is_large = pa.types.is_large_binary(array.type) or pa.types.is_large_string(array.type)
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int64 if is_large else np.int32)[array.offset : array.offset + len(array) + 1]
        return cls(memoryview(b"" if data is None else data), ends.astype(np.int64, copy=False))

    @property
    def arrow(self) -> pa.LargeBinaryArray:
        """The same as an array of Arrow, which shares the memory."""
        buffers = [None, pa.py_buffer(np.ascontiguousarray(self._offsets)), pa.py_buffer(self._data)]
        return pa.Array.from_buffers(pa.large_binary(), len(self), buffers)

    @property
    def joined(self) -> memoryview:
        """All of them, one after the other."""
        return self._data[int(self._offsets[0]) : int(self._offsets[-1])]

    @property
    def lengths(self) -> _Array:
        """Bytes of each."""
        return np.diff(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> BytesColumn: ...
    def __getitem__(self, at: int | slice) -> bytes | BytesColumn:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                return BytesColumn.of(list(self)[at])
            return BytesColumn(self._data, self._offsets[start : max(start, stop) + 1])
        place = range(len(self))[at]
        return bytes(self._data[int(self._offsets[place]) : int(self._offsets[place + 1])])

    def __iter__(self) -> Iterator[bytes]:
        whole = bytes(self.joined)
        return (whole[start:end] for start, end in pairwise((self._offsets - self._offsets[0]).tolist()))
