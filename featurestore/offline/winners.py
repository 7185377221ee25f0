"""The row that answers each label, found piece by piece of a view's rows, in any order of the pieces and from several threads.

What a piece answers are its own greatest rows in ``(event time, arrival, sequence)``; the greatest of those is the answer over
all pieces. So no more than one piece need be in memory, and the rows of one key may lie in any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Final

import numpy as np
import polars as pl

from featurestore.offline.labels import INSTANT
from featurestore.transforms import asof
from featurestore.transforms.keys import Ints, sort_keys

NEVER: Final = np.iinfo(np.int64).min
"""In the place of an arrival or a sequence that is null."""


@dataclass(frozen=True)
class Asked:
    """Labels in the order of key and instant, those with a key.

    Args:
        count: how many labels there are, those without a key among them.
        table: the distinct keys and their ids.
        places: where each stands among all labels.
        ids, instants: key and instant of each.
    """

    count: int
    table: pl.DataFrame
    places: Ints
    ids: Ints
    instants: Ints

    @classmethod
    def of(cls, keys: pl.DataFrame, join_keys: Sequence[str]) -> Asked:
        """Labels by join key and ``__instant``."""
        table, ids, rows = sort_keys(keys, join_keys, INSTANT)
        return cls(keys.height, table, rows["place"].cast(pl.Int64).to_numpy(), ids, rows[INSTANT].to_numpy())

    @cached_property
    def by_time(self) -> Ints:
        """Their order by instant."""
        return pl.Series(self.instants).arg_sort().to_numpy().astype(np.int64)


class Winners:
    """The greatest row so far of each label: in which piece it is, and where there."""

    def __init__(self, asked: Asked) -> None:
        count = len(asked.ids)
        self._asked = asked
        self._lock = Lock()
        self.pieces = np.full(count, -1, dtype=np.int32)
        self.rows = np.full(count, -1, dtype=np.int64)
        self._times, self._arrivals, self._sequences = (np.full(count, NEVER, dtype=np.int64) for _ in range(3))

    def offer(self, piece: int, labels: Ints, rows: Ints, times: Ints, arrivals: Ints, sequences: Ints) -> None:
        """Take the rows of a piece that are greater than what is held; of equal rows, that of the later piece.

        Args:
            labels: which labels they answer.
            rows: their positions in the piece.
            times, arrivals, sequences: of the rows.
        """
        with self._lock:
            held = self._times[labels]
            wins = (times > held) | (self.pieces[labels] < 0)
            equal = np.flatnonzero((times == held) & ~wins)
            if len(equal):
                at = labels[equal]
                wins[equal] = _greater(
                    (arrivals[equal], sequences[equal], piece), (self._arrivals[at], self._sequences[at], self.pieces[at])
                )
            chosen = labels[wins]
            self.pieces[chosen] = piece
            for kept, offered in (
                (self.rows, rows),
                (self._times, times),
                (self._arrivals, arrivals),
                (self._sequences, sequences),
            ):
                kept[chosen] = offered[wins]

    def may_yield_to(self, time: int) -> Any:
        """For each label whether a row of this event time may be greater than what is held, as far as is known now."""
        return self._times <= time

    def status(self, ttl: int | None) -> Ints:
        """For each label with a key whether a row answers it, as the kernel names that."""
        status = np.where(self.pieces < 0, asof.NOT_FOUND, asof.FOUND).astype(np.int8)
        if ttl is not None:
            # Compared as instant - ttl, which cannot overflow where an instant lies within a few centuries of the epoch.
            status[(self.pieces >= 0) & (self._times < self._asked.instants - ttl)] = asof.EXPIRED
        return status


def _greater(left: Sequence[Any], right: Sequence[Any]) -> Any:
    """Whether tuples of columns are greater, row by row, by the first column that differs."""
    greater, equal = False, True
    for mine, theirs in zip(left, right, strict=True):
        greater = greater | (equal & (mine > theirs))
        equal = equal & (mine == theirs)
    return greater
