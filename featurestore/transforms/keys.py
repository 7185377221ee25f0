"""Dense ids for composite keys: 0, 1, 2, ... one for each distinct key among the labels, in the order of the keys.

In their order, so that events from files sorted by key and time come sorted by id and time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

KEY_ID = "__key_id"
_SHORT_RUN: Final = 3
"""Runs of equal keys that are shorter than this on average are not worth finding."""
_SPARSE: Final = 4
"""Whole numbers whose range is so many times the rows are looked up in an array of that range, others by hash."""

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


def sort_keys(labels: pl.DataFrame, join_keys: Sequence[str], instant: str) -> tuple[pl.DataFrame, Ints, pl.DataFrame]:
    """Labels in the order of key and instant: the distinct keys with their ids, the id of each row, and the rows.

    Rows whose key has a null part are left out; ``place`` is where a row stood.

    >>> table, ids, rows = sort_keys(pl.DataFrame({"k": ["b", "a", None, "b"], "t": [2, 5, 1, 1]}), ["k"], "t")
    >>> table.rows(), ids.tolist(), rows["place"].to_list()
    ([('a', 0), ('b', 1)], [0, 1, 1], [1, 3, 0])
    """
    rows = labels.with_row_index("place").drop_nulls(join_keys).sort(*join_keys, instant)
    ids = _runs(rows, join_keys)
    table = rows[_heads(ids)].select(*join_keys, pl.int_range(pl.len(), dtype=pl.Int64).alias(KEY_ID))
    return table, ids.astype(np.int64), rows


@dataclass(frozen=True, slots=True)
class Matched:
    """Events and labels, numbered by key alike.

    Args:
        keys: the numbers of the events that were matched.
        places: which events those are; None: all.
        key_numbers: for each id of the labels' keys the number that the events have; -1: none of them; None: the id itself.
    """

    keys: Ints
    places: Ints | None
    key_numbers: Ints | None


def match_events(events: pl.DataFrame, table: pl.DataFrame, join_keys: Sequence[str]) -> Matched:
    """Number events by the keys of a table of :func:`sort_keys`.

    Where equal keys lie next to each other, as in files sorted by key, only the first of each run is looked for, the runs are
    the numbers, and all events are matched. Else events get the ids of their keys, and those without one are left out.
    """
    runs = _runs(events, join_keys)
    if len(runs) and (int(runs[-1]) + 1) * _SHORT_RUN <= len(runs):
        ids = _ids(events[_heads(runs)].select(join_keys), table, join_keys)
        found = np.flatnonzero(ids >= 0)
        numbers = np.full(table.height, -1, dtype=np.int64)
        numbers[ids[found]] = found
        if np.count_nonzero(numbers >= 0) == len(found):  # no key has two runs
            return Matched(runs.astype(np.int64), None, numbers)
    ids = _ids(events.select(join_keys), table, join_keys)
    places = np.flatnonzero(ids >= 0)
    return Matched(ids, None, None) if len(places) == len(ids) else Matched(ids[places], places, None)


def _runs(rows: pl.DataFrame, join_keys: Sequence[str]) -> Ints:
    """The number of the run of equal keys that each row is in."""
    keys = rows.select(join_keys[0] if len(join_keys) == 1 else pl.struct(join_keys)).to_series()
    return keys.rle_id().to_numpy()


def _heads(runs: Ints) -> Ints:
    """Where each run begins."""
    return runs.searchsorted(np.arange(int(runs[-1]) + 1 if len(runs) else 0, dtype=runs.dtype))


def _ids(keys: pl.DataFrame, table: pl.DataFrame, join_keys: Sequence[str]) -> Ints:
    """For each row the id of its key in a table; -1 where it is not there."""
    known, wanted = table[join_keys[0]], keys[join_keys[0]]
    if len(join_keys) == 1 and len(known) and known.dtype.is_integer() and known.dtype != pl.UInt64:
        low, high = int(known[0]), int(known[-1])
        dense = high - low < _SPARSE * max(len(known), len(wanted)) and max(-low, high) < _HUGE
        if dense and not wanted.null_count():
            return _ids_by_array(known.cast(pl.Int64).to_numpy(), wanted.cast(pl.Int64).to_numpy(), low, high)
    matched = keys.join(table, on=list(join_keys), how="left", maintain_order="left")
    return matched[KEY_ID].fill_null(-1).to_numpy()


def _ids_by_array(known: Ints, wanted: Ints, low: int, high: int) -> Ints:
    """Ids by value, with one place on either side for all that lies outside."""
    ids = np.full(high - low + 3, -1, dtype=np.int64)
    ids[known - low + 1] = np.arange(len(known))
    places: Ints = wanted.clip(low - 1, high + 1)
    places -= low - 1
    found: Ints = ids[places]
    return found
