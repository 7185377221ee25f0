"""Reading packed rows: some features of many rows of one schema, as columns of Python values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from featurestore.codec.columns import FixedColumn, VariableColumn
from featurestore.codec.header import HEADER
from featurestore.errors import OnlineStoreError

_FEW: Final = 16
"""Up to this many rows ``struct`` is quicker than numpy (measured: 10 features cross at 12 to 20 rows)."""
_Nulls: TypeAlias = list[bool]
"""Of one feature, where it is null; empty where it is nowhere."""


class RowReader:
    """Reads some features of rows of one schema.

    Args:
        columns: of the schema.
        record: a row's fixed part for numpy.
        values: the fixed-width values and the end offsets for ``struct``; they follow the header and the null bitmap.
        wanted: positions of the features asked for.
    """

    def __init__(
        self,
        columns: Sequence[FixedColumn | VariableColumn],
        record: np.dtype[Any],
        values: struct.Struct,
        wanted: Sequence[int],
    ) -> None:
        self._record, self._width, self._count = record, record.itemsize, len(columns)
        self._wanted = tuple(wanted)
        self._unpack, self._values_at = values.unpack_from, record.itemsize - values.size
        fixed = [i for i, column in enumerate(columns) if isinstance(column, FixedColumn)]
        variable = [i for i, column in enumerate(columns) if isinstance(column, VariableColumn)]
        self._slots = {i: n for n, i in enumerate(fixed)}
        self._first_end, self._ordinal = len(fixed), {i: n for n, i in enumerate(variable)}
        self._plain_slots = [self._slots[i] for i in wanted] if all(i in self._slots for i in wanted) else None
        self._converted: list[tuple[int, Callable[[Any], Any]]] = [
            (n, python) for n, i in enumerate(wanted) if (python := columns[i].python) is not None
        ]

    def read(self, rows: Sequence[bytes]) -> tuple[list[list[Any]], Sequence[int]]:
        """The values of each feature asked for, and which of these lists have nulls in them.

        Raises:
            OnlineStoreError: a row is shorter than the schema says.
        """
        lists, nulls = self.stored(rows)
        some = [n for n, mask in enumerate(nulls) if mask]
        for n, python in self._converted:
            mask = nulls[n] if some else []
            if mask:
                lists[n] = [None if null else python(v) for v, null in zip(lists[n], mask, strict=True)]
            else:
                lists[n] = list(map(python, lists[n]))
        converted = {n for n, _ in self._converted} if some else ()
        for n in some:
            if n not in converted:
                lists[n] = [None if null else v for v, null in zip(lists[n], nulls[n], strict=True)]
        return lists, some

    def stored(self, rows: Sequence[bytes]) -> tuple[list[list[Any]], Sequence[_Nulls]]:
        """As :meth:`read`, but the values as they lie in rows, null or not; and where they are null, empty where none is."""
        return self._by_struct(rows) if len(rows) <= _FEW else self._by_numpy(rows)

    def _by_struct(self, rows: Sequence[bytes]) -> tuple[list[list[Any]], Sequence[_Nulls]]:
        """Values before conversion, row by row."""
        unpack, at = self._unpack, self._values_at
        try:
            unpacked = [unpack(row, at) for row in rows]
        except struct.error:
            raise self._cut() from None
        bits = [int.from_bytes(row[HEADER.size : at], "little") for row in rows]
        if self._plain_slots is None:
            lists = [self._by_struct_of(rows, unpacked, i) for i in self._wanted]
        elif len(rows) == 1:
            (record,) = unpacked
            lists = [[record[slot]] for slot in self._plain_slots]
        else:
            lists = [[record[slot] for record in unpacked] for slot in self._plain_slots]
        if not any(bits):
            return lists, ()
        union = 0
        for b in bits:
            union |= b
        return lists, [[bool(b >> i & 1) for b in bits] if union >> i & 1 else [] for i in self._wanted]

    def _by_struct_of(self, rows: Sequence[bytes], unpacked: Sequence[tuple[Any, ...]], i: int) -> list[Any]:
        if i in self._slots:
            slot = self._slots[i]
            return [record[slot] for record in unpacked]
        width, first, end = self._width, self._first_end, self._first_end + self._ordinal[i]
        return [
            row[width + (record[end - 1] if end > first else 0) : width + record[end]]
            for row, record in zip(rows, unpacked, strict=True)
        ]

    def _by_numpy(self, rows: Sequence[bytes]) -> tuple[list[list[Any]], Sequence[_Nulls]]:
        """Values before conversion, column by column."""
        records = self._records(rows)
        lists = [records[f"f{i}"].tolist() if i in self._slots else self._tails(rows, records["ends"], i) for i in self._wanted]
        if not self._count or not records["nulls"].any():
            return lists, ()
        nulls = np.unpackbits(records["nulls"], axis=1, count=self._count, bitorder="little").astype(bool)
        some: list[bool] = np.atleast_1d(nulls.any(axis=0)).tolist()
        return lists, [nulls[:, i].tolist() if some[i] else [] for i in self._wanted]

    def _records(self, rows: Sequence[bytes]) -> np.ndarray[Any, Any]:
        width = self._width
        heads = b"".join([row[:width] for row in rows] if self._ordinal else rows)
        if len(heads) != width * len(rows):
            raise self._cut()
        return np.frombuffer(heads, dtype=self._record)

    def _tails(self, rows: Sequence[bytes], ends: np.ndarray[Any, Any], i: int) -> list[bytes]:
        width, n = self._width, self._ordinal[i]
        stops = (ends[:, n].astype(np.int64) + width).tolist()
        starts = (ends[:, n - 1].astype(np.int64) + width).tolist() if n else [width] * len(rows)
        return [row[start:stop] for row, start, stop in zip(rows, starts, stops, strict=True)]

    def _cut(self) -> OnlineStoreError:
        return OnlineStoreError(f"a packed row is not {self._width} bytes long", hint="it was cut, or another writer made it")
