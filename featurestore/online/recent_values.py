"""The values of the events that follow a key's tiles, all columns at once, reduced over the windows of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from featurestore.online.thin_rows import COUNTED
from featurestore.online.window_edges import Array, Edges
from featurestore.transforms.windows.ranges import prefix

if TYPE_CHECKING:
    from featurestore.codec.decoded_blocks import DecodedBlocks
    from featurestore.online.thin_plan import ThinPlan
    from featurestore.online.thin_rows import Part


class RecentValues:
    """Events of some entities.

    Attributes:
        some: whether windows see any.
        counts: how many values each window of each part of each entity has.
    """

    def __init__(self, plan: ThinPlan, events: DecodedBlocks, edges: Edges) -> None:
        self._parts, self._events, self._edges = plan.parts, events, edges
        cuts = np.array([events.times_of(i).searchsorted(edges.instants) for i in range(len(events.counts))])
        self.some = bool((cuts[:, -1] > cuts[:, 0]).any())
        if not self.some:
            return
        kept = plan.conditions.kept(events)
        cuts += prefix(np, np.asarray(events.counts))[:-1, None]
        self.pieces: list[Array] = []
        """The values of each part that count."""
        places = np.empty((cuts.shape[0], len(plan.parts), cuts.shape[1]), dtype=np.int64)
        conditions = [condition for condition, members in plan.groups for _ in members]
        for i, (part, condition) in enumerate(zip(plan.parts, conditions, strict=True)):
            values = np.zeros(0) if part.need == COUNTED else events.numbers(part.column or "")
            keep = self._kept(part, values, kept[condition] if condition >= 0 else None)
            self.pieces.append(values if keep is None or not values.size else values[keep])
            places[:, i] = cuts if keep is None else prefix(np, keep)[cuts]
        self._places = places
        self.counts = places[:, :, edges.pairs[1::2]] - places[:, :, edges.pairs[::2]]

    def _kept(self, part: Part, values: Array, keep: Array | None) -> Array | None:
        """Which events count: None for all."""
        nulls = None if part.column is None else self._events.nulls(part.column)
        if nulls is not None:
            keep = ~nulls if keep is None else keep & ~nulls
        if part.skip_nan:
            numbers = ~np.isnan(values if values.size else self._events.numbers(part.column or ""))
            keep = numbers if keep is None else keep & numbers
        return keep

    def at(self, parts: Sequence[int], size: int) -> Array:
        """Where each edge falls in the values of some parts, one part after the other, behind so many others."""
        sizes = np.array([self.pieces[part].size for part in parts], dtype=np.int64)
        found: Array = self._places[:, parts] + (sizes.cumsum() - sizes + size)[:, None]
        return found

    def values(self, part: int, entity: int, window: int) -> Array:
        """The values of one window of one part, as they are."""
        if not self.some:
            return np.zeros(0, dtype=np.int64)
        low, high = self._places[entity, part][self._edges.pairs[2 * window : 2 * window + 2]].tolist()
        return self.pieces[part][low:high]
