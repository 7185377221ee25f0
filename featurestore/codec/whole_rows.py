"""Reading rows in which nothing is missing: all of one schema, none with a null; as most rows of most views are.

What is left to do for them is little, and none of it is done value by value: ``struct`` and numpy hand out columns as they lie.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from featurestore.codec.columns import FixedColumn, VariableColumn
from featurestore.codec.header import BIAS, HEADER, ORDER_START

if TYPE_CHECKING:
    from featurestore.codec.row_reader import RowReader

_FEW: Final = 16
"""Up to this many rows ``struct`` is quicker than numpy (measured with 10 features)."""
_EVENT_TIME: Final = struct.Struct(">Q")
_SMALL_FLOATS: Final = frozenset({"<f2", "<f4"})
Times: TypeAlias = "Sequence[int] | np.ndarray[Any, Any]"


class Whole(NamedTuple):
    """What rows hold.

    Args:
        columns: the values of each feature; numpy arrays stand for lists of plain numbers.
        times: the rows' event times in microseconds.
        oldest, newest: the least and the greatest of them.
    """

    columns: Sequence[Sequence[Any]]
    times: Times
    oldest: int
    newest: int


class WholeReader:
    """Reads some features of rows of one schema, where all of them are there.

    Args:
        reader: of the same features, for those whose values have to be made.
        columns: of the schema.
        record: a row's fixed part for numpy.
        values: the fixed-width values and the end offsets for ``struct``; they follow the header and the null bitmap.
        header: what every row of the schema begins with.
        wanted: positions of the features asked for.
    """

    def __init__(
        self,
        reader: RowReader,
        columns: Sequence[FixedColumn | VariableColumn],
        record: np.dtype[Any],
        values: struct.Struct,
        header: bytes,
        wanted: Sequence[int],
    ) -> None:
        self._reader = reader
        self._record, self._unpack, self._values_at = record, values.unpack_from, record.itemsize - values.size
        self._header, self._no_nulls = header, bytes(self._values_at - HEADER.size)
        slots = {i: n for n, i in enumerate(i for i, column in enumerate(columns) if isinstance(column, FixedColumn))}
        fixed = [column for i in wanted if isinstance(column := columns[i], FixedColumn) and column.python is None]
        self._slots = [slots[i] for i in wanted] if len(fixed) == len(wanted) else None
        self._is_all = self._slots == list(range(len(columns)))
        self._names = [f"f{i}" for i in wanted]
        self._widened = [column.dtype in _SMALL_FLOATS for column in fixed]
        self._is_fixed = len(slots) == len(columns)

    def read(self, rows: Sequence[bytes]) -> Whole | None:
        """What rows hold, one at least; None where one of them has a null, is of another schema, or was cut."""
        if len(rows) == 1:
            return self._one(rows[0])
        return self._few(rows) if len(rows) <= _FEW else self._many(rows)

    def _one(self, row: bytes) -> Whole | None:
        at = self._values_at
        if len(row) < self._record.itemsize or not row.startswith(self._header) or row[HEADER.size : at] != self._no_nulls:
            return None
        time, slots = _EVENT_TIME.unpack_from(row, ORDER_START)[0] - BIAS, self._slots
        if slots is None:
            return Whole(self._reader.read([row])[0], (time,), time, time)
        columns = list(zip(self._unpack(row, at)))
        return Whole(columns if self._is_all else [columns[slot] for slot in slots], (time,), time, time)

    def _few(self, rows: Sequence[bytes]) -> Whole | None:
        header, no_nulls, at = self._header, self._no_nulls, self._values_at
        for row in rows:
            if not row.startswith(header) or row[HEADER.size : at] != no_nulls:
                return None
        event_time, slots = _EVENT_TIME.unpack_from, self._slots
        times = [event_time(row, ORDER_START)[0] - BIAS for row in rows]
        if slots is None:
            return Whole(self._reader.read(rows)[0], times, min(times), max(times))
        unpack = self._unpack
        try:
            columns = list(zip(*[unpack(row, at) for row in rows], strict=True))
        except struct.error:
            return None
        return Whole(columns if self._is_all else [columns[slot] for slot in slots], times, min(times), max(times))

    def _many(self, rows: Sequence[bytes]) -> Whole | None:
        width = self._record.itemsize
        data = b"".join(rows if self._is_fixed else [row[:width] for row in rows])
        if len(data) != width * len(rows):
            return None
        records = np.frombuffer(data, self._record)
        if not self._are_whole(records):
            return None
        times = (records["event"].astype(np.uint64) ^ np.uint64(BIAS)).view(np.int64)
        columns: Sequence[Any]
        if self._slots is None:
            columns = self._reader.read(rows)[0]
        else:
            values = map(records.__getitem__, self._names)
            columns = [
                part.astype(np.float64) if widened else np.ascontiguousarray(part)
                for part, widened in zip(values, self._widened, strict=True)
            ]
        return Whole(columns, times, int(times.min()), int(times.max()))

    def _are_whole(self, records: np.ndarray[Any, Any]) -> bool:
        first = self._header[0], int.from_bytes(self._header[1:], "big")
        return bool(
            (records["version"] == first[0]).all() and (records["digest"] == first[1]).all() and not records["nulls"].any()
        )
