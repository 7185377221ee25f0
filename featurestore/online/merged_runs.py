"""Runs of items and runs of values, one of each for every window, reduced in one call for all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from featurestore.online.window_edges import Array

ROWS, SUM, SQUARES = range(3)
_ADDED: Final = {"rows": ROWS, "sum": SUM, "squares": SQUARES}
_KINDS: Final = ("least", "greatest", "first", "last")


@dataclass(frozen=True, slots=True)
class Slot:
    """One column of numbers.

    Args:
        kind: the state that it is, or that its values are the items of.
        part: whose it is.
        recent: whether of events, not of tiles.
        block: columns of one block stand together, entity by entity; those of a block of its own follow each other.
    """

    kinds: tuple[str, ...]
    part: int
    recent: bool
    block: int


class MergedRuns:
    """What is known of each part of each entity in each window.

    Attributes:
        sums, sizes: of the values, and of their absolute values.
        least, greatest, first, last: of the values; anything where there is none.
        rows: how many values the states of that name count; ``items`` are numbers that were added.
    """

    def __init__(self, order: Order, values: Array, low: Array, high: Array) -> None:
        """Reduce runs.

        Args:
            values: all numbers, and one more behind the last.
            low, high: of each entity, slot and window where its run begins and ends.
        """
        low, high, shape = low.ravel(), high.ravel(), order.shape
        self.numbers = np.zeros((3, 2, 3, *shape))
        if order.added.cells.size:
            both = np.empty((2, values.size))
            both[0] = values
            np.abs(values, out=both[1])
            into = self.numbers.reshape(3, -1)
            into[:2, order.added.places], into[2, order.added.places] = _reduced(np.add, both, low, high, order.added, 0.0)
        (self.rows, self.sums, self.squares), (_, self.sizes, _), (_, self.items, _) = self.numbers.sum(axis=1)
        pairs = []
        for chosen, function, identity in ((order.least, np.minimum, np.inf), (order.greatest, np.maximum, -np.inf)):
            found = np.full((2, *shape), identity)
            if chosen.cells.size:
                found.reshape(-1)[chosen.places], _ = _reduced(function, values, low, high, chosen, identity)
            pairs.append(function(found[0], found[1]))
        self.least, self.greatest = pairs
        self.first, self.last = (self._end(order, values, low, high, last=last) for last in (False, True))

    @staticmethod
    def _end(order: Order, values: Array, low: Array, high: Array, *, last: bool) -> Array:
        chosen = order.last if last else order.first
        found = np.zeros((2, *order.shape))
        if not chosen.cells.size:
            nothing: Array = found[0]
            return nothing
        here, there = low.take(chosen.cells), high.take(chosen.cells)
        some = here < there
        found.reshape(-1)[chosen.places] = np.where(some, values.take(there - 1 if last else here), np.nan)
        known = np.zeros((2, *order.shape), dtype=bool)
        known.reshape(-1)[chosen.places] = some
        mine = int(last)  # the newer ones first where the last one is wanted
        ends: Array = np.where(known[mine], found[mine], found[1 - mine])
        return ends


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Some of the runs, such that they descend by where they begin, and where their answers go."""

    cells: Array
    places: Array


class Order:
    """Which runs are reduced by what, for a number of entities.

    Args:
        shape: of entities, parts and windows.
    """

    def __init__(self, slots: Sequence[Slot], shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self._slots = slots
        self._cells = np.arange(shape[0] * len(slots) * shape[2]).reshape(shape[0], len(slots), shape[2])
        self.added = self._chosen(*_ADDED)
        self.least, self.greatest, self.first, self.last = map(self._chosen, _KINDS)

    def _chosen(self, *kinds: str) -> _Chosen:
        entities, parts, windows = self.shape
        inside = np.arange(entities)[:, None] * (parts * windows) + np.arange(windows)
        cells, places = [np.zeros(0, dtype=np.intp)], [np.zeros(0, dtype=np.intp)]
        for block in sorted({slot.block for slot in self._slots}):
            mine = [
                (i, slot, _ADDED.get(kind, 0))
                for i, slot in enumerate(self._slots)
                for kind in kinds
                if slot.block == block and kind in slot.kinds
            ]
            if not mine:
                continue
            size = entities * parts * windows
            above = [(slot.recent * (3 if len(kinds) > 1 else 1) + kind) * size + slot.part * windows for _, slot, kind in mine]
            cells.append(self._cells[:, [i for i, *_ in mine]].ravel())
            places.append((inside[:, None, :] + np.array(above)[:, None]).ravel())
        # The last run first: what reduceat finds from one run's end to the next one's begin is then no run at all.
        return _Chosen(np.concatenate(cells)[::-1], np.concatenate(places)[::-1])


def _reduced(
    function: np.ufunc, values: Array, low: Array, high: Array, chosen: _Chosen, identity: float
) -> tuple[Array, Array]:
    """A function of some runs, and how long they are."""
    pairs = np.empty((chosen.cells.size, 2), dtype=np.intp)
    low.take(chosen.cells, out=pairs[:, 0])
    high.take(chosen.cells, out=pairs[:, 1])
    found: Array = function.reduceat(values, pairs.ravel(), axis=-1)[..., ::2]
    lengths = pairs[:, 1] - pairs[:, 0]
    if np.count_nonzero(lengths) < lengths.size:
        found = np.where(lengths == 0, identity, found)
    return found, lengths
