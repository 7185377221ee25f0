"""The row that answers each label, found piece by piece of a view's rows, in any order of the pieces and from several threads.

What a piece answers are its own greatest rows in ``(event time, arrival, sequence)``; the greatest of those is the answer over
all pieces. So no more than one piece need be in memory, and the rows of one key may lie in any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Final

import numpy as np
import polars as pl

from featurestore.offline.labels import INSTANT
from featurestore.transforms import asof
from featurestore.transforms.keys import Ints, KeyNumbers, number_labels

NEVER: Final = np.iinfo(np.int64).min
"""In the place of an arrival or a sequence that is null."""
_RIVALS: Final = 1 << 20
"""Rows of one event time that wait for a decision, about: 32 bytes each."""


@dataclass(frozen=True)
class Asked:
    """Labels with a key, in the order in which they came.

    Args:
        count: how many labels there are, those without a key among them.
        keys: the distinct keys and their numbers.
        places: where each stands among all labels.
        ids, instants: number of the key and instant of each.
    """

    count: int
    keys: KeyNumbers
    places: Ints
    ids: Ints
    instants: Ints

    @classmethod
    def of(cls, labels: pl.DataFrame, join_keys: Sequence[str]) -> Asked:
        """Labels by join key and ``__instant``."""
        rows = labels.with_row_index("place").drop_nulls(join_keys)
        keys, ids = number_labels(rows, join_keys)
        return cls(labels.height, keys, rows["place"].cast(pl.Int64).to_numpy(), ids, rows[INSTANT].to_numpy())

    def by_time(self, labels: Ints) -> Ints:
        """The order of some of them, given by their places in ascending order, by instant."""
        return self._order_of(labels, self._by_time)

    def by_key(self, labels: Ints) -> Ints:
        """Their order by key and instant."""
        return self._order_of(labels, self._by_key)

    def _order_of(self, labels: Ints, whole: Ints) -> Ints:
        if len(labels) == len(whole):
            return whole
        place = np.full(len(whole), -1, dtype=np.int64)
        place[labels] = np.arange(len(labels))
        order = place[whole]
        return order[order >= 0]

    @cached_property
    def _by_time(self) -> Ints:
        return np.argsort(self.instants)

    @cached_property
    def _by_key(self) -> Ints:
        if not len(self.ids):
            return self.ids
        return np.argsort(asof.Packing(np, self.ids, self.instants).pack(self.ids, self.instants))


Ties = Callable[[int, Ints], tuple[Ints, Ints]]
"""Arrivals and sequences of rows of a piece."""


class Winners:
    """The greatest row so far of each label: in which piece it is, and where there.

    Rows of one event time from several pieces wait for :meth:`settle`, which reads what orders them: there seldom are any.

    Args:
        ties: reads what orders them.
    """

    def __init__(self, asked: Asked, ties: Ties) -> None:
        count = len(asked.ids)
        self._asked = asked
        self._ties = ties
        self._lock = Lock()
        self.pieces = np.full(count, -1, dtype=np.int32)
        self.rows = np.full(count, -1, dtype=np.int64)
        self._times = np.full(count, NEVER, dtype=np.int64)
        self._rivals: list[tuple[Ints, Ints, Ints, Ints]] = []

    def offer(self, piece: int, labels: Ints, rows: Ints, times: Ints) -> None:
        """Take the rows of a piece that are greater than what is held.

        Args:
            labels: which labels they answer.
            rows: their positions in the piece.
            times: their event times.
        """
        with self._lock:
            held = self._times[labels]
            wins = (times > held) | (self.pieces[labels] < 0)
            equal = np.flatnonzero((times == held) & ~wins)
            if len(equal):
                self._rivals.append((labels[equal], np.full(len(equal), piece), rows[equal], times[equal]))
                if sum(len(rivals) for rivals, *_ in self._rivals) > _RIVALS:
                    self._settle()
            chosen = labels[wins]
            self.pieces[chosen], self.rows[chosen], self._times[chosen] = piece, rows[wins], times[wins]

    def settle(self) -> None:
        """Decide between rows of one event time: by arrival, sequence, and then for the later piece."""
        with self._lock:
            self._settle()

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

    def _settle(self) -> None:
        if not self._rivals:
            return
        labels, pieces, rows, times = (np.concatenate(columns) for columns in zip(*self._rivals, strict=True))
        self._rivals.clear()
        current = times == self._times[labels]
        labels, pieces, rows = labels[current], pieces[current], rows[current]
        held = np.unique(labels)
        labels = np.concatenate([labels, held])
        pieces = np.concatenate([pieces, self.pieces[held]])
        rows = np.concatenate([rows, self.rows[held]])
        arrivals, sequences = np.empty_like(rows), np.empty_like(rows)
        for piece in np.unique(pieces):
            here = pieces == piece
            arrivals[here], sequences[here] = self._ties(int(piece), rows[here])
        order = np.lexsort((pieces, sequences, arrivals, labels))
        greatest = order[np.append(labels[order][1:] != labels[order][:-1], True)]
        self.pieces[labels[greatest]], self.rows[labels[greatest]] = pieces[greatest], rows[greatest]


@dataclass(frozen=True, slots=True)
class Answered:
    """The labels that a row answers, for the features that share those rows.

    Args:
        names: the features.
        labels: which labels, in ascending order.
        pieces, rows: for each label in which piece its row is, and where there.
    """

    names: tuple[str, ...]
    labels: Ints
    pieces: Ints
    rows: Ints

    @classmethod
    def all(cls, winners: Mapping[str, Winners], ttl: int | None) -> list[Answered]:
        """Of winners by feature: one for those features that have the same."""
        shared: dict[int, list[str]] = {}
        for name, chosen in winners.items():
            shared.setdefault(id(chosen), []).append(name)
        found = []
        for names in shared.values():
            chosen = winners[names[0]]
            labels = np.flatnonzero(chosen.status(ttl) == asof.FOUND)
            found.append(cls(tuple(names), labels, chosen.pieces[labels], chosen.rows[labels]))
        return found

    def in_piece(self, number: int) -> tuple[Ints, Ints]:
        """The labels that rows of a piece answer, and those rows."""
        here = self.pieces == number
        return self.labels[here], self.rows[here]
