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
_SIGN: Final = np.uint64(BIAS)
Times: TypeAlias = "Sequence[int] | np.ndarray[Any, Any]"


class Whole(NamedTuple):
    """What rows hold.

    Args:
        columns: the values of each feature; numpy arrays stand for lists of plain numbers.
        times: the rows' event times in microseconds.
        oldest, newest: the least and the greatest of them.
        is_finite: whether it is known that all numbers of ``columns`` are.
    """

    columns: Sequence[Sequence[Any]]
    times: Times
    oldest: int
    newest: int
    is_finite: bool = False


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
        self._width, self._unpack, self._values_at = record.itemsize, values.unpack_from, record.itemsize - values.size
        self._header, self._no_nulls = header, bytes(self._values_at - HEADER.size)
        slots = {i: n for n, i in enumerate(i for i, column in enumerate(columns) if isinstance(column, FixedColumn))}
        fixed = [column for i in wanted if isinstance(column := columns[i], FixedColumn) and column.python is None]
        self._slots = [slots[i] for i in wanted] if len(fixed) == len(wanted) else None
        self._is_all = self._slots == list(range(len(columns)))
        self._is_fixed = len(slots) == len(columns)
        nulls = range(HEADER.size, self._values_at)
        self._constant = [(at, bytes([byte])) for at, byte in (*enumerate(header), *((at, 0) for at in nulls))]
        self._runs, self._record = ([], record) if self._slots is None else _runs(record, wanted)

    def read(self, rows: Sequence[bytes | None]) -> Whole | None:
        """What rows hold, one at least; None where one of them is none, has a null, is of another schema, or was cut."""
        if len(rows) > _FEW:
            return self._many(rows)
        if None in rows:
            return None
        return self._one(rows[0]) if len(rows) == 1 else self._few(rows)  # type: ignore[arg-type]

    def _one(self, row: bytes) -> Whole | None:
        at = self._values_at
        if len(row) < self._width or not row.startswith(self._header) or row[HEADER.size : at] != self._no_nulls:
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

    def _many(self, rows: Sequence[bytes | None]) -> Whole | None:
        width, count = self._width, len(rows)
        try:
            data = b"".join(rows if self._is_fixed else [row[:width] for row in rows])  # type: ignore[arg-type, index]
        except TypeError:  # there is none for some entity
            return None
        if len(data) != width * count:
            return None
        for at, byte in self._constant:
            if data[at::width] != byte * count:
                return None
        records = np.frombuffer(data, self._record)
        times = (records["event"].astype(np.uint64) ^ _SIGN).view(np.int64)
        columns: list[Sequence[Any]] = []
        is_finite = self._slots is not None
        if self._slots is None:
            columns += self._reader.read(rows)[0]  # type: ignore[arg-type]
        for name, dtype in self._runs:
            block = np.ascontiguousarray(records[name].T, dtype)
            if dtype == np.float64:
                is_finite = is_finite and bool(np.logical_and.reduce(np.isfinite(block), axis=None))
            columns.extend(block)
        # The ufuncs themselves: an array's methods take twice as long for a hundred values.
        return Whole(columns, times, int(np.minimum.reduce(times)), int(np.maximum.reduce(times)), is_finite)


def _runs(record: np.dtype[Any], wanted: Sequence[int]) -> tuple[list[tuple[str, np.dtype[Any]]], np.dtype[Any]]:
    """Features of one type that follow each other, which numpy copies at once: names in a record of runs, and types to read as.

    Args:
        record: a row's fixed part.
        wanted: positions of the features asked for, all of them of fixed width.
    """
    fields: Any = record.fields
    runs: list[tuple[int, np.dtype[Any], int]] = []
    for i in wanted:
        dtype, at = fields[f"f{i}"][:2]
        start, kind, length = runs[-1] if runs else (0, None, 0)
        if kind == dtype and start + length * dtype.itemsize == at:
            runs[-1] = start, dtype, length + 1
        else:
            runs.append((at, dtype, 1))
    layout = {"event": (">u8", ORDER_START)} | {f"r{n}": ((dtype, (size,)), at) for n, (at, dtype, size) in enumerate(runs)}
    joined = np.dtype(
        {
            "names": list(layout),
            "formats": [kind for kind, _ in layout.values()],
            "offsets": [at for _, at in layout.values()],
            "itemsize": record.itemsize,
        }
    )
    read_as = [np.dtype(np.float64) if dtype.kind == "f" else dtype for _, dtype, _ in runs]
    return [(f"r{n}", dtype) for n, dtype in enumerate(read_as)], joined
