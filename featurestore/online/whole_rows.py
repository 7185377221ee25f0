"""Answers in which nothing is missing, the plain case of look-ups: every row is there, none is old, no value is null.

They have one status, ``PRESENT``, and whoever writes them needs columns and times, no look at each value. What is otherwise in
any way is left to :mod:`featurestore.online.row_columns`; a property test holds the two to the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featurestore.codec import WholeReader
from featurestore.codec.whole_rows import Times
from featurestore.online.plan import OnlinePlan, ViewRead


@dataclass(slots=True)
class WholeAnswer:
    """An answer in which nothing is missing.

    Args:
        columns: the values of each feature, in the order of the answer; numpy arrays stand for lists of plain numbers.
        times: event times of each view's rows, microseconds.
        views: the place in ``times`` of each feature's own.
        is_finite: whether it is known that all numbers among the values are.
    """

    columns: Sequence[Sequence[Any]]
    times: list[Times]
    views: Sequence[int]
    count: int
    is_finite: bool


class WholeRows:
    """Reads such answers of one plan. Made by :meth:`of`.

    Args:
        readers: of each view, with its ttl.
        views, places: of each feature of the answer, the view and its place among what that view's reader reads.
    """

    def __init__(self, readers: Sequence[tuple[WholeReader, int | None]], views: list[int], places: list[int]) -> None:
        self._readers = readers
        self._views, self._places = views, places
        self._is_plain = len(readers) == 1 and places == list(range(len(places)))

    @classmethod
    def of(cls, plan: OnlinePlan) -> WholeRows | None:
        """For a plan of rows that hold all features of their view; None for any other."""
        if plan.calls or any(not _is_plain(read) for read in plan.reads):
            return None
        at: dict[str, tuple[int, int]] = {}
        for number, read in enumerate(plan.reads):
            at |= {name: (number, place) for place, name in enumerate(read.groups[0].names)}
        found = [at[source] for _, source in plan.outputs]
        readers = [(next(iter(read.groups[0].readings.values())).whole, read.ttl) for read in plan.reads]
        return cls(readers, [number for number, _ in found], [place for _, place in found])

    def read(self, values: Sequence[bytes | None], count: int, now: int) -> WholeAnswer | None:
        """The answer from the values of a look-up's keys, its token first; None where anything is missing."""
        if not count:
            return None
        is_finite = True
        columns: list[Sequence[Sequence[Any]]] = []
        times: list[Times] = []
        at = 1
        for reader, ttl in self._readers:
            whole = reader.read(values[at : at + count])
            if whole is None or whole.newest > now or (ttl is not None and whole.oldest < now - ttl):
                return None
            columns.append(whole.columns)
            times.append(whole.times)
            is_finite = is_finite and whole.is_finite
            at += count
        if self._is_plain:
            return WholeAnswer(columns[0], times, self._views, count, is_finite)
        ordered = [columns[view][place] for view, place in zip(self._views, self._places, strict=True)]
        return WholeAnswer(ordered, times, self._views, count, is_finite)


def _is_plain(read: ViewRead) -> bool:
    """Whether the view's newest rows hold everything that is asked of it, in one row an entity."""
    if read.windows is not None or read.missing or len(read.groups) != 1 or not read.groups[0].readings:
        return False
    (group,) = read.groups
    return not group.suffix and len(next(iter(group.readings.values())).places) == len(group.fields)
