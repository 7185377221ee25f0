"""The newest row of each key, from rows that stream by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.arrays import series_of

ORDER: Final = (EVENT_TIME, ARRIVAL_TIME, SEQUENCE)
_ROW: Final = "__newest_row"


def latest_rows(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The rows of each key's greatest event time, all of them where they tie, in the order of the rows.

    Arrays or hash tables find them, and nothing is sorted. (2,000,000 rows of 100,000 keys: 0.02 s of CPU for integers that
    lie close, for others 0.1 s in ascending order and 0.2 s in any other; sorting takes 1.4 s.)

    Args:
        keys: the key columns; neither they nor the event time are null.
    """
    numbered = rows.lazy().select(*keys, EVENT_TIME).with_row_index(_ROW)
    instants = rows[EVENT_TIME].to_physical().to_numpy()
    if len(keys) == 1 and (places := _latest_of_dense(rows[keys[0]], instants)) is not None:
        return rows[series_of(places)]
    if (instants[1:] > instants[:-1]).all():
        found = numbered.group_by(*keys).agg(pl.col(_ROW).max())
    else:
        latest = numbered.group_by(*keys).agg(pl.col(EVENT_TIME).max())
        found = numbered.join(latest, on=[*keys, EVENT_TIME], how="semi")
    return rows[found.select(_ROW).collect(engine="streaming").to_series().sort()]


def _latest_of_dense(keys: pl.Series, instants: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """The places of the rows, where keys are integers that lie close: an array does for them what hash tables do."""
    if not keys.dtype.is_integer() or not len(keys):
        return None
    values = keys.to_numpy()
    low, high = int(values.min()), int(values.max())
    if high - low >= 2 * len(values):
        return None
    at = (values.astype(np.uint64) - np.uint64(low % 2**64)).view(np.int64)  # modulo 2^64, so that nothing overflows
    latest = np.full(high - low + 1, np.iinfo(np.int64).min)
    np.maximum.at(latest, at, instants)
    return np.flatnonzero(instants == latest[at])


def newest_rows(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The row of each key with the greatest ``(event_time, arrival_time, sequence)``, nulls least; of equal ones the last.

    Args:
        keys: the key columns; neither they nor the event time are null.
    """
    found = latest_rows(rows, keys)
    if not has_ties(found, keys):
        return found
    ordered = found.lazy().select(*keys, *ORDER).with_row_index(_ROW).sort(*ORDER, _ROW, nulls_last=False)
    winners = ordered.group_by(*keys, maintain_order=True).agg(pl.col(_ROW).last()).select(_ROW).collect()
    return found[winners.to_series().sort()]


def has_ties(rows: pl.DataFrame, keys: Sequence[str]) -> bool:
    """Whether a key has several rows."""
    return rows.select(*keys).n_unique() < rows.height


class Latest:
    """Collects the latest rows of each key, see :func:`latest_rows`, in memory that grows with them, not with all rows.

    Args:
        keys: the key columns.
        most: about how many rows are held before they are reduced.
    """

    def __init__(self, keys: Sequence[str], *, most: int = 2_000_000) -> None:
        self._keys = tuple(keys)
        self._most = most
        self._parts: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows in."""
        if rows.height:
            found = latest_rows(rows, self._keys)
            self._parts.append(found)
            self._rows += found.height
            if self._rows > self._most:
                self._reduce()

    @property
    def is_full(self) -> bool:
        """Whether there are so many that what was collected should be taken away."""
        return self._rows > self._most // 2 and len(self._parts) == 1

    def take(self) -> pl.DataFrame | None:
        """What was collected, in the order of taking in; None where nothing was. Begins anew."""
        if not self._parts:
            return None
        self._reduce()
        (rows,) = self._parts
        self._parts, self._rows = [], 0
        return rows

    def _reduce(self) -> None:
        if len(self._parts) > 1:
            self._parts = [latest_rows(pl.concat(self._parts), self._keys)]
            self._rows = self._parts[0].height
