"""The values of the events that follow a key's tiles, all columns at once, reduced over the windows of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from featurestore.online.kept_items import Spans, Tables
from featurestore.online.window_edges import Array, Edges
from featurestore.transforms.windows.ranges import prefix

if TYPE_CHECKING:
    from featurestore.codec.decoded_blocks import DecodedBlocks
    from featurestore.online.thin_plan import ThinPlan
    from featurestore.online.thin_rows import Part


class RecentValues:
    """Events of some entities.

    Args:
        conditions: the number of the condition of each part, -1 for none.
        cuts: of each entity, where in its block each edge falls.
    """

    def __init__(
        self, events: DecodedBlocks, plan: ThinPlan, conditions: Sequence[int], cuts: Array, edges: Edges
    ) -> None:
        self._events, self._parts = events, plan.parts
        self._some = bool((cuts[:, -1] > cuts[:, 0]).any())
        if not self._some:
            return
        kept = plan.conditions.kept(events)
        cuts = cuts + prefix(np, np.asarray(events.counts))[:-1, None]
        self._values: list[Array] = []
        places, at = np.empty((len(plan.parts), *cuts.shape), dtype=np.intp), 0
        self._begins = []
        for i, (part, condition) in enumerate(zip(plan.parts, conditions, strict=True)):
            values = np.zeros(0) if part.need == 3 or part.column is None else events.numbers(part.column)
            keep = self._kept(part, values, kept[condition] if condition >= 0 else None)
            if keep is not None and values.size:
                values = values[keep]
            self._values.append(values)
            self._begins.append(at)
            places[i] = at + (cuts if keep is None else prefix(np, keep)[cuts])
            at += values.size
        self._low, self._high = places[:, :, edges.pairs[::2]], places[:, :, edges.pairs[1::2]]

    def _kept(self, part: Part, values: Array, keep: Array | None) -> Array | None:
        """Which events count: None for all."""
        nulls = None if part.column is None else self._events.nulls(part.column)
        if nulls is not None:
            keep = ~nulls if keep is None else keep & ~nulls
        if part.skip_nan:
            numbers = ~np.isnan(values if values.size else self._events.numbers(part.column or ""))
            keep = numbers if keep is None else keep & numbers
        return keep

    def merge_into(self, tables: Tables, *, squares: bool) -> None:
        """Add the values to what tiles say.

        Args:
            squares: whether those are asked for.
        """
        if not self._some:
            return
        counts = (self._high - self._low).transpose(1, 0, 2)
        stored = [i for i, part in enumerate(self._parts) if part.need < 3]
        if stored:
            self._merge(stored, counts, tables, squares=squares)
        tables.counts += counts
        tables.items += counts

    def _merge(self, stored: list[int], counts: Array, tables: Tables, *, squares: bool) -> None:
        size = sum(map(len, self._values))
        values = np.zeros((3 if squares else 2, size + 1))
        values[0, :-1] = np.concatenate(self._values)
        np.abs(values[0], out=values[1])
        if squares:
            np.multiply(values[0], values[0], out=values[2])
        spans = Spans(self._low[stored], self._high[stored])
        found = spans.over(np.add, values, 0.0).transpose(0, 2, 1, 3)
        for table, more in zip((tables.sums, tables.sizes, tables.squares), found, strict=False):
            table[:, stored] += more
        least = spans.over(np.minimum, values[0], np.inf).transpose(1, 0, 2)
        greatest = spans.over(np.maximum, values[0], -np.inf).transpose(1, 0, 2)
        tables.least[:, stored] = np.minimum(tables.least[:, stored], least)
        tables.greatest[:, stored] = np.maximum(tables.greatest[:, stored], greatest)
        there = counts[:, stored] > 0
        last = values[0, np.maximum(spans.high - 1, 0)].transpose(1, 0, 2)
        tables.last[:, stored] = np.where(there, last, tables.last[:, stored])
        first = values[0, spans.low].transpose(1, 0, 2)
        tables.first[:, stored] = np.where(there & (tables.counts[:, stored] == 0), first, tables.first[:, stored])

    def values(self, part: int, entity: int, window: int) -> Array:
        """The values of one window of one part, as they are."""
        if not self._some:
            return np.zeros(0, dtype=np.int64)
        at = self._begins[part]
        found: Array = self._values[part][self._low[part, entity, window] - at : self._high[part, entity, window] - at]
        return found
