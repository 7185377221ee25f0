"""The newest row of each key, from rows that stream by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE

ORDER: Final = (EVENT_TIME, ARRIVAL_TIME, SEQUENCE)
_ROW: Final = "__row"
_OLDEST: Final = -(1 << 63)


def newest_rows(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The row of each key with the greatest ``(event_time, arrival_time, sequence)``, nulls least; in no order.

    Only keys and order are sorted and grouped; the features of the winners are gathered once.
    """
    order = rows.lazy().select(*keys, *ORDER).with_row_index(_ROW)
    if not _is_in_order(rows):
        order = order.sort(ORDER, nulls_last=False, maintain_order=True)
    winners = order.group_by(*keys).agg(pl.col(_ROW).last()).select(_ROW).collect()
    return rows[winners.to_series()]


def _is_in_order(rows: pl.DataFrame) -> bool:
    """Whether rows lie in ascending order, as the lake's files mostly do: a look that costs a tenth of the sort it saves."""
    after = np.zeros(max(rows.height - 1, 0), dtype=bool)
    level = ~after
    for name in ORDER:
        values = rows[name].to_physical().fill_null(_OLDEST).to_numpy()
        after |= level & (values[1:] > values[:-1])
        level &= values[1:] == values[:-1]
    return bool((after | level).all())


class Newest:
    """Collects the newest row of each key in memory that grows with the keys, not with the rows.

    Args:
        keys: the key columns.
        most: about how many rows are held before they are reduced.
    """

    def __init__(self, keys: Sequence[str], *, most: int = 1_000_000) -> None:
        self._keys = tuple(keys)
        self._most = most
        self._parts: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows in."""
        if rows.height:
            found = newest_rows(rows, self._keys)
            self._parts.append(found)
            self._rows += found.height
            if self._rows > self._most:
                self._reduce()

    @property
    def is_full(self) -> bool:
        """Whether there are so many keys that what was collected should be taken away."""
        return self._rows > self._most // 2 and len(self._parts) == 1

    def take(self) -> pl.DataFrame | None:
        """What was collected, one row a key; None where nothing was. Begins anew."""
        if not self._parts:
            return None
        self._reduce()
        (rows,) = self._parts
        self._parts, self._rows = [], 0
        return rows

    def _reduce(self) -> None:
        if len(self._parts) > 1:
            self._parts = [newest_rows(pl.concat(self._parts), self._keys)]
            self._rows = self._parts[0].height
