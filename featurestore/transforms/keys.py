"""Dense ids for composite keys: 0, 1, 2, ... one for each distinct key among the labels, in the order of the keys.

In their order, so that events from files sorted by key and time come sorted by id and time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from featurestore.transforms.arrays import series_of

KEY_ID = "__key_id"
_SHORT_RUN: Final = 3
"""Runs of equal keys that are shorter than this on average are not worth finding."""
_SPARSE: Final = 4
_SMALL_RANGE: Final = 1 << 20
"""Whole numbers whose range is up to so many times the labels, or so small, are numbered by their value, others by hash."""
_HUGE: Final = 1 << 62

Ints = np.ndarray[Any, Any]


def number_keys(labels: pl.DataFrame, join_keys: Sequence[str]) -> tuple[pl.DataFrame, pl.Series]:
    """The distinct keys of labels with their ids, and the id of each label row.

    A key with a null part is no key: its rows get -1, and it is not in the table.

    >>> table, ids = number_keys(pl.DataFrame({"k": ["b", "a", None, "b"]}), ["k"])
    >>> table.rows(), ids.to_list()
    ([('a', 0), ('b', 1)], [1, 0, -1, 1])
    """
    keys = labels.select(join_keys)
    table = keys.drop_nulls().unique().sort(join_keys).with_row_index(KEY_ID)
    table = table.select(*join_keys, pl.col(KEY_ID).cast(pl.Int64))
    ids = keys.join(table, on=list(join_keys), how="left", maintain_order="left")[KEY_ID]
    return table, ids.fill_null(-1)


def match_keys(
    events: pl.LazyFrame, table: pl.DataFrame, join_keys: Sequence[str], *, kept: Collection[str] = ()
) -> pl.LazyFrame:
    """The events whose key is in a table of :func:`number_keys`, in their order, with its id in the place of the key.

    Args:
        kept: columns of the key that stay beside its id.
    """
    matched = events.join(table.lazy(), on=list(join_keys), how="inner", maintain_order="left")
    return matched.drop(name for name in join_keys if name not in kept)


@dataclass(frozen=True, slots=True)
class KeyNumbers:
    """The distinct keys of labels, numbered from 0 in their order.

    Args:
        join_keys: their columns.
        count: numbers are below.
        table: the keys and their numbers, without gaps; None: the number of a whole number is its distance from ``low``.
    """

    join_keys: tuple[str, ...]
    count: int
    table: pl.DataFrame | None
    low: int = 0

    def dense(self, keys: pl.Series) -> Ints:
        """The numbers of whole numbers where there is no table: -1 for those below all labels', ``count`` for those above."""
        whole = keys.cast(pl.Int64).fill_null(self.low - 1) if keys.null_count() else keys.cast(pl.Int64)
        numbers: Ints = whole.to_numpy()
        # To look is cheaper than to write a new array, and files mostly hold the keys that labels ask for.
        if len(numbers) and (numbers.min() < self.low or numbers.max() > self.low + self.count):
            numbers = numbers.clip(self.low - 1, self.low + self.count)
        return numbers - self.low if self.low else numbers


def number_labels(labels: pl.DataFrame, join_keys: Sequence[str]) -> tuple[KeyNumbers, Ints]:
    """The distinct keys of labels, and the number of each label row's. No part of a key may be null.

    >>> keys, numbers = number_labels(pl.DataFrame({"k": ["b", "a", "b"]}), ["k"])
    >>> keys.table.rows(), numbers.tolist()
    ([('a', 0), ('b', 1)], [1, 0, 1])
    """
    dense = _dense(labels, join_keys)
    if dense is not None:
        return dense, dense.dense(labels[join_keys[0]])
    table, ids = number_keys(labels, join_keys)
    return KeyNumbers(tuple(join_keys), table.height, table), ids.to_numpy()


def _dense(rows: pl.DataFrame, join_keys: Sequence[str]) -> KeyNumbers | None:
    """Whole numbers of a small range by their distance from the least; None for other keys."""
    keys = rows[join_keys[0]]
    if len(join_keys) > 1 or not rows.height or not keys.dtype.is_integer() or keys.dtype == pl.UInt64:
        return None
    low, high = (int(bound) for bound in (keys.min(), keys.max()))  # type: ignore[arg-type]
    if high - low >= max(_SPARSE * rows.height, _SMALL_RANGE) or max(-low, high) >= _HUGE:
        return None
    return KeyNumbers(tuple(join_keys), high - low + 1, None, low)


@dataclass(frozen=True, slots=True)
class Matched:
    """Events and labels, numbered by key alike.

    Args:
        keys: the numbers of the events that were matched; what is no label's is of a key that no label has.
        places: which events those are; None: all.
        key_numbers: for each number of the labels' keys the number that the events have; -1: none of them; None: the same.
    """

    keys: Ints
    places: Ints | None
    key_numbers: Ints | None

    def asked_for(self, numbers: Ints) -> Matched:
        """Those events only whose number is among some; all where they need not be sorted, or were chosen already."""
        if self.places is not None or self.key_numbers is not None or not bool((self.keys[1:] < self.keys[:-1]).any()):
            return self
        wanted = np.zeros(int(self.keys.max()) + 2, dtype=np.bool_)  # the number -1 is its last place
        wanted[numbers[numbers < len(wanted) - 1]] = True
        places = np.flatnonzero(wanted[self.keys])
        return Matched(self.keys[places], places, None)


def match_events(events: pl.DataFrame, keys: KeyNumbers) -> Matched:
    """Number events by the keys of :func:`number_labels`.

    Keys without a table number all events. With one, where equal keys lie next to each other, as in files sorted by key, only
    the first of each run is looked for, the runs are the numbers, and all events are matched. Else events get the numbers of
    their keys, and those without one are left out.
    """
    if keys.table is None:
        return Matched(keys.dense(events[keys.join_keys[0]]), None, None)
    runs = _runs(events, keys.join_keys)
    if len(runs) and (int(runs[-1]) + 1) * _SHORT_RUN <= len(runs):
        ids = _ids(events[series_of(_heads(runs))].select(keys.join_keys), keys.table)
        found = np.flatnonzero(ids >= 0)
        numbers = np.full(keys.count, -1, dtype=np.int64)
        numbers[ids[found]] = found
        if np.count_nonzero(numbers >= 0) == len(found):  # no key has two runs
            return Matched(runs.astype(np.int64), None, numbers)
    ids = _ids(events.select(keys.join_keys), keys.table)
    places = np.flatnonzero(ids >= 0)
    return Matched(ids, None, None) if len(places) == len(ids) else Matched(ids[places], places, None)


def _runs(rows: pl.DataFrame, join_keys: Sequence[str]) -> Ints:
    """The number of the run of equal keys that each row is in."""
    keys = rows.select(join_keys[0] if len(join_keys) == 1 else pl.struct(join_keys)).to_series()
    return keys.rle_id().to_numpy()


def _heads(runs: Ints) -> Ints:
    """Where each run begins."""
    return runs.searchsorted(np.arange(int(runs[-1]) + 1 if len(runs) else 0, dtype=runs.dtype))


def _ids(keys: pl.DataFrame, table: pl.DataFrame) -> Ints:
    """For each row the number of its key in a table; -1 where it is not there."""
    matched = keys.join(table, on=keys.columns, how="left", maintain_order="left")
    return matched[KEY_ID].fill_null(-1).to_numpy()
