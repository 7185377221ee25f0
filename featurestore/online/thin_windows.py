"""The plain functions of numbers over windows that all end at one instant: a few numpy calls for all features.

The kernels of ``transforms/windows`` answer anything, at any instants, and take milliseconds to begin; a request has one
instant and a few thousand events. What is plain (count, sum, mean, var, std, min, max, first, last, any, all of numbers) is
answered here, and held to the kernels by property tests. All columns of a request are one matrix of floats, a row a column;
where that is not known to be exact, the window is looked at once more (``careful.py``):

* integers, if the number of a window's values times the largest of them is not below 2^53;
* a sum ``S`` of ``n`` floats, if its rounding error, at most ``n * u * n * max(|x|)`` ``u = 2^-53``, may be above 5e-10 of it;
* a variance: with ``d = x - s``, ``s`` the newest value of the column, ``V = sum(d^2) - sum(d)^2 / n`` has an error of at most
  ``(3 n + 8) * u * sum(d^2)``, which must be below 5e-10 of ``V`` (Chan, Golub, LeVeque, "Algorithms for computing the sample
  variance", 1983).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from featurestore.online.thin_plan import Found, ThinPlan
from featurestore.online.thin_rows import FUNCTIONS, Chunk, Part, Patches, Room, Rows
from featurestore.online.window_edges import Edges, edges_at

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout
    from featurestore.codec.decoded_blocks import DecodedBlocks
    from featurestore.transforms.windows.schema import WindowFeature

_CELLS: Final = 1 << 16
"""Numbers worked on at a time: what the processor's cache holds, of events times columns."""
_KEPT_PLANS: Final = 256


class ThinWindows:
    """Plain features of one view.

    Args:
        features: all of them thin.
        layout: of the view's blocks.
    """

    def __init__(self, features: Sequence[WindowFeature], layout: BlockLayout) -> None:
        self._layout, self._plan = layout, ThinPlan(features, layout)
        self.names = self._plan.answers.names
        """The features, in the order of their answers."""
        self._rows: dict[frozenset[str], list[tuple[int, list[Rows]]]] = {}

    def answer(self, decoded: DecodedBlocks, instant: int) -> Found:
        """The values of each of :attr:`names`, and their statuses, by block.

        Raises:
            NotPlainError: the kernels have to answer.
        """
        if not self._plan.parts:
            return [], []
        edges = edges_at(self._plan.windows, instant)
        # By entity last: then the answers of one feature lie side by side.
        results = np.zeros((len(FUNCTIONS), len(self._plan.parts), len(self._plan.windows), len(decoded.counts)))
        by_entity = results.transpose(0, 1, 3, 2)
        patches: Patches = {}
        kept = self._plan.conditions.kept(decoded)
        rows = self._rows_for(decoded.null_columns)
        with np.errstate(all="ignore"):
            for chunk in self._chunks(decoded, edges):
                for condition, members in rows:
                    part = chunk if condition < 0 else chunk.under(kept[condition])
                    for one in members:
                        one.answer(part, by_entity, patches)
            return self._plan.answers.of(results, patches)

    def _chunks(self, decoded: DecodedBlocks, edges: Edges) -> Iterator[Chunk]:
        """The events that windows see, so many entities at a time as the processor's cache holds."""
        instants, room = edges.instants, Room()
        cuts = np.array([decoded.times_of(i).searchsorted(instants) for i in range(len(decoded.counts))])
        limit = _CELLS // max(1, len(self._plan.parts))
        if len(cuts) == 1:
            yield Chunk(decoded, 0, cuts, edges, room)
            return
        sizes = (cuts[:, -1] - cuts[:, 0]).tolist()
        first = size = 0
        for i, more in enumerate(sizes):
            if i > first and size + more > limit:
                yield Chunk(decoded, first, cuts[first:i], edges, room)
                first, size = i, 0
            size += more
        if sizes:
            yield Chunk(decoded, first, cuts[first:], edges, room)

    def _rows_for(self, null_columns: frozenset[str]) -> list[tuple[int, list[Rows]]]:
        """The parts of each condition: those without nulls together, and those that may have them."""
        if null_columns not in self._rows:
            if len(self._rows) >= _KEPT_PLANS:
                self._rows.clear()
            self._rows[null_columns] = [
                (condition, list(self._divided(mine, null_columns))) for condition, mine in self._plan.groups
            ]
        return self._rows[null_columns]

    def _divided(self, parts: list[Part], null_columns: frozenset[str]) -> Iterator[Rows]:
        for nullable in (False, True):
            mine = [part for part in parts if (part.skip_nan or part.column in null_columns) == nullable]
            if mine:
                yield Rows(mine, self._layout, nullable=nullable)
